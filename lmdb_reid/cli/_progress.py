"""How far a command is: one line rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_REDRAWN_EVERY, _PLAIN_EVERY = 0.1, 5.0  # seconds

Progress = Callable[[int, int], None]
"""Told (done, total)."""


@contextlib.contextmanager
def progress(title: str, unit: str, *, scale: float = 1.0) -> Iterator[Progress]:
    """A function that tells, on stderr, how much is done, at what rate, and the time left.

    Args:
        title: what is going on.
        unit: of what is counted, such as "MB".
        scale: what is told to the function for one unit, such as 1e6.
    """
    terminal = sys.stderr.isatty()
    every = _REDRAWN_EVERY if terminal else _PLAIN_EVERY
    began = told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < every:
            return
        told = now
        rate = done / (now - began)
        text = (
            f"{title}: {done / scale:,.0f} of {total / scale:,.0f} {unit},"
            f" {rate / scale:,.0f} {unit}/s, {(total - done) / rate if rate else 0:,.0f} s left"
        )
        print(
            f"\r\x1b[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr
        )
        sys.stderr.flush()

    try:
        yield tell
    finally:
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
