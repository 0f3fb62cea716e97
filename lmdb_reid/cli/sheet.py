"""`lmdb-reid sheet`: a contact sheet of samples."""

from __future__ import annotations

import argparse

import numpy as np

from lmdb_reid.augment import Draws, draw, place, resolve
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.crops import StoreCrops
from lmdb_reid.errors import UsageError
from lmdb_reid.pictures import Picture, contact_sheet
from lmdb_reid.schema import Pixels
from lmdb_reid.store import MOST_ON_SHEET, SHEET, Samples, Store, draw_persons

_TIMES = 12  # draws of a recipe that are shown


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument(
        "ids",
        metavar="ID",
        nargs="*",
        help="show the samples with these ids (default: persons chosen at random)",
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
        help='choose among samples that match this condition, such as "label == 3 and kind == 0"',
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help=f"choose N samples (default: {SHEET}; with --augment: 1)",
    )
    parser.add_argument(
        "--by",
        metavar="NAME",
        default="auto",
        help="group by this column or role, such as label, kind or camera; none: keep the order of"
        " the store (default: by label if labels have three samples or more on average)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed for the choice (default: 0)"
    )
    parser.add_argument(
        "--augment",
        metavar="RECIPE",
        help="show each sample twelve times, changed by this recipe: bot, transreid or guide",
    )
    parser.add_argument(
        "--columns", type=int, metavar="N", help="put N pictures in a row (default: automatic)"
    )
    parser.add_argument("--json", action="store_true", help="print what is shown as JSON")
    parser.epilog = """examples:
  lmdb-reid sheet games.lmdb --query "label == 3" -o player3.jpg
  lmdb-reid sheet games.lmdb --augment bot --seed 3 -o recipe.jpg"""


def run(args: argparse.Namespace) -> int:
    """Draw it."""
    _check(args)
    with Store(args.store) as store:
        samples = _chosen(store, args)
        if args.augment:
            picture, what = _recipe(store, samples, args), f"{_TIMES} draws of each, "
        else:
            by = None if args.by == "none" else args.by
            picture, what = samples.sheet(columns=args.columns, by=by), ""
        file = picture.save(args.output)
        ids = samples.ids
    if args.json:
        print_json({"store": args.store, "samples": len(ids), "output": file, "ids": ids})
    else:
        count = f"{len(ids):,} samples" if len(ids) != 1 else "1 sample"
        print_lines([f"{count}, {what}on {file}" if what else f"{count} on {file}"])
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong use before the store is opened."""
    most = MOST_ON_SHEET // (_TIMES + 1) if args.augment else MOST_ON_SHEET
    if args.count is not None and not 1 <= args.count <= most:
        raise UsageError(f"--count must be 1 to {most:,}, got {args.count:,}")
    if len(args.ids) > most:
        raise UsageError(f"ID must name at most {most:,} samples, got {len(args.ids):,}")
    if args.columns is not None and args.columns < 1:
        raise UsageError(f"--columns must be at least 1, got {args.columns}")
    if args.ids and args.query is not None:
        raise UsageError("ID and --query exclude each other")


def _chosen(store: Store, args: argparse.Namespace) -> Samples:
    """The samples of the ids, or a random choice: of those that match, or of the persons."""
    if args.ids:
        named: Samples = store[args.ids]
        return named
    count = args.count or (1 if args.augment else SHEET)
    if args.query is None:
        return draw_persons(store, count, args.seed)
    samples = store.sample(count, args.seed, args.query)
    if not len(samples):
        raise UsageError(f"no sample matches {args.query!r}, so there is nothing to show")
    return samples


def _recipe(store: Store, samples: Samples, args: argparse.Namespace) -> Picture:
    """Each as it is, and then as a recipe makes it, twelve times."""
    recipe = resolve(args.augment)
    assert recipe is not None
    crops = StoreCrops(store, samples.rows)
    images, captions, groups = [], [], []
    for position, (sample_id, caption) in enumerate(
        zip(samples.ids, samples.captions(), strict=True)
    ):
        pixels = np.empty((_TIMES, *crops.size, 3), np.uint8)
        crops.read(np.full(_TIMES, position), pixels)
        places = np.arange(_TIMES) + position * _TIMES
        draws = draw(recipe, crops.size, args.seed, 0, places)
        images.append(pixels[0].copy())
        place(pixels, draws)
        images += list(_coloured(pixels, draws))
        captions += ["as stored", *(f"draw {number}" for number in places)]
        groups += [f"{caption} · {sample_id}"] * (_TIMES + 1)
    return contact_sheet(
        images,
        captions,
        columns=args.columns or _TIMES + 1,
        title=f"{store.path.name} · recipe {args.augment} · seed {args.seed}",
        groups=groups,
    )


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
