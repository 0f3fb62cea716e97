"""Where a loader's time goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lmdb_reid.loaders._batch import Timings

_KEPT = 4096  # batches that are remembered


class Moment(NamedTuple):
    """One batch as the consumer saw it; times are `time.perf_counter()`'s."""

    asked: float
    got: float
    samples: int
    ready: int | None
    """Batches that were whole when it was asked for; None where the engine cannot tell."""
    timings: Timings


class Clock:
    """Counts batches and samples, and remembers the latest of them."""

    def __init__(self) -> None:
        self.batches = self.samples = self.skipped = self.cached = 0
        self.moments: deque[Moment] = deque(maxlen=_KEPT)
        self._running = 0.0
        self._resumed: float | None = None

    def begin(self) -> float:
        """The consumer asks for a batch; returns the time."""
        now = time.perf_counter()
        if self._resumed is not None:
            self._running += now - self._resumed
        self._resumed = now
        return now

    def end(self, asked: float, samples: int, ready: int | None, timings: Timings) -> None:
        """The consumer gets it."""
        self.moments.append(Moment(asked, time.perf_counter(), samples, ready, timings))
        self.batches += 1
        self.samples += samples
        self.cached += timings.cached

    def pause(self) -> None:
        """A pass is over: the time until the next one does not count."""
        if self._resumed is not None:
            self._running += time.perf_counter() - self._resumed
        self._resumed = None

    def stats(self) -> dict[str, Any]:
        """Counts, samples per second of running time, and percentiles over the latest batches."""
        timings = [moment.timings for moment in self.moments]
        depths = [moment.ready for moment in self.moments if moment.ready is not None]
        return {
            "batches": self.batches,
            "samples": self.samples,
            "skipped": self.skipped,
            "cached": self.cached,
            "samples_per_s": self.samples / self._running if self._running else 0.0,
            "queue_depth_p50": float(np.median(depths)) if depths else None,
            **_ms("wait", (moment.got - moment.asked for moment in self.moments)),
            **_ms("gather", (each.gather for each in timings)),
            **_ms("decode", (each.decode for each in timings)),
            **_ms("transform", (each.transform for each in timings)),
            **_ms("transfer", (each.transfer for each in timings)),
        }


def _ms(name: str, seconds: Iterable[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    values = list(seconds)
    p50, p99 = np.percentile(values, [50, 99]) * 1e3 if values else (0.0, 0.0)
    return {f"{name}_ms_p50": float(p50), f"{name}_ms_p99": float(p99)}
