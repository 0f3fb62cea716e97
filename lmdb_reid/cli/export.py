"""`lmdb-reid export`: a store as picture files and a csv."""

from __future__ import annotations

import argparse
import time

from lmdb_reid.cli.output import print_json
from lmdb_reid.errors import UsageError
from lmdb_reid.progress import shown
from lmdb_reid.store import LAYOUTS, Store, export


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument(
        "query",
        metavar="QUERY",
        nargs="?",
        help='export the samples that match, such as "kind == 0" (default: all)',
    )
    parser.add_argument(
        "--to",
        choices=LAYOUTS,
        required=True,
        help="name files by their ids (csv), or make a folder for each identity (folder)",
    )
    parser.add_argument(
        "-o",
        "--output",
        "--out",
        metavar="DIR",
        required=True,
        help="write to this directory, which must be empty or new",
    )
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.epilog = (
        "examples:\n  lmdb-reid export games.lmdb --to csv -o games\n  lmdb-reid export games.lmdb"
        ' "kind == 0 and label >= 0" --to folder -o people\n\n'
        "lmdb-reid build --format csv --root games --size native --out again.lmdb builds the same"
        " store again."
    )


def run(args: argparse.Namespace) -> int:
    """Write the files, and print how many."""
    began = time.perf_counter()
    with Store(args.store) as store:
        rows = None if args.query is None else store.query(args.query)
        if rows is not None and not len(rows):
            raise UsageError(f"no sample matches {args.query!r}")
        with shown("exporting", "samples") as progress:
            csv = export(store, args.output, rows, to=args.to, progress=progress)
        count = len(store) if rows is None else len(rows)
    seconds = time.perf_counter() - began
    if args.json:
        facts = {"store": args.store, "output": args.output, "csv": csv, "samples": count}
        print_json(facts | {"seconds": seconds})
    else:
        print(f"wrote {count:,} samples to {args.output}, with {csv.name}, {seconds:,.1f} s")
    return 0
