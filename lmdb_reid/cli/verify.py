"""`lmdb-reid verify`: check a store."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from dataclasses import asdict

from lmdb_reid.cache import DecodedTier
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.errors import UsageError
from lmdb_reid.progress import shown
from lmdb_reid.store import Store, Verification

_SHOWN = 20
_DIGEST = re.compile("[0-9a-f]{64}")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also decode every image and recompute the content digest",
    )
    parser.add_argument(
        "--expect-digest",
        metavar="D",
        help="check as --deep does, and compare the content digest with D, which lmdb-reid info"
        " printed for the original store",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.epilog = (
        "example:\n  lmdb-reid verify games.lmdb --deep\n\n"
        "The exit code is 1 if anything is damaged."
    )


def run(args: argparse.Namespace) -> int:
    """Check, and list what is wrong."""
    wanted = None if args.expect_digest is None else args.expect_digest.strip().lower()
    if wanted is not None and not _DIGEST.fullmatch(wanted):
        raise UsageError(f"--expect-digest must be 64 hexadecimal digits, got {wanted!r}")
    began = time.perf_counter()
    with Store(args.store, check="structure") as store, shown("checking", "samples") as progress:
        findings = store.verify(deep=args.deep or wanted is not None, progress=progress)
        tier = DecodedTier(store).path
    if wanted is not None and store.digest != wanted:
        findings.add(f"the content digest is {store.digest}, not {wanted}")
    beside = [str(tier)] if tier.exists() else []
    if args.json:
        facts = {"store": str(store.path), "ok": findings.ok, "not_checked": beside}
        print_json(facts | {"seconds": time.perf_counter() - began} | asdict(findings))
    else:
        print_lines(_lines(store, findings, beside, expected=wanted is not None))
    return 0 if findings.ok else 1


def _lines(
    store: Store, findings: Verification, beside: list[str], *, expected: bool
) -> Iterator[str]:
    if findings.ok:
        how = "every image decoded" if findings.deep else "checksums and structure"
        yield f"{store.path}: {findings.samples:,} samples are as they were sealed ({how})"
    else:
        yield f"{store.path}: {findings.count:,} problems in {findings.samples:,} samples"
        for problem in findings.problems[:_SHOWN]:
            yield f"  {problem}"
        if findings.count > _SHOWN:
            yield f"  ... and {findings.count - _SHOWN:,} more (--json lists up to 1,000)"
    if findings.ok and expected:
        yield "  the digest is the expected one: of ids, images, records and the columns of these"
        yield f"  it says nothing of {', '.join(_not_covered(store))}"
    for path in beside:
        yield f"  {path} is not looked at: each of its rows is compared when a process reads it"


def _not_covered(store: Store) -> list[str]:
    """What loaders can be given, and no content digest knows."""
    derived = [name for name, spec in store.manifest.columns.items() if spec.derived]
    names = ["roles", "src_order", *derived]
    parts = store.manifest.parts
    return names + (["the order, names and label numbers of parts"] if len(parts) > 1 else [])
