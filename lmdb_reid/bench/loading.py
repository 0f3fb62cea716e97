"""Passes over a store through a loader, timed: cold and warm, for each number of workers, with a
training step between the batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from lmdb_reid.bench import pages
from lmdb_reid.dataset import ReIDDataset, Transform
from lmdb_reid.loaders import Loader, Moment, make_loader
from lmdb_reid.machine import available_cores
from lmdb_reid.schema import Size
from lmdb_reid.store import Store

T = TypeVar("T")
_PASSES = 3  # of a warm loader, of which the median is kept
_STILL_THERE = 0.1  # share of a store that may stay in memory for a pass to count as cold


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is read, and how."""

    store: Path
    batch_size: int = 256
    engine: str = "auto"
    size: Size | None = None
    transform: Transform | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One pass, or as much of it as the time allowed. Waits are those at `next()`."""

    num_workers: int
    samples: int
    """That were read."""
    whole: bool
    """Whether these are all of the epoch."""
    seconds: float
    epoch_s: float
    """For the whole epoch: `seconds` in proportion, where not all of it was read."""
    samples_per_s: float
    first_batch_ms: float
    wait_ms_p50: float
    wait_ms_p99: float
    wait_share: float
    """Of the pass, 0 to 1."""
    step_ms: float
    """Between the batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """A first epoch, with the store out of the page cache as far as the system lets it go."""

    reading: Reading
    resident_share: float | None
    """Of the store, still in memory when the pass began; None where the system cannot tell."""

    @property
    def is_cold(self) -> bool:
        """Whether next to nothing was in memory."""
        return self.resident_share is not None and self.resident_share <= _STILL_THERE


def read(
    loader: Loader, *, num_workers: int, limit_s: float = float("inf"), step_s: float = 0.0
) -> Reading:
    """One pass from the start of an epoch, with a wait of `step_s` after each batch, as for a GPU.

    It ends after the batch in which `limit_s` seconds were over.
    """
    loader.set_epoch(loader.epoch)  # or a pass that was broken off would be gone on with
    waits: list[float] = []
    samples = 0
    began = now = time.perf_counter()
    for batch in loader:
        waits.append(time.perf_counter() - now)
        samples += len(batch.labels)
        del batch  # or its buffer could not be used for the next one
        if step_s:
            time.sleep(step_s)
        now = time.perf_counter()
        if now - began > limit_s:
            break
    seconds = now - began  # leaving a pass early is no part of it
    of = len(loader.dataset)
    p50, p99 = np.percentile(waits, [50, 99]) if waits else (0.0, 0.0)
    return Reading(
        num_workers=num_workers,
        samples=samples,
        whole=samples == of,
        seconds=seconds,
        epoch_s=seconds * of / samples if samples else 0.0,
        samples_per_s=samples / seconds if seconds else 0.0,
        first_batch_ms=1e3 * waits[0] if waits else 0.0,
        wait_ms_p50=1e3 * float(p50),
        wait_ms_p99=1e3 * float(p99),
        wait_share=sum(waits) / seconds if seconds else 0.0,
        step_ms=1e3 * step_s,
    )


def cold_epoch(setup: Setup, *, num_workers: int, limit_s: float) -> Cold | None:
    """A first epoch, workers starting and all, after the store was let go from the page cache.

    No `Store` of this process may be open. Returns None where the system has no call for it.
    """
    if not pages.drop(setup.store):
        return None
    left = pages.held(setup.store).share
    reading = _with_loader(
        setup, num_workers, lambda loader: read(loader, num_workers=num_workers, limit_s=limit_s)
    )
    return Cold(reading=reading, resident_share=left)


def warm_epoch(setup: Setup, *, num_workers: int, limit_s: float, step_s: float = 0.0) -> Reading:
    """An epoch of a loader whose workers run: of up to three passes within `limit_s`, the median.

    The store's pages are not read in first: `pages.read_in` does that.
    """

    def passes(loader: Loader) -> Reading:
        for batch in loader:
            del batch
            break
        until = time.perf_counter() + limit_s
        taken: list[Reading] = []
        while not taken or (len(taken) < _PASSES and time.perf_counter() < until):
            left = max(0.0, until - time.perf_counter())
            taken.append(read(loader, num_workers=num_workers, limit_s=left, step_s=step_s))
        # A last pass that was broken off says less than whole ones.
        whole = [reading for reading in taken if reading.whole] or taken
        return sorted(whole, key=lambda reading: reading.samples_per_s)[len(whole) // 2]

    return _with_loader(setup, num_workers, passes)


def watched_epoch(
    setup: Setup, *, num_workers: int, limit_s: float, step_s: float = 0.0
) -> list[Moment]:
    """The batches of one pass of a loader whose workers run, each with what it took."""

    def watch(loader: Loader) -> list[Moment]:
        for batch in loader:
            del batch
            break
        before = len(loader.moments())
        read(loader, num_workers=num_workers, limit_s=limit_s, step_s=step_s)
        return loader.moments()[before:]

    return _with_loader(setup, num_workers, watch)


def explained(setup: Setup, *, num_workers: int) -> str:
    """Which engine makes the batches, and why."""

    def engine_and_why(loader: Loader) -> str:
        plan = loader.plan()
        return f"{plan.engine}: {plan.why}"

    return _with_loader(setup, num_workers, engine_and_why)


def usual_workers() -> list[int]:
    """1, 2, 4, ... and as many as this process has cores."""
    cores = available_cores()
    return sorted({*(1 << power for power in range(cores.bit_length())), cores})


def _with_loader(setup: Setup, num_workers: int, work: Callable[[Loader], T]) -> T:
    with Store(setup.store) as store:
        dataset = ReIDDataset(store, size=setup.size, transform=setup.transform)
        with make_loader(
            dataset,
            setup.batch_size,
            shuffle=True,
            engine=setup.engine,  # type: ignore[arg-type]  # checked there, with our words
            num_workers=num_workers,
        ) as loader:
            return work(loader)
