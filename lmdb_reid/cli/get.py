"""`lmdb-reid get`: one sample by id."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lmdb_reid.errors import UsageError
from lmdb_reid.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument("id", metavar="ID", help="the sample's id")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the stored JPEG there; - is standard output"
    )
    parser.add_argument("--json", action="store_true", help="what is known of it, as JSON")
    parser.epilog = "example:\n  lmdb-reid get games.lmdb 'Q1-000__side__00__01#003' -o player.jpg"


def run(args: argparse.Namespace) -> int:
    """Print what is known of the sample, or write its image."""
    if args.json and args.output == "-":
        raise UsageError("--json and -o - both want standard output: give one of them")
    with Store(args.store) as store:
        sample = store[args.id]
    # Of a store of parts, labels are numbered over all of them; a record has its own part's.
    record = dict(sample.record) | {"label": sample.label}
    if args.output == "-":
        sys.stdout.buffer.write(sample.jpeg)
        return 0
    if args.output:
        Path(args.output).write_bytes(sample.jpeg)
    if args.json:
        known = {
            "id": sample.id,
            "row": sample.row,
            "bytes": len(sample.jpeg),
            "record": record,
        }
        print(json.dumps(known, ensure_ascii=False, default=repr))
    else:
        print(sample)
        print("\n".join(f"  {name:<12} {value}" for name, value in record.items()))
        if args.output:
            print(f"written to {args.output}")
    return 0
