"""How far a command is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from builders.pipeline import Progress

_PLAIN_EVERY = 5.0  # seconds between lines where there is no terminal


@contextmanager
def shown(title: str, things: str = "crops") -> Iterator[Progress]:
    """A bar with rate and time left on a terminal, a line now and then elsewhere; on stderr.

    Args:
        title: what is done to the frames.
        things: what comes of them.
    """
    if sys.stderr.isatty():
        with tqdm(
            desc=title, unit=" frames", smoothing=0.1, dynamic_ncols=True, leave=False
        ) as bar:

            def draw(done: int, total: int, count: int) -> None:
                bar.total = total
                bar.set_postfix_str(f"{count:,} {things}", refresh=False)
                bar.update(done - bar.n)

            yield draw
        return
    began = told = time.monotonic()

    def tell(done: int, total: int, count: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _PLAIN_EVERY:
            told = now
            rate = done / (now - began)
            left = (total - done) / rate
            print(
                f"{title}: {done:,} of {total:,} frames, {count:,} {things}, {rate:,.0f} frames/s,"
                f" {left:,.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    yield tell
