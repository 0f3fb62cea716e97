"""`lmdb-reid bench`: how long an epoch of loading takes, what makes it slow, what to change."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.errors import MissingExtraError, UsageError
from lmdb_reid.schema import parse_size
from lmdb_reid.store import Store

ENGINES = ("auto", "threads", "processes", "dataloader")
"""make_loader's, listed here because asking it would import torch."""
_CHARTS = (".png", ".svg", ".pdf", ".jpg", ".jpeg")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("store", metavar="STORE", help="the store's directory")
    add(
        "--batch-size",
        type=int,
        default=256,
        metavar="N",
        help="read batches of N samples (default: 256)",
    )
    add(
        "--num-workers",
        type=_counts,
        metavar="N,N,...",
        help="try these numbers of workers (default: 1, 2, 4, ... up to the number of cores)",
    )
    add(
        "--engine",
        choices=ENGINES,
        default="auto",
        metavar="ENGINE",
        help=f"make_loader's engine: {', '.join(ENGINES)} (default: auto)",
    )
    add(
        "--size",
        default="native",
        metavar="HxW",
        help="read images at this size (default: the store's own)",
    )
    add(
        "--step-ms",
        type=float,
        metavar="MS",
        help="show how long a training step of MS milliseconds waits for its next batch",
    )
    add(
        "--transform",
        metavar="MODULE:NAME",
        help="measure your pipeline too: a callable, a list of callables or a Compose; NAME() uses"
        " what NAME returns; or the path of a .json list of class_path and init_args",
    )
    add("--pil", action="store_true", help="pass PIL images to the pipeline, not uint8 tensors")
    add(
        "--seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="measure for at most this long (default: %(default)g)",
    )
    add(
        "--no-cold",
        action="store_true",
        help="measure no cold epoch, so that the store stays in the page cache",
    )
    add(
        "--plot",
        metavar="FILE",
        help="draw a timeline of an epoch (waits, ready batches, work) as .png, .svg, .pdf or .jpg",
    )
    add("--json", action="store_true", help="print the findings as JSON")
    parser.epilog = """example:
  lmdb-reid bench games.lmdb --num-workers 1,2,4 --step-ms 80 --transform my.pipeline:train

Before the cold epoch the store's files are dropped from the page cache (posix_fadvise
DONTNEED), so no other process should be training on it. The step of --step-ms is a pause,
as if a GPU computed it; a step on the CPU would take cores from the loader, too."""


def run(args: argparse.Namespace) -> int:
    """Measure, print, advise."""
    _check(args)
    began = time.perf_counter()
    Store(args.store).close()  # refuses what is no store, before torch is imported
    from lmdb_reid.bench.advice import advise, break_even_ms
    from lmdb_reid.cli import _bench

    found = _bench.find_out(args)
    if not args.json:
        print_lines(_bench.lines(found))
        return 0
    even = [break_even_ms(reading, found.batch_size) for reading in found.warm]
    seconds = time.perf_counter() - began
    more = {"seconds": seconds, "break_even_ms": even, "advice": advise(found)}
    print_json(asdict(found) | more)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong use before anything is measured, or imported."""
    for name in ("batch_size", "seconds", "step_ms"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0, got {value:g}")
    parse_size(args.size)
    if args.pil and not args.transform:
        raise UsageError("--pil needs --transform: it sets which images the transform receives")
    if args.plot is None:
        return
    if Path(args.plot).suffix.lower() not in _CHARTS:
        raise UsageError(f"--plot must end in {', '.join(_CHARTS)}, got {args.plot}")
    if not Path(args.plot).absolute().parent.is_dir():
        raise UsageError(
            f"--plot must be in a folder that exists, got {args.plot}. Create"
            f" {Path(args.plot).parent} first."
        )
    if find_spec("matplotlib") is None:
        raise MissingExtraError.of("matplotlib", "plot", "--plot")


def _counts(text: str) -> list[int]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"must be numbers such as 1,2,4, got {text!r}")
    return sorted({int(part) for part in text.split(",")})
