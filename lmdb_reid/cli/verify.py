"""`lmdb-reid verify`: check a store."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict

from lmdb_reid.cli.output import print_json
from lmdb_reid.progress import shown
from lmdb_reid.store import Store

_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also decode every image and recompute the content digest",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.epilog = (
        "example:\n  lmdb-reid verify games.lmdb --deep\n\nExits with 1 if anything is damaged."
    )


def run(args: argparse.Namespace) -> int:
    """Check, and list what is wrong."""
    began = time.perf_counter()
    with Store(args.store, check="structure") as store, shown("checking", "samples") as progress:
        findings = store.verify(deep=args.deep, progress=progress)
    if args.json:
        facts = {"store": str(store.path), "ok": findings.ok}
        print_json(facts | {"seconds": time.perf_counter() - began} | asdict(findings))
    elif findings.ok:
        how = "every image decoded" if args.deep else "checksums and structure"
        print(f"{store.path}: {findings.samples:,} samples are as they were sealed ({how})")
    else:
        print(f"{store.path}: {findings.count:,} problems in {findings.samples:,} samples")
        print("\n".join(f"  {problem}" for problem in findings.problems[:_SHOWN]))
        if findings.count > _SHOWN:
            print(f"  ... and {findings.count - _SHOWN:,} more (--json lists up to 1,000)")
    return 0 if findings.ok else 1
