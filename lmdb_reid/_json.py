"""JSON from files that nobody vouches for: nesting capped, no name twice, every value typed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

MAX_DEPTH = 32
"""How deep lists and maps may be nested."""
_OTHERS = bytes({*range(256)} - {*b'"[]{}'})
_STEPS = np.zeros(256, np.int8)
_STEPS[[*b"[{"]] = 1
_STEPS[[*b"]}"]] = -1


def parse(data: bytes) -> Any:
    """The value of a JSON text in utf-8.

    Raises:
        ValueError: it is none, has a name twice in one map, is nested deeper than MAX_DEPTH, or
            has numbers that are none (NaN, Infinity).
    """
    text = data.decode("utf-8")
    check_nesting(data, MAX_DEPTH)
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def check_nesting(data: bytes, most: int) -> None:
    """Refuse a JSON text in utf-8 whose lists and maps are nested deeply, before it is decoded.

    Python's decoder calls itself for each: up to 10,000 times since 3.12, which takes a megabyte
    of stack, and where the system gives none the process dies by a signal.

    Raises:
        ValueError: they are nested deeper than `most`.
    """
    if data.count(b"[") + data.count(b"{") <= most:
        return
    if b"\\" in data:  # what is escaped ends no text
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(data.translate(None, _OTHERS), np.uint8)
    steps = _STEPS[marks]
    steps[np.logical_xor.accumulate(marks == ord('"'))] = 0  # in a text
    if (np.cumsum(steps, dtype=np.int32) > most).any():
        raise ValueError(f"it is nested deeper than {most}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} occurs twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _is_whole(value: Any, most: int, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


class Fields:
    """A JSON map whose fields are read with their types; what does not fit is a ValueError that
    names the field.

    Args:
        values: what stands where a map should.
        where: how messages call it.
    """

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict):
            raise ValueError(f"{where} must be a map, got {type(values).__name__}")
        self._values: dict[str, Any] = values
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def integer(self, name: str, most: int, least: int = 0) -> int:
        """A whole number in least..most."""
        value = self._value(name)
        if not _is_whole(value, most, least):
            raise self._wrong(name, f"a whole number in {least}..{most}", value)
        return int(value)

    def integers(self, name: str, most: int, least: int = 0) -> tuple[int, ...]:
        """A list of whole numbers in least..most."""
        value = self._value(name)
        if not isinstance(value, list) or not all(_is_whole(each, most, least) for each in value):
            raise self._wrong(name, f"a list of whole numbers in {least}..{most}", value)
        return tuple(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._value(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """A string that matches all of a pattern."""
        value = self._value(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._wrong(name, f"a text like {pattern.pattern}", value)
        return value

    def texts(self, name: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        """A list of such strings."""
        value = self._value(name)
        if not isinstance(value, list) or not all(
            isinstance(each, str) and pattern.fullmatch(each) for each in value
        ):
            raise self._wrong(name, f"a list of texts like {pattern.pattern}", value)
        return tuple(value)

    def maps(self, name: str) -> list[Fields]:
        """A list of maps."""
        value = self._value(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list", value)
        return [Fields(each, f"{name}[{at}]") for at, each in enumerate(value)]

    def inner(self, name: str) -> Fields:
        """A map."""
        return Fields(self._value(name), f"{self.where}.{name}" if self.where else name)

    def items(self) -> Mapping[str, Any]:
        """The map itself."""
        return self._values

    def _value(self, name: str) -> Any:
        if name not in self._values:
            raise ValueError(f"{self.where or 'it'} lacks {name!r}")
        return self._values[name]

    def _wrong(self, name: str, rule: str, value: Any) -> ValueError:
        got = repr(value)
        return ValueError(
            f"{self.where + '.' if self.where else ''}{name} must be {rule}, got"
            f" {got if len(got) < 80 else got[:80] + '...'}"
        )
