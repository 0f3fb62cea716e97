"""`lmdb-reid build`: frames and boxes in, one sealed store out."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builders.derived import DERIVED_NAMES
from builders.registry import AUTO, recognised, source_class, source_names
from builders.settings import BuildSettings
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import DEFAULT_SIZE, parse_size

if TYPE_CHECKING:
    from builders.report import Report
    from builders.sources import Source


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    defaults = BuildSettings()
    add = parser.add_argument
    add(
        "--format",
        required=True,
        metavar="FORMAT",
        help=f"the layout of the input: {', '.join(source_names())}; or {AUTO}: look at --root",
    )
    add("--out", required=True, metavar="STORE", help="where the store will be")
    add(
        "--size",
        default="x".join(map(str, DEFAULT_SIZE)),
        help="HEIGHTxWIDTH of the stored crops, or native (default: %(default)s)",
    )
    add(
        "--expand",
        type=float,
        default=defaults.expand,
        help="multiply the sides of each box by this, 1.0 to 10.0 (default: %(default)s)",
    )
    add("--quality", type=int, default=defaults.quality, help="JPEG quality (default: %(default)s)")
    add(
        "--num-bg-per-frame",
        type=int,
        default=1,
        metavar="N",
        help="background negatives (default: 1)",
    )
    add(
        "--num-partial-per-box",
        type=int,
        default=1,
        metavar="N",
        help="partial negatives (default: 1)",
    )
    add(
        "--max-person-share",
        type=float,
        default=defaults.max_person_share,
        metavar="SHARE",
        help=(
            "most of a person's box that a background may show, or a partial of another's; 1: all"
            " of it (default: %(default)s)"
        ),
    )
    add("--seed", type=int, default=0, help="of the negatives (default: 0)")
    add(
        "--negatives",
        metavar="CSV",
        help=(
            "take the negatives from here, as lmdb-reid negatives wrote them, instead of drawing"
            " them: the four settings above then decide nothing"
        ),
    )
    add(
        "--derive",
        default="",
        metavar="NAMES",
        help=(
            "columns to compute from each crop, separated by commas:"
            f" {', '.join(DERIVED_NAMES)} (default: none)"
        ),
    )
    add("--num-workers", type=int, metavar="N", help="threads (default: one for each core)")
    add("--strict", action="store_true", help="a row that cannot be used is an error")
    add(
        "--max-skipped",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="most such rows (default: 0.05)",
    )
    add(
        "--dry-run",
        action="store_true",
        help="read the csv and image headers only, and tell what would be built",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with an unfinished build")
    again.add_argument(
        "--overwrite", action="store_true", help="replace a store once the new one is finished"
    )
    add("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(found_format=None)
    parser.epilog = (
        "Each format has options of its own: lmdb-reid build --format FORMAT --help shows them.\n\n"
        "example:\n"
        "  lmdb-reid build --format atmacup --train-meta train_meta.csv --img-root images"
        " --out games.lmdb\n  lmdb-reid build --format csv --root images --csv boxes.csv --columns"
        " image=file,x=left,y=top,w=width,h=height,label=player --out games.lmdb"
    )


def extend(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the options of the format that is given, if one is."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--format")
    first.add_argument("--root")
    with contextlib.suppress(argparse.ArgumentError):  # told when all of it is parsed
        given = first.parse_known_args(words)[0]
        if given.format == AUTO:
            if not given.root:
                raise UsageError(f"--format {AUTO} needs --root DIR")
            given.format, why = recognised(Path(given.root))
            print(f"format {given.format}: {why}", file=sys.stderr)
            parser.set_defaults(found_format=given.format)
        if given.format is not None:
            _add_options(parser, given.format)


def _add_options(parser: argparse.ArgumentParser, name: str) -> None:
    try:
        source_class(name).configure(parser.add_argument_group(f"options of --format {name}"))
    except argparse.ArgumentError as error:
        raise UsageError(
            f"the format {name!r} cannot be used: its options are the command's own ({error})"
        ) from error


def run(args: argparse.Namespace) -> int:
    """Build, and print what was done."""
    # Here, so that --help needs nothing that building takes.
    from builders.pipeline import build, plan
    from builders.report import check_skipped
    from lmdb_reid.progress import shown

    settings = BuildSettings(
        size=parse_size(args.size),
        expand=args.expand,
        quality=args.quality,
        num_bg_per_frame=args.num_bg_per_frame,
        num_partial_per_box=args.num_partial_per_box,
        max_person_share=args.max_person_share,
        seed=args.seed,
    )
    if not 0 <= args.max_skipped <= 1:
        raise UsageError(f"--max-skipped {args.max_skipped}: give a share from 0 to 1")
    source: Source = source_class(args.found_format or args.format).from_args(args)
    derive = [name for name in args.derive.split(",") if name]
    if args.dry_run and Path(args.out).exists() and not args.overwrite:
        print(f"note: {args.out} is there already: building needs --overwrite", file=sys.stderr)
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
    _print(report, as_json=args.json)
    if args.dry_run:
        check_skipped(report.skipped, report.rows, strict=args.strict, max_skipped=args.max_skipped)
    return 0


@contextlib.contextmanager
def _resume_hint(args: argparse.Namespace) -> Iterator[None]:
    """Say after Ctrl-C what is left, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if not args.dry_run and Path(f"{args.out}.partial").exists():
            print(f"{args.out}.partial has what is done: --resume goes on", file=sys.stderr)
        raise


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        print("\n".join(report.lines()))
