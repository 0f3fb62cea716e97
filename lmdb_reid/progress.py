"""How far a command is: one line rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_REDRAWN_EVERY, _PLAIN_EVERY = 0.1, 5.0  # seconds
_BAR = 20  # characters at most, half of them at least
_CLEAR = "\r\x1b[K"

Progress = Callable[[int, int, int], None]
"""Called with (done, total, count): parts of the work, and what came of them so far, such as crops
of frames; 0 where nothing is counted.
"""

_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextlib.contextmanager
def silenced(silent: bool = True) -> Iterator[None]:
    """Inside, nothing is shown: neither by `shown` nor by `say`."""
    token = _silent.set(silent)
    try:
        yield
    finally:
        _silent.reset(token)


def say(text: str) -> None:
    """Print a line on stderr: what a command begins to do."""
    if not _silent.get():
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def shown(title: str, unit: str, *, things: str = "", scale: float = 1.0) -> Iterator[Meter]:
    """A function that shows, on stderr, how much is done, at what rate, and the time left.

    A terminal's line is as wide as the terminal at most: what matters least is left out.

    Args:
        title: what is going on.
        unit: of what is done, such as "MB" or "frames".
        things: what is counted beside, such as "crops".
        scale: what the function is called with for one unit, such as 1e6.
    """
    meter = Meter(title, unit, things=things, scale=scale)
    try:
        yield meter
    finally:
        meter.clear()


class Meter:
    """Shows how far some work is each time it is called, but not more often than can be read.

    Args:
        title: what is going on.
        unit: of what is done.
        things: what is counted beside.
        scale: what it is called with for one unit.

    Attributes:
        is_terminal: whether it draws a line again and again; else it prints one now and then.
    """

    def __init__(self, title: str, unit: str, *, things: str = "", scale: float = 1.0) -> None:
        self.title = title
        self._unit, self._things, self._scale = unit, things, scale
        self.is_terminal = sys.stderr.isatty()
        self._every = _REDRAWN_EVERY if self.is_terminal else _PLAIN_EVERY
        self._last = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._is_drawn = False

    def __call__(
        self, done: int, total: int, count: int, *, note: Callable[[], str] | None = None
    ) -> None:
        """Show it, unless it was shown just now.

        Args:
            done: parts of the work.
            total: all of them.
            count: what came of them so far.
            note: what else is known, such as "loss 0.512"; called only if it is shown.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = now, done  # a build that is resumed does not begin at 0
        if _silent.get() or now - self._last < self._every:
            return
        self._last = now
        seconds, parts = now - self._first[0], done - self._first[1]
        rate = parts / seconds if seconds and parts > 0 else None
        texts = self._texts(done, total, count, rate) | {"note": note() if note else ""}
        if self.is_terminal:
            _write(f"{_CLEAR}{self._fitting(texts, done / max(1, total))}")
            self._is_drawn = True
        else:
            _write(f"{self.title}: {_joined(texts, 'share')}\n")

    def clear(self) -> None:
        """Take the line off a terminal, so that something else can be printed."""
        if self._is_drawn:
            _write(_CLEAR)
            self._is_drawn = False

    def _texts(self, done: int, total: int, count: int, rate: float | None) -> dict[str, str]:
        """The parts of a line, in its order."""
        scale, unit = self._scale, self._unit
        return {
            "share": f"{done / max(1, total):.0%}",
            "done": f"{done / scale:,.0f} of {total / scale:,.0f} {unit}",
            "count": f"{count:,} {self._things}" if self._things else "",
            "note": "",
            "rate": f"{rate / scale:,.0f} {unit}/s" if rate else "",
            "left": f"{(total - done) / rate:,.0f} s left" if rate else "",
        }

    def _fitting(self, texts: dict[str, str], share: float) -> str:
        """As much of a line as the terminal has room for, what matters most first."""
        room = _columns() - 1  # a full line would begin another one on some terminals
        kept, line = {"share"}, f"{self.title}: {texts['share']}"
        for name in ("note", "left", "done", "rate", "count"):
            wanted = (kept | {name}) - ({"share"} if name == "done" else set())
            longer = f"{self.title}: {_joined(texts, *(texts.keys() - wanted))}"
            if len(longer) <= room:
                kept, line = wanted, longer
        wide = min(_BAR, room - len(line) - 3)
        if wide < _BAR // 2:
            return line[:room]
        return f"{self.title}: {_bar(share, wide)} {line.partition(': ')[2]}"


def _joined(texts: dict[str, str], *without: str) -> str:
    return ", ".join(text for name, text in texts.items() if text and name not in without)


def _bar(share: float, wide: int) -> str:
    full = min(wide, int(share * wide))
    return f"[{'#' * full}{'.' * (wide - full)}]"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _write(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
