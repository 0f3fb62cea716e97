"""What every row shares: the same players in each form, passes over them, and a row itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import interleaved, spread
from builders import AtmaCup, BuildSettings, Listing, build
from builders.samples import BoxSample, box_samples
from lmdb_reid import Store

SIZE = (256, 128)
BATCH = 64

Pass = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table."""

    promise: str
    claim: str
    """The guide's number."""
    wanted: str
    measured: str
    ratio: str
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    """min, median and max of what was measured, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The same players three ways, and how to read them."""

    source: AtmaCup
    listing: Listing
    samples: list[BoxSample]
    store: Path
    files: list[Path]
    """One for each sample."""
    num_workers: int
    repeats: int


def prepared(data: Path, folder: Path, *, num_workers: int, repeats: int) -> Inputs:
    """A store, files and samples of a data set in the atmaCup layout, made in `folder`."""
    source = AtmaCup(data / "train_meta.csv", data / "images")
    listing = source.read()
    samples = box_samples(listing)
    build(source, folder / "games.lmdb", BuildSettings(size=SIZE), num_workers=num_workers)
    files = [folder / f"{number:06d}.jpg" for number in range(len(samples))]
    with Store(folder / "games.lmdb") as store:
        for sample, file in zip(samples, files, strict=True):
            file.write_bytes(store[sample.id].jpeg)
    return Inputs(
        source=source,
        listing=listing,
        samples=samples,
        store=folder / "games.lmdb",
        files=files,
        num_workers=num_workers,
        repeats=repeats,
    )


def stock_passes(inputs: Inputs, dataset: Dataset[Any]) -> Pass:
    """Passes of torch's DataLoader, with the guide's settings."""
    loader = DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        num_workers=inputs.num_workers,
        persistent_workers=inputs.num_workers > 0,
    )
    return lambda: rate(loader)


def rate(loader: Iterable[Any]) -> float:
    """Samples per second of one pass."""
    began, count = time.perf_counter(), 0
    for batch in loader:
        count += len(batch[1])
    return count / (time.perf_counter() - began)


def later_passes(runs: dict[str, Pass], repeats: int) -> dict[str, list[float]]:
    """What interleaved passes return, after one of each that starts the workers."""
    for run in runs.values():
        run()
    return interleaved(runs, repeats)


def over(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """How many times the other, round by round."""
    return [a / b for a, b in zip(one, other, strict=True)]


def spreads(taken: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """min, median and max of each."""
    return {name: spread(values) for name, values in taken.items()}
