"""`lmdb-reid negatives`: the places of a data set that show nobody, or too little, as a csv."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence

from builders.commands._format import (
    add_format,
    add_format_options,
    add_reading,
    complete_formats,
    given_source,
)
from builders.negatives import (
    IMG_ROOT,
    TRAIN_META,
    list_negatives,
    random_negatives,
    store_negatives,
    write_negatives_csv,
)
from builders.repeats import without_repeats
from builders.report import check_skipped, in_reading_order, rejected_json
from builders.samples import BoxSample
from builders.settings import BuildSettings
from builders.sources import Rejected
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.errors import UsageError
from lmdb_reid.progress import shown
from lmdb_reid.store import Store

_SHOWN, _DEFAULT = 8, "atmacup"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    defaults = BuildSettings()
    add = parser.add_argument
    add_format(parser, default=_DEFAULT)
    add(
        "--from",
        dest="store",
        metavar="STORE",
        help="write the negatives that this store has, instead of new ones from frames",
    )
    add(
        "--output",
        default="inputs/train_negatives.csv",
        metavar="CSV",
        help="write (or replace) this csv (default: %(default)s)",
    )
    add(
        "--num-bg-per-frame",
        type=int,
        metavar="N",
        help="list N backgrounds of each frame (default: 1)",
    )
    add(
        "--num-partial-per-box",
        type=int,
        metavar="N",
        help="list N partials of each box (default: 1)",
    )
    add(
        "--max-person-share",
        type=float,
        metavar="SHARE",
        help="choose no background that shows more than this share of a person's box, and no"
        " partial that shows more than this share of another person's box (default:"
        f" {defaults.max_person_share})",
    )
    add(
        "--max-iou-partial",
        type=float,
        metavar="IOU",
        help="keep the IoU of a partial and its box below this (default: 0.4, as build does)",
    )
    add("--seed", type=int, metavar="N", help="choose with this random seed (default: 0)")
    add_reading(parser, "read")
    add("--json", action="store_true", help="print the report as JSON")
    parser.epilog = (
        "The command reads image headers but no pixels. The boxes are those that lmdb-reid build"
        "\ncuts with the same settings. lmdb-reid build --negatives CSV uses this csv.\n\n"
        "examples:\n  lmdb-reid negatives --train-meta train_meta.csv --img-root images --output"
        " inputs/train_negatives.csv\n  lmdb-reid negatives --format mot --root MOT17/train"
        " --output negatives.csv"
    )


def complete(parser: argparse.ArgumentParser) -> None:
    """Add what a shell completes beyond `configure`: the formats, and the options of them all."""
    complete_formats(parser)


def extend(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the options of the format, without the defaults of those that --from makes meaningless,
    so that giving both can be refused.
    """
    group = add_format_options(parser, words, default=_DEFAULT)
    actions = [] if group is None else group._group_actions
    defaults = {action.dest: action.default for action in actions}
    parser.set_defaults(**dict.fromkeys(defaults), source_defaults=defaults)


def run(args: argparse.Namespace) -> int:
    """Write the csv, and print what is in it."""
    began = time.perf_counter()
    samples, skipped = _of_store(args) if args.store is not None else _of_frames(args)
    write_negatives_csv(args.output, samples)
    kinds = Counter(sample.kind.title for sample in samples)
    seconds = time.perf_counter() - began
    if args.json:
        report = {
            "store": args.store,
            "output": args.output,
            "samples": len(samples),
            "kinds": kinds,
            "skipped": rejected_json(skipped),
            "seconds": seconds,
        }
        print_json(report)
        return 0
    listed = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    lines = [
        f"wrote {args.output}: {len(samples):,} negatives ({listed or 'none'}), {seconds:,.1f} s"
    ]
    if skipped:
        lines.append(f"  skipped     {len(skipped):,} rows")
        lines += [f"    {row.where}: {row.reason}" for row in skipped[:_SHOWN]]
        if len(skipped) > _SHOWN:
            lines.append("    ... (--json lists them all)")
    print_lines(lines)
    return 0


def _of_frames(args: argparse.Namespace) -> tuple[list[BoxSample], Sequence[Rejected]]:
    given = {
        name: getattr(args, name)
        for name in ("num_bg_per_frame", "num_partial_per_box", "max_person_share", "seed")
        if getattr(args, name) is not None
    }
    settings = BuildSettings(**given)
    negatives = (
        random_negatives(settings)
        if args.max_iou_partial is None
        else random_negatives(settings, max_iou_partial=args.max_iou_partial)
    )
    for name, value in args.source_defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.format == _DEFAULT and not args.root:
        args.train_meta = args.train_meta or TRAIN_META
        args.img_root = args.img_root or IMG_ROOT
    source = given_source(args)
    listing = without_repeats(source.read())
    with shown("reading headers", "frames", things="negatives") as progress:
        samples, unread = list_negatives(
            listing,
            negatives,
            num_workers=args.num_workers,
            progress=progress,
            by_id=True,
        )
    skipped = in_reading_order([*listing.skipped, *unread])
    check_skipped(skipped, listing.rows, strict=args.strict, max_skipped=args.max_skipped)
    return samples, skipped


def _of_store(args: argparse.Namespace) -> tuple[list[BoxSample], Sequence[Rejected]]:
    making = (
        *(name for name in args.source_defaults if name != "img_root"),
        "num_bg_per_frame",
        "num_partial_per_box",
        "max_person_share",
        "max_iou_partial",
        "seed",
    )
    meaningless = [name for name in making if getattr(args, name) is not None]
    if meaningless:
        options = ", ".join("--" + name.replace("_", "-") for name in meaningless)
        raise UsageError(
            f"--from and {options} exclude each other: the store has its negatives already"
        )
    with Store(args.store) as store:
        return store_negatives(store, getattr(args, "img_root", None)), []
