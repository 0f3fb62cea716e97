"""Pre-cropped instead of run-time cropping: crops per second, six ways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from benchmarks.guide_rows._inputs import (
    BATCH,
    SIZE,
    Inputs,
    Row,
    later_passes,
    over,
    rate,
    spreads,
    stock_passes,
)
from benchmarks.harness import told
from lmdb_reid import CroppedBBoxDataset, DecodedTier, ReIDDataset, Store, make_loader
from training import PlayerReIDDataset

NEAR = 6.0  # mean difference of pixels, of 255, between a crop and the same one stored as JPEG


def resized(crop: Image.Image) -> torch.Tensor:
    """A crop as uint8 [3, 256, 128]."""
    pixels = np.array(crop.resize(SIZE[::-1], Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1)


class PilFiles(Dataset[tuple[torch.Tensor, int]]):
    """Files of one crop each, opened with PIL, as the guide's CroppedBBoxDataset does it."""

    def __init__(self, files: Sequence[Path], labels: Sequence[int]) -> None:
        self.files, self.labels = files, labels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[index]) as image:
            pixels = np.array(image.convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1), self.labels[index]


def cropping(inputs: Inputs, crops: int) -> Row:
    """Crops per second, of later epochs, six ways."""
    labels = [sample.label_id for sample in inputs.samples]
    some = np.random.default_rng(0).permutation(len(labels))[:crops]
    cut = PlayerReIDDataset(
        [inputs.samples[at] for at in some], resized, expand_ratio=1.2, use_cache=False
    )
    with Store(inputs.store) as store:
        rows = [store.row(sample.id) for sample in inputs.samples]
        players = ReIDDataset(store, rows)
        decoded = ReIDDataset(store, rows, cache=DecodedTier(store))
        _check_near([(cut[at][0], players[int(some[at])][0]) for at in range(min(20, len(some)))])
        with (
            make_loader(players, BATCH, shuffle=True, num_workers=inputs.num_workers) as ours,
            make_loader(
                players, BATCH, shuffle=True, num_workers=inputs.num_workers, engine="processes"
            ) as apart,
            make_loader(decoded, BATCH, shuffle=True, num_workers=inputs.num_workers) as warm,
        ):
            runs = {
                "run-time cropping": stock_passes(inputs, cut),
                "files, PIL": stock_passes(inputs, PilFiles(inputs.files, labels)),
                "files, CroppedBBoxDataset": stock_passes(
                    inputs, CroppedBBoxDataset(inputs.files, labels)
                ),
                "store": lambda: rate(ours),
                "store, worker processes": lambda: rate(apart),
                "store, decoded tier": lambda: rate(warm),
            }
            taken = later_passes(runs, inputs.repeats)
    base = taken["run-time cropping"]
    times = {name: over(rates, base) for name, rates in taken.items() if name != next(iter(runs))}
    return Row(
        promise="pre-cropped instead of run-time cropping",
        claim="5-10x",
        wanted="50x and more (the store); 100x, and 900x decoded",
        measured="; ".join(f"{name} {told(rates, 0)}" for name, rates in taken.items())
        + " crops/s",
        ratio="; ".join(f"{name} {told(ratios, 1)}x" for name, ratios in times.items()),
        values=spreads(taken) | spreads({f"{name}, times": v for name, v in times.items()}),
    )


def _check_near(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """All ways show the same: else their times say nothing."""
    apart = [float((one.int() - other.int()).abs().float().mean()) for one, other in pairs]
    assert max(apart) < NEAR, f"the ways differ by {max(apart):.1f} of 255"
