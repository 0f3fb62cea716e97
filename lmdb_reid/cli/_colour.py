"""Colour of what the command line prints: on a terminal only, unless it is asked for.

`--color always` and `--color never` decide; else a terminal has colour, unless NO_COLOR is set
(https://no-color.org) or TERM is dumb.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from typing import TextIO

AUTO, ALWAYS, NEVER = WHEN = ("auto", "always", "never")

_BOLD, _RED, _GREEN, _YELLOW = "\x1b[1m", "\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m"
_PLAIN = "\x1b[0m"
_chosen: ContextVar[str] = ContextVar("colour", default=AUTO)

# Of a help text: its headings, and the names that begin a line of a list.
_HEADING = re.compile(r"^(\S[^\n:]*:)(?=$| )", re.MULTILINE)
_NAMES = re.compile(r"^(  )(-[^\s,]+(?:(?: [^\s-]\S*)?, -[^\s,]+)*|\w[\w-]*(?=  ))", re.MULTILINE)


def choose(when: str) -> None:
    """Have colour "auto", "always" or "never", from now on."""
    _chosen.set(when)


def coloured(stream: TextIO) -> bool:
    """Whether a stream gets colour."""
    if _chosen.get() != AUTO:
        return _chosen.get() == ALWAYS
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return not plain and stream.isatty()


def bold(text: str, stream: TextIO) -> str:
    """A name."""
    return _painted(_BOLD, text, stream)


def red(text: str, stream: TextIO) -> str:
    """What is wrong."""
    return _painted(_RED, text, stream)


def green(text: str, stream: TextIO) -> str:
    """What helps."""
    return _painted(_GREEN, text, stream)


def yellow(text: str, stream: TextIO) -> str:
    """What may be wrong."""
    return _painted(_YELLOW, text, stream)


def help_text(text: str, stream: TextIO) -> str:
    """A help text with its headings, and the names of its options and commands, in bold."""
    if not coloured(stream):
        return text
    text = _HEADING.sub(rf"{_BOLD}\1{_PLAIN}", text)
    return _NAMES.sub(rf"\1{_BOLD}\2{_PLAIN}", text)


def _painted(colour: str, text: str, stream: TextIO) -> str:
    return f"{colour}{text}{_PLAIN}" if coloured(stream) else text
