"""What `--json` prints: one object, the same shape from every command (docs/cli.md).

The store is `store`, its samples are `samples`, times are in `seconds`, sizes in bytes. What is no
number is null, never NaN.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmdb_reid._visible import UNSEEN, visible

_NAME = re.compile(r"( *)(?:\S+(?: \S+)*  +)?")  # what stands before the value of a line


def print_json(facts: Mapping[str, Any]) -> None:
    """Print an object on standard output, indented by two.

    Args:
        facts: JSON values, tuples, paths and NumPy's numbers; other values are printed as repr.
    """
    sys.stdout.write(as_json(facts) + "\n")


def print_lines(lines: Iterable[str]) -> None:
    """Print lines for people on standard output: see `visible`. On a terminal a line that is too
    long continues below its value; elsewhere each is one line.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown: Iterable[str] = map(visible, lines)
    if width is not None:
        shown = (part for line in shown for part in _fitted(line, width))
    sys.stdout.write("".join(line + "\n" for line in shown))


def _fitted(line: str, width: int) -> list[str]:
    """A line in as many as it takes, broken between words; one with a word that is too long for
    that, such as a digest, stays as it is.
    """
    if len(line) <= width:
        return [line]
    name = _NAME.match(line)
    assert name is not None  # it matches anything
    below = " " * (len(name[0]) if len(name[0]) <= width // 2 else len(name[1]) + 2)
    return (
        textwrap.wrap(
            line,
            width,
            subsequent_indent=below,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
        if max(map(len, line.split())) <= width - len(below)
        else [line]
    )


def as_json(facts: Mapping[str, Any]) -> str:
    """The text that `print_json` prints. No character of it is a control character."""
    text = json.dumps(_plain(facts), indent=2, ensure_ascii=False, allow_nan=False)
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # NumPy's
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    return os.fspath(value) if isinstance(value, os.PathLike) else repr(value)
