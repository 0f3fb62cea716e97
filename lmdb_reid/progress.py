"""How far a command is: one line rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_REDRAWN_EVERY, _PLAIN_EVERY = 0.1, 5.0  # seconds

Progress = Callable[[int, int, int], None]
"""Called with (done, total, count): parts of the work, and what came of them so far, such as crops
of frames; 0 where nothing is counted.
"""


@contextlib.contextmanager
def shown(title: str, unit: str, *, things: str = "", scale: float = 1.0) -> Iterator[Progress]:
    """A function that shows, on stderr, how much is done, at what rate, and the time left.

    Args:
        title: what is going on.
        unit: of what is done, such as "MB" or "frames".
        things: what is counted beside, such as "crops".
        scale: what the function is called with for one unit, such as 1e6.
    """
    terminal = sys.stderr.isatty()
    every = _REDRAWN_EVERY if terminal else _PLAIN_EVERY
    began = last = time.monotonic()

    def show(done: int, total: int, count: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < every:
            return
        last = now
        rate = done / (now - began)
        counted = f" {count:,} {things}," if things else ""
        text = (
            f"{title}: {done / scale:,.0f} of {total / scale:,.0f} {unit},{counted}"
            f" {rate / scale:,.0f} {unit}/s, {(total - done) / rate if rate else 0:,.0f} s left"
        )
        line = f"\r\x1b[K{text}" if terminal else f"{text}\n"
        print(line, end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
