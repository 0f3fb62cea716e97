"""Where a loader's time goes."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np

_KEPT = 4096  # waits that the percentiles are taken over


class Clock:
    """Counts batches, samples and the consumer's waits."""

    def __init__(self) -> None:
        self.batches = self.samples = self.skipped = 0
        self._waits: deque[float] = deque(maxlen=_KEPT)
        self._running = 0.0
        self._resumed: float | None = None

    def begin(self) -> float:
        """The consumer asks for a batch; returns the time."""
        now = time.perf_counter()
        if self._resumed is not None:
            self._running += now - self._resumed
        self._resumed = now
        return now

    def end(self, began: float, samples: int) -> None:
        """The consumer gets it."""
        self._waits.append(time.perf_counter() - began)
        self.batches += 1
        self.samples += samples

    def pause(self) -> None:
        """A pass is over: the time until the next one does not count."""
        if self._resumed is not None:
            self._running += time.perf_counter() - self._resumed
        self._resumed = None

    def stats(self) -> dict[str, Any]:
        """Counts, samples per second of running time, and the waits at next() in milliseconds."""
        p50, p99 = np.percentile(self._waits, [50, 99]) * 1e3 if self._waits else (0.0, 0.0)
        return {
            "batches": self.batches,
            "samples": self.samples,
            "skipped": self.skipped,
            "samples_per_s": self.samples / self._running if self._running else 0.0,
            "wait_ms_p50": float(p50),
            "wait_ms_p99": float(p99),
        }
