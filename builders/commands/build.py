"""`lmdb-reid build`: frames and boxes in, one sealed store out."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.commands._format import (
    add_format,
    add_format_options,
    add_reading,
    complete_formats,
    given_source,
)
from builders.derived import DERIVED_NAMES
from builders.settings import BuildSettings
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.progress import say, shown
from lmdb_reid.schema import DEFAULT_SIZE, parse_size

if TYPE_CHECKING:
    from builders.report import Report


TIPS = {
    "--width": "--size HEIGHTxWIDTH sets both sides",
    "--height": "--size HEIGHTxWIDTH sets both sides",
    "--format": "lmdb-reid build --format auto --root DIR recognises the layout of a folder",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    defaults = BuildSettings()
    add = parser.add_argument
    add_format(parser)
    add("--out", required=True, metavar="STORE", help="write the store to this directory")
    add(
        "--size",
        default="x".join(map(str, DEFAULT_SIZE)),
        metavar="HxW",
        help="resize crops to HEIGHTxWIDTH; native keeps the size of each (default: %(default)s)",
    )
    add(
        "--expand",
        type=float,
        default=defaults.expand,
        metavar="FACTOR",
        help="multiply the sides of each box by FACTOR, 1.0 to 10.0 (default: %(default)s)",
    )
    add(
        "--quality",
        type=int,
        default=defaults.quality,
        metavar="N",
        help="use this JPEG quality, 1 to 100 (default: %(default)s)",
    )
    add(
        "--num-bg-per-frame",
        type=int,
        default=1,
        metavar="N",
        help="cut N pieces of background out of each frame, as negatives (default: 1)",
    )
    add(
        "--num-partial-per-box",
        type=int,
        default=1,
        metavar="N",
        help="cut N parts of the person in each box, as negatives (default: 1)",
    )
    add(
        "--max-person-share",
        type=float,
        default=defaults.max_person_share,
        metavar="SHARE",
        help=(
            "cut no background that shows more than this share of a person's box, and no partial"
            " that shows more than this share of another person's box; 1: no limit (default:"
            " %(default)s)"
        ),
    )
    add("--seed", type=int, default=0, metavar="N", help="random seed for negatives (default: 0)")
    add(
        "--negatives",
        metavar="CSV",
        help=(
            "cut the negatives that this csv of lmdb-reid negatives lists; then the four options"
            " above have no effect"
        ),
    )
    add(
        "--derive",
        default="",
        metavar="NAMES",
        help=(
            "compute these columns from each crop, separated by commas:"
            f" {', '.join(DERIVED_NAMES)} (default: none)"
        ),
    )
    add_reading(parser, "cut")
    add(
        "--dry-run",
        action="store_true",
        help="build nothing; report what would be built, from image headers and some frames",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="continue an unfinished build with the same settings"
    )
    again.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the store at --out once the new one is finished",
    )
    add("--json", action="store_true", help="print the report as JSON")
    parser.epilog = (
        "Each format has its own options. List them with lmdb-reid build --format FORMAT --help."
        "\n\n"
        "examples:\n"
        "  lmdb-reid build --format atmacup --train-meta train_meta.csv --img-root images"
        " --out games.lmdb\n  lmdb-reid build --format csv --root images --csv boxes.csv --columns"
        " image=file,x=left,y=top,w=width,h=height,label=player --out games.lmdb"
    )


def complete(parser: argparse.ArgumentParser) -> None:
    """Add what a shell completes beyond `configure`: the formats, and the options of them all."""
    complete_formats(parser)


def extend(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the options of the format in `words`, if there is one."""
    add_format_options(parser, words)


def run(args: argparse.Namespace) -> int:
    """Build, and print what was done."""
    # Here, so that --help needs nothing that building takes.
    from builders.pipeline import build, plan
    from builders.report import check_skipped

    began = time.perf_counter()
    settings = BuildSettings(
        size=parse_size(args.size),
        expand=args.expand,
        quality=args.quality,
        num_bg_per_frame=args.num_bg_per_frame,
        num_partial_per_box=args.num_partial_per_box,
        max_person_share=args.max_person_share,
        seed=args.seed,
    )
    source = given_source(args)
    derive = [name for name in args.derive.split(",") if name]
    if args.dry_run and Path(args.out).exists() and not args.overwrite:
        say(f"{args.out} already exists: building needs --overwrite")
    with (
        shown(
            "reading headers" if args.dry_run else "cutting", "frames", things="crops"
        ) as progress,
        _resume_hint(args),
    ):
        if args.dry_run:
            report = plan(
                source,
                args.out,
                settings,
                num_workers=args.num_workers,
                negatives=args.negatives,
                progress=progress,
            )
        else:
            report = build(
                source,
                args.out,
                settings,
                num_workers=args.num_workers,
                resume=args.resume,
                overwrite=args.overwrite,
                strict=args.strict,
                max_skipped=args.max_skipped,
                negatives=args.negatives,
                derive=derive,
                progress=progress,
            )
    if args.json:
        print_json(_facts(report, time.perf_counter() - began))
    else:
        print_lines(report.lines())
    if args.dry_run:
        check_skipped(report.skipped, report.rows, strict=args.strict, max_skipped=args.max_skipped)
    return 0


@contextlib.contextmanager
def _resume_hint(args: argparse.Namespace) -> Iterator[None]:
    """Say after Ctrl-C what is left, and how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        if not args.dry_run and Path(f"{args.out}.partial").exists():
            print(f"{args.out}.partial has what is done: --resume continues", file=sys.stderr)
        raise


def _facts(report: Report, seconds: float) -> dict[str, Any]:
    """The report as JSON values; `seconds` is what this command took."""
    facts = report.as_json()
    store, size = facts.pop("out"), facts.pop("size_bytes")
    if not report.dry_run:
        return {"store": store, **facts, "bytes": size}
    estimates = {"estimated_seconds": facts["seconds"], "estimated_bytes": size}
    del facts["crops_per_second"]
    return {"store": store, **facts, "seconds": seconds, **estimates}
