"""What the same recipe costs in other libraries: processor time for a crop, on one core.

    python -m benchmarks.recipes --install               once: an environment with all of them
    python -m benchmarks.recipes --store games.lmdb      or --draw, pictures made here
    python -m benchmarks.recipes --draw --small          to see that it runs; keeps no result

The recipe is "bot": mirror half of the crops, pad 10 and crop, erase a rectangle of half of them,
and normalise to float32. lmdb_reid does it in its loader, `torchvision.transforms.v2` and
albumentations crop by crop as a dataset's transform, kornia batch by batch as `batch_transform`, as
docs/augment.md shows them. All run in one process and take turns, with one torch thread; what is
counted is the process's own processor time, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import interleaved, keep, spread
from benchmarks.loaders import ENVS
from benchmarks.peers._install import Environment, install, interpreter, missing
from benchmarks.peers._outputs import AREA, ERASE, FILL, FLIP, MEAN, PAD, RATIO, STD
from lmdb_reid.errors import LmdbReidError, UsageError

ENVIRONMENT = Environment(
    name="recipes",
    requires=(
        "torchvision==0.28.0",
        "albumentations==2.0.8",
        "kornia==0.9.0",
        "opencv-python-headless<5",
        "pillow",
        "lmdb",
        "msgpack",
        "simplejpeg==1.9.0",
    ),
)
_ROOT = Path(__file__).resolve().parents[1]
_BATCH = 64
Pixels = npt.NDArray[np.uint8]
Run = Callable[[Pixels], Any]
"""Does the recipe to uint8 [B, H, W, 3]."""


def main(words: Sequence[str] | None = None) -> int:
    """Install, or measure, print and keep; 0, 1 where the environment cannot be had, or 2 for wrong
    use.
    """
    args = arguments(words)
    if args.inside:
        print(json.dumps(measured(np.load(args.inside), args.repeats)))
        return 0
    if args.install:
        return 0 if install(ENVIRONMENT, args.envs) else 1
    try:
        result = _in_environment(_crops(args), args)
    except LmdbReidError as error:
        print(f"benchmarks.recipes: {error}", file=sys.stderr)
        return 2
    print(table(result))
    if not args.small:
        print(f"kept in {keep('recipes', result)}", file=sys.stderr)
    return 0


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipes", description=(__doc__ or "").splitlines()[0]
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--store", type=Path, help="a store whose crops have one size")
    what.add_argument("--draw", action="store_true", help="pictures of 256x128 that are made here")
    what.add_argument("--install", action="store_true", help="make the environment")
    what.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    add = parser.add_argument
    add("--envs", type=Path, default=ENVS, metavar="DIR", help=f"environments (default: {ENVS})")
    add("--repeats", type=int, help="rounds (default: 9; with --small 1)")
    add("--small", action="store_true", help="to see that it runs; keeps no result")
    args = parser.parse_args(words)
    if args.repeats is None:
        args.repeats = 1 if args.small else 9
    if args.repeats < 1:
        parser.error(f"--repeats {args.repeats}: give 1 or more")
    args.envs = args.envs.expanduser().absolute()
    return args


def measured(pictures: Pixels, repeats: int) -> dict[str, Any]:
    """Microseconds of processor time for a crop, of each way that can be imported."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    runs: dict[str, Callable[[], float]] = {}
    failed: dict[str, str] = {}
    for name, make in WAYS.items():
        try:
            run = make((pictures.shape[1], pictures.shape[2]))
            run(pictures)  # what a first call sets up is no cost of a crop
        except Exception as error:  # of whatever library
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        runs[name] = _timer(run, pictures)
    taken = interleaved(runs, repeats)
    torch.set_num_threads(threads)
    return {
        "crops": len(pictures),
        "size": list(pictures.shape[1:3]),
        "repeats": repeats,
        "us": {name: spread(values) | {"values": values} for name, values in taken.items()},
        "failed": failed,
    }


def table(result: dict[str, Any]) -> str:
    """The rows in Markdown."""
    height, width = result["size"]
    decode = result["us"]["decode"]["median"]
    lines = [
        f"{result['crops']} crops of {height}x{width} in batches of {_BATCH}, {result['repeats']}"
        " rounds, processor time",
        "",
        "| the recipe by | us a crop, median (min - max) | of decoding |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {row['median']:.0f} ({row['min']:.0f} - {row['max']:.0f})"
        f" | {row['median'] / decode:.2f} |"
        for name, row in result["us"].items()
    ]
    lines += [f"| {name} | failed: {reason} | |" for name, reason in result["failed"].items()]
    return "\n".join(lines)


def _timer(run: Run, pictures: Pixels) -> Callable[[], float]:
    def timed() -> float:
        work = pictures.copy()
        began = time.process_time()
        for start in range(0, len(work), _BATCH):
            run(work[start : start + _BATCH])
        return 1e6 * (time.process_time() - began) / len(work)

    return timed


def _decoding(_size: tuple[int, int]) -> Run:
    """The yardstick: these crops' JPEGs, decoded into one buffer."""
    from lmdb_reid import codec

    jpegs: list[bytes] = []

    def run(pixels: Pixels) -> None:
        if not jpegs:  # at the first call, which is not counted
            jpegs.extend(codec.encode(picture) for picture in pixels)
        for picture, jpeg in zip(pixels, jpegs, strict=False):
            codec.decode(jpeg, picture)

    return run


def _ours(size: tuple[int, int], *, floats: bool) -> Run:
    import torch

    from lmdb_reid.augment import ReIDAugment, draw, place
    from lmdb_reid.loaders._batch import Batch, Timings
    from lmdb_reid.loaders._config import DeviceConfig
    from lmdb_reid.loaders._device import Made, Transfer

    recipe, epoch = ReIDAugment.preset("bot"), iter(range(1 << 30))
    to_floats = Transfer(DeviceConfig(normalize="imagenet"), torch.device("cpu"))
    none = torch.zeros(0, dtype=torch.int64)

    def run(pixels: Pixels) -> Any:
        draws = draw(recipe, size, 0, next(epoch), np.arange(len(pixels), dtype=np.int64))
        place(pixels, draws)
        if not floats:
            return pixels
        batch = Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), none, none, {})
        (made,) = to_floats.over(one for one in [Made(batch, Timings())])
        return made.batch.images

    return run


def _torchvision(size: tuple[int, int]) -> Run:
    import torch

    from benchmarks.peers._torchvision import on_tensors

    transform = on_tensors(size)

    def run(pixels: Pixels) -> Any:
        return torch.stack([transform(torch.from_numpy(one).permute(2, 0, 1)) for one in pixels])

    return run


def _albumentations(size: tuple[int, int]) -> Run:
    import albumentations as A  # as its manual has it
    import torch

    height, width = size
    pipeline = A.Compose(
        [
            A.HorizontalFlip(p=FLIP),
            A.Pad(padding=PAD, fill=0),
            A.RandomCrop(height=height, width=width),
            A.Erasing(scale=AREA, ratio=RATIO, fill=FILL, p=ERASE),
            A.Normalize(mean=MEAN, std=STD),
        ]
    )

    def run(pixels: Pixels) -> Any:
        made = [torch.from_numpy(pipeline(image=one)["image"]).permute(2, 0, 1) for one in pixels]
        return torch.stack(made)

    return run


def _kornia(size: tuple[int, int]) -> Run:
    import kornia.augmentation as K  # as its manual has it
    import torch

    pipeline = K.AugmentationSequential(
        K.RandomHorizontalFlip(p=FLIP),
        K.RandomCrop(size, padding=PAD),
        K.Normalize(mean=torch.tensor(MEAN), std=torch.tensor(STD)),
        K.RandomErasing(p=ERASE, scale=AREA, ratio=RATIO),  # filled with the mean: 0 here
        data_keys=["input"],
    )

    def run(pixels: Pixels) -> Any:
        return pipeline(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)

    return run


WAYS: dict[str, Callable[[tuple[int, int]], Run]] = {
    "decode": _decoding,
    "lmdb_reid, uint8": lambda size: _ours(size, floats=False),
    "lmdb_reid, normalised float32": lambda size: _ours(size, floats=True),
    "torchvision v2, crop by crop": _torchvision,
    "albumentations, crop by crop": _albumentations,
    "kornia, by batches": _kornia,
}


def _crops(args: argparse.Namespace) -> Pixels:
    count = _BATCH if args.small else 4 * _BATCH
    if args.store is not None:
        from lmdb_reid import Store

        with Store(args.store) as store:
            rows = np.linspace(0, len(store) - 1, count).astype(int).tolist()
            found = [store.at(row).image for row in rows]
        if len({picture.shape for picture in found}) != 1:
            raise UsageError(f"{args.store} must hold crops of one size.")
        return np.stack(found)
    from lmdb_reid import codec

    draws = np.random.default_rng(0)
    size = (256, 128)
    return np.stack(
        [
            codec.resize(draws.integers(0, 256, (16, 8, 3)).astype(np.uint8), size) // 2
            + draws.integers(0, 7, (*size, 3)).astype(np.uint8)
            for _ in range(count)
        ]
    )


def _in_environment(pictures: Pixels, args: argparse.Namespace) -> dict[str, Any]:
    """Measured by the environment's Python."""
    reason = missing(ENVIRONMENT, args.envs)
    if reason is not None:
        raise UsageError(f"the environment of benchmarks.recipes: {reason}")
    with tempfile.TemporaryDirectory(prefix="lmdb_reid-recipes-") as folder:
        file = Path(folder) / "crops.npy"
        np.save(file, pictures)
        command = [str(interpreter(ENVIRONMENT, args.envs)), "-m", "benchmarks.recipes"]
        words = ["--inside", str(file), "--repeats", str(args.repeats)]
        quiet = {"NO_ALBUMENTATIONS_UPDATE": "1", "OMP_NUM_THREADS": "1"}
        found = subprocess.run(
            [*command, *words],
            cwd=_ROOT,
            env=os.environ | quiet,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if found.returncode:
        raise UsageError(f"measuring ended with {found.returncode}: its messages stand above")
    result: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    sys.exit(main())
