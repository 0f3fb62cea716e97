"""`lmdb-reid get`: one sample by id."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lmdb_reid import _disk
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.errors import StoreNotFoundError, UsageError
from lmdb_reid.store import Store

_OTHERS = (".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
TIPS = {"ID": "lmdb-reid query STORE prints the ids"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument("id", metavar="ID", help="the sample's id")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="save the stored JPEG; - is standard output"
    )
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    parser.epilog = "example:\n  lmdb-reid get games.lmdb 'Q1-000__side__00__01#003' -o player.jpg"


def run(args: argparse.Namespace) -> int:
    """Print what is known of the sample, or write its image."""
    if args.json and args.output == "-":
        raise UsageError("--json and -o - exclude each other: both write to standard output")
    if Path(args.output or "").suffix.lower() in _OTHERS:
        raise UsageError(
            f"a sample is saved as the JPEG that it is: -o must end in .jpg, got {args.output}"
        )
    with _opened(args) as store:
        sample = store[args.id]
    # Of a store of parts, labels are numbered over all of them; a record has its own part's.
    record = dict(sample.record) | {"label": sample.label}
    if args.output == "-":
        sys.stdout.buffer.write(sample.jpeg)
        return 0
    if args.output:
        with _disk.whole_file(args.output) as file:
            file.write(sample.jpeg)
    if args.json:
        print_json(
            {
                "store": args.store,
                "id": sample.id,
                "row": sample.row,
                "bytes": len(sample.jpeg),
                "output": args.output,
                "record": record,
            }
        )
    else:
        print_lines([repr(sample), *(f"  {name:<12} {value}" for name, value in record.items())])
        if args.output:
            print_lines([f"wrote {args.output}"])
    return 0


def _opened(args: argparse.Namespace) -> Store:
    try:
        return Store(args.store)
    except StoreNotFoundError:
        if (Path(args.id) / "manifest.json").is_file():
            raise UsageError(
                f"STORE must come before ID, got {args.store!r} first. Write: lmdb-reid get"
                f" {args.id} {args.store!r}"
            ) from None
        raise
