"""Loading speeds beside each other: the part of `lmdb-reid demo` that needs torch."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from builders import AtmaCup
from builders.samples import box_samples
from lmdb_reid import _disk
from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.loaders import make_loader
from lmdb_reid.machine import available_cores
from lmdb_reid.schema import DEFAULT_SIZE, Kind, Rows
from lmdb_reid.store import Store
from training.commands.demo import rows_of, spread
from training.guide import PlayerReIDDataset

_HEIGHT, _WIDTH = DEFAULT_SIZE
_BATCH = 32
_MOST_WORKERS = 4
_SLOW_BATCHES = 3  # for each worker, of the way that decodes a frame for every crop
_EPOCHS = 3


def compare(store: Store, source: AtmaCup, expand: float, *, tell: Callable[..., None]) -> str:
    """Time an epoch of ours, the same pictures as JPEG files, and some cut out of the frames.

    Args:
        store: of the demo's game.
        source: what it was built from.
        expand: what its boxes were multiplied by.
        tell: prints lines of what is compared.

    Returns:
        The speed of each, in a line.
    """
    num_workers = min(_MOST_WORKERS, available_cores())
    some = spread(rows_of(store, Kind.PERSON), _BATCH * _SLOW_BATCHES * num_workers)
    ours = ReIDDataset(store)
    boxes = {box.id: box for box in box_samples(source.read())}
    chosen = [boxes[store.ids[row]] for row in some.tolist()]
    cut = PlayerReIDDataset(chosen, _resized, expand, use_cache=False)
    with (
        tempfile.TemporaryDirectory(prefix="lmdb-reid-demo-") as folder,
        make_loader(ours, _BATCH, num_workers=num_workers) as loader,
    ):
        files = _Files([Path(folder, f"{row:06d}.jpg") for row in range(len(store))], ours.labels)
        for row, path in enumerate(files.paths):
            _disk.write(path, store.at(row).jpeg)
        tell(
            f"ours: {len(ours):,} crops from the store through make_loader",
            ("PIL files: the same, each from a separate JPEG file, through torch's DataLoader"),
            f"run-time cropping: {len(cut):,} of them, each cut by PIL out of its 1280x720 frame",
            (
                f"{num_workers} workers, batches of {_BATCH}. A first epoch starts the"
                f" workers; {_EPOCHS} more are timed, each from the request of its first"
                " batch to the arrival of its last"
            ),
        )
        # Ours last: the others fork, which is better done before it starts threads.
        ways: dict[str, Iterable[Any]] = {
            name: DataLoader(
                others, _BATCH, num_workers=num_workers, persistent_workers=True, prefetch_factor=3
            )
            for name, others in (("run-time cropping", cut), ("PIL files", files))
        }
        speed = _crops_per_second(ways | {"ours": loader})
        pairs = [(ours[row][0].permute(1, 2, 0), cut[at][0]) for at, row in enumerate(some[:99])]
    apart = statistics.fmean((a.float() - b.float()).abs().mean().item() for a, b in pairs)
    tell(f"on average ours and those cut at run time are {apart:.1f} of 255 levels apart")
    ratios = [
        f"{name} {speed[name]:,.0f} ({speed['ours'] / speed[name]:.1f} times)"
        for name in ("PIL files", "run-time cropping")
    ]
    return f"ours {speed['ours']:,.0f} crops/s, {', '.join(ratios)}"


def _crops_per_second(ways: dict[str, Iterable[Any]]) -> dict[str, float]:
    """Each way's speed, its epochs between those of the others: all share a busy moment."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    crops = dict.fromkeys(ways, 0)
    for _ in range(1 + _EPOCHS):
        for name, batches in ways.items():
            began = time.perf_counter()
            crops[name] = sum(len(labels) for _, labels, *_ in batches)
            seconds[name].append(time.perf_counter() - began)
    return {name: crops[name] / statistics.median(seconds[name][1:]) for name in ways}


class _Files(Dataset[tuple[torch.Tensor, int]]):
    """A JPEG file for each crop; images [H, W, 3], since turning them would cost this way more."""

    def __init__(self, paths: Sequence[Path], labels: Rows) -> None:
        self.paths = paths
        self._labels = labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return torch.from_numpy(np.array(image)), int(self._labels[index])


def _resized(crop: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(crop.resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR)))
