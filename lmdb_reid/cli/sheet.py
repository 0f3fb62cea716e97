"""`lmdb-reid sheet`: a contact sheet of samples."""

from __future__ import annotations

import argparse

import numpy as np

from lmdb_reid.errors import UsageError
from lmdb_reid.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument(
        "ids", metavar="ID", nargs="*", help="samples to show; chosen at random unless given"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="sheet.jpg",
        help=".jpg or .png (default: sheet.jpg)",
    )
    parser.add_argument(
        "--query", metavar="EXPR", help='choose among these, such as "label == 3 and kind == 0"'
    )
    parser.add_argument("--count", type=int, default=48, help="how many to choose (default: 48)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice (default: 0)")
    parser.add_argument("--columns", type=int, help="pictures in a row")
    parser.epilog = 'example:\n  lmdb-reid sheet games.lmdb --query "label == 3" -o player3.jpg'


def run(args: argparse.Namespace) -> int:
    """Draw it."""
    if args.count < 1 or (args.columns is not None and args.columns < 1):
        raise UsageError("--count and --columns: give 1 or more")
    if args.ids and args.query:
        raise UsageError("give ids or --query, not both")
    with Store(args.store) as store:
        chosen: list[str] | list[int] = args.ids or _chosen(store, args)
        file = store.sheet(chosen, columns=args.columns).save(args.output)
    print(f"{len(chosen)} samples on {file}")
    return 0


def _chosen(store: Store, args: argparse.Namespace) -> list[int]:
    rows = store.query(args.query) if args.query else np.arange(len(store))
    if not len(rows):
        raise UsageError(f"no sample fits {args.query!r}")
    some = np.random.default_rng(args.seed).choice(rows, min(args.count, len(rows)), replace=False)
    return sorted(some.tolist())
