"""`lmdb-reid sheet`: a contact sheet of samples."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lmdb_reid.augment import Draws, draw, place, resolve
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.crops import StoreCrops
from lmdb_reid.errors import UsageError
from lmdb_reid.pictures import contact_sheet
from lmdb_reid.schema import Pixels
from lmdb_reid.store import Store

_TIMES = 12  # draws of a recipe that are shown


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument(
        "ids", metavar="ID", nargs="*", help="show these samples (default: a random choice)"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="sheet.jpg",
        help="save the sheet as this .jpg or .png (default: sheet.jpg)",
    )
    parser.add_argument(
        "--query",
        metavar="EXPR",
        help='choose among the samples that match, such as "label == 3 and kind == 0"',
    )
    parser.add_argument(
        "--count", type=int, default=48, metavar="N", help="choose this many (default: 48)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed for the choice (default: 0)"
    )
    parser.add_argument(
        "--augment",
        metavar="RECIPE",
        help="show what a training recipe (bot, transreid, guide) does to a sample, twelve times",
    )
    parser.add_argument(
        "--columns", type=int, metavar="N", help="pictures in a row (default: by their number)"
    )
    parser.add_argument("--json", action="store_true", help="print what is shown as JSON")
    parser.epilog = """examples:
  lmdb-reid sheet games.lmdb --query "label == 3" -o player3.jpg
  lmdb-reid sheet games.lmdb --augment bot --seed 3 -o recipe.jpg"""


def run(args: argparse.Namespace) -> int:
    """Draw it."""
    if args.count < 1 or (args.columns is not None and args.columns < 1):
        raise UsageError(
            f"--{'count' if args.count < 1 else 'columns'} must be at least 1, got"
            f" {args.count if args.count < 1 else args.columns}"
        )
    if args.ids and args.query:
        raise UsageError("ID and --query exclude each other")
    with Store(args.store) as store:
        if args.augment:
            return _draw_recipe(store, args)
        chosen: list[str] | list[int] = args.ids or _chosen(store, args)
        file = store.sheet(chosen, columns=args.columns).save(args.output)
        ids = [one if isinstance(one, str) else store.ids[one] for one in chosen]
    _print(args, file, ids, f"{len(chosen)} samples on {file}")
    return 0


def _draw_recipe(store: Store, args: argparse.Namespace) -> int:
    """Some samples, each as it is and then as a recipe makes it."""
    recipe = resolve(args.augment)
    assert recipe is not None
    args.count = 1
    rows = [store.row(sample_id) for sample_id in args.ids] or _chosen(store, args)
    crops = StoreCrops(store, np.array(rows))
    images, captions = [], []
    for position, name in enumerate(crops.names(np.arange(len(rows)))):
        pixels = np.empty((_TIMES, *crops.size, 3), np.uint8)
        crops.read(np.full(_TIMES, position), pixels)
        places = np.arange(_TIMES) + position * _TIMES
        draws = draw(recipe, crops.size, args.seed, 0, places)
        images.append(pixels[0].copy())
        place(pixels, draws)
        images += list(_coloured(pixels, draws))
        captions += [name.rpartition("#")[2][-8:], *(f"draw {number}" for number in places)]
    picture = contact_sheet(images, captions, columns=args.columns or _TIMES + 1)
    file = picture.save(args.output)
    ids = [store.ids[row] for row in rows]
    _print(args, file, ids, f"{len(rows)} samples, {_TIMES} draws of each, on {file}")
    return 0


def _print(args: argparse.Namespace, file: Path, ids: list[str], line: str) -> None:
    if args.json:
        print_json({"store": args.store, "samples": len(ids), "output": file, "ids": ids})
    else:
        print_lines([line])


def _coloured(pixels: Pixels, draws: Draws) -> Pixels:
    """The colour steps of a recipe, which a loader does on floats."""
    if draws.colour is None:
        return pixels
    import torch

    from lmdb_reid.augment import finish

    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    finish(floats, draws)
    coloured: Pixels = floats.mul_(255).round_().byte().permute(0, 2, 3, 1).numpy()
    return coloured


def _chosen(store: Store, args: argparse.Namespace) -> list[int]:
    rows = store.query(args.query) if args.query else np.arange(len(store))
    if not len(rows):
        raise UsageError(f"no sample matches {args.query!r}")
    some = np.random.default_rng(args.seed).choice(rows, min(args.count, len(rows)), replace=False)
    return sorted(some.tolist())
