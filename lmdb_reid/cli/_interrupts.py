"""Ctrl-C before a command begins: an end at once.

A KeyboardInterrupt in the middle of an import is printed with a traceback, or becomes an
ImportError of a library that imports NumPy from C. Nothing has been written then, so the process
can just end.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

INTERRUPTED = 130
"""The exit code."""


def end_at_once() -> None:
    """From now on Ctrl-C ends the process, unless it was ignored (as under nohup)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again: there may be something to leave tidy."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):  # stderr may be closed
        os.write(2, b"lmdb-reid: interrupted\n")
    os._exit(INTERRUPTED)
