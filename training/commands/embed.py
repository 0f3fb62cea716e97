"""`lmdb-reid embed`: features of a store's samples, by the model of a checkpoint."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lmdb_reid.cli.output import print_json
from lmdb_reid.errors import UsageError
from lmdb_reid.progress import shown
from lmdb_reid.schema import Rows, parse_size
from lmdb_reid.store import Store

if TYPE_CHECKING:
    from lmdb_reid.loaders import Normalize
    from training.embedding import Checkpoint
    from training.features import Features


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("store", metavar="STORE", help="the store's directory")
    add("--ckpt", metavar="FILE", required=True, help="use this checkpoint of lmdb-reid train")
    add(
        "-o",
        "--output",
        metavar="NAME",
        help="save the features under this name (default: the checkpoint's name)",
    )
    add("--query", metavar="EXPR", help='embed only the samples that match, such as "kind == 0"')
    add("--half", action="store_true", help="save the features as float16, in half the space")
    add_reading(parser)
    add("--json", action="store_true", help="print the result as JSON")
    parser.epilog = """Features are saved in STORE.features/NAME.npy, a row for each sample. They
belong to the store: features of another store are refused.

example:
  lmdb-reid embed games.lmdb --ckpt runs/fold0/checkpoints/best.ckpt -o fold0"""


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how a checkpoint's model is used."""
    add = parser.add_argument
    add("--size", metavar="HxW", help="read images at this size, if the checkpoint has none")
    add(
        "--normalize",
        metavar="MOMENTS",
        help="normalise by these moments if the checkpoint has none: imagenet, or three means and"
        " three standard deviations of pixels from 0 to 1, such as .5,.5,.5,.25,.25,.25",
    )
    add(
        "--batch-size",
        type=int,
        default=256,
        metavar="N",
        help="read batches of N images (default: 256)",
    )
    add(
        "--num-workers",
        type=int,
        metavar="N",
        help="decode in N threads (default: one for each core)",
    )
    add("--device", metavar="DEVICE", help="run on cpu or cuda (default: a GPU, if there is one)")


def check_file(path: str) -> None:
    """Refuse a checkpoint that does not exist, before torch is loaded, which takes seconds.

    Raises:
        UsageError: there is no such file.
    """
    if not Path(path).is_file():
        raise UsageError(f"no checkpoint at {path} (--ckpt)")


def run(args: argparse.Namespace) -> int:
    """Make them, and print what came of it."""
    check_file(args.ckpt)
    from training.features import Features  # here, so that --help need not wait for torch

    began = time.perf_counter()
    checkpoint = read_checkpoint(args)
    name = args.output or Path(checkpoint.name).stem
    with Store(args.store) as store:
        rows = None if args.query is None else store.query(args.query)
        if rows is not None and not len(rows):
            raise UsageError(f"no sample matches {args.query!r}")
        # A name that cannot be is refused before the work is done.
        Features.check_name(name)
        features = embed_store(store, checkpoint, name, args, rows=rows, half=args.half)
    seconds = time.perf_counter() - began
    count, length = features.array.shape
    if args.json:
        found = {
            "store": args.store,
            "features": str(features.path),
            "samples": count,
            "numbers": length,
            "dtype": str(features.array.dtype),
            "made_by": dict(features.made_by),
            "seconds": seconds,
        }
        print_json(found)
    else:
        print(
            f"{features.path}: {length} numbers ({features.array.dtype}) for each of {count:,}"
            f" samples, in {seconds:.1f} s"
        )
    return 0


def read_checkpoint(args: argparse.Namespace) -> Checkpoint:
    """The checkpoint that the arguments name."""
    from training.embedding import load_checkpoint

    if args.batch_size < 1:
        raise UsageError(f"--batch-size must be 1 or more, got {args.batch_size}")
    size = None if args.size is None else parse_size(args.size)
    return load_checkpoint(args.ckpt, size=size, normalize=_moments(args.normalize))


def embed_store(
    store: Store,
    checkpoint: Checkpoint,
    name: str,
    args: argparse.Namespace,
    *,
    rows: Rows | None = None,
    half: bool = False,
) -> Features:
    """Make features of some rows of a store, or of all, and keep them beside it."""
    import numpy as np

    from lmdb_reid.dataset import ReIDDataset
    from training.embedding import embed
    from training.features import Features

    dataset = ReIDDataset(store, rows, size=checkpoint.size)
    with shown("embedding", "images") as progress:
        found = embed(
            dataset,
            checkpoint,
            batch_size=args.batch_size,
            num_workers=args.num_workers,
            device=args.device,
            progress=progress,
        )
    if half:
        with np.errstate(over="ignore"):  # what does not fit is refused with its rows
            found = found.astype(np.float16)
    return Features.save(store, name, found, made_by=checkpoint.made_by, rows=rows)


def _moments(text: str | None) -> Normalize | None:
    if text is None or text == "imagenet":
        return text  # type: ignore[return-value]  # the name, or nothing
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 6:
        raise UsageError(
            f"--normalize must be imagenet, or six numbers with commas between them; got {text!r}"
        )
    return numbers[:3], numbers[3:]
