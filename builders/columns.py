"""Columns of listings: millions of texts and cells in a few arrays.

A Python object for each cell would take some 100 bytes; these take what the values take.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

# Names of files may hold bytes that are no utf-8, JSON may hold half a surrogate pair: both are
# kept, and refused where an id is made of them.
_ERRORS = "surrogatepass"


class Texts(Sequence[str]):
    """Texts as one run of utf-8 bytes and their ends. A slice shares the bytes; a pickle holds
    those of the slice alone.

    Args:
        data: uint8 [bytes].
        offsets: int64 [N + 1]: text i is `data[offsets[i] - offsets[0] : offsets[i + 1] - ...]`.
    """

    __slots__ = ("_data", "_offsets")

    def __init__(self, data: npt.NDArray[np.uint8], offsets: Ints) -> None:
        self._data, self._offsets = data, offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """The same texts; nothing else of them is kept."""
        data, offsets = bytearray(), array("q", [0])
        for text in texts:
            data += text.encode("utf-8", _ERRORS)
            offsets.append(len(data))
        return cls(np.frombuffer(data, np.uint8), np.frombuffer(offsets, np.int64))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Texts: ...
    def __getitem__(self, at: int | slice) -> str | Texts:
        if isinstance(at, slice):
            first, last, step = at.indices(len(self))
            if step != 1:
                return Texts.of(self[each] for each in range(first, last, step))
            offsets = self._offsets[first : max(first, last) + 1]
            base = self._offsets[0]
            return Texts(self._data[offsets[0] - base : offsets[-1] - base], offsets)
        at = range(len(self))[at]  # as a list counts, from the end too
        return self.encoded(at).decode("utf-8", _ERRORS)

    def __iter__(self) -> Iterator[str]:
        offsets = (self._offsets - self._offsets[0]).tolist() if len(self) < _CHUNK else None
        if offsets is None:
            for first in range(0, len(self), _CHUNK - 1):
                yield from self[first : first + _CHUNK - 1]
            return
        data = self._data.tobytes()
        for start, stop in pairwise(offsets):
            yield data[start:stop].decode("utf-8", _ERRORS)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Texts):
            return NotImplemented
        return (
            len(self) == len(other)
            and np.array_equal(self._data, other._data)
            and np.array_equal(np.diff(self._offsets), np.diff(other._offsets))
        )

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    def __repr__(self) -> str:
        some = ", ".join(map(repr, self[:3]))
        return f"<Texts of {len(self):,}: {some}{', ...' if len(self) > 3 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Texts, (self._data.copy(), self._offsets.copy())

    def encoded(self, at: int) -> bytes:
        """The bytes of one text."""
        start, stop = (self._offsets[at : at + 2] - self._offsets[0]).tolist()
        return self._data[start:stop].tobytes()

    def place(self, text: str) -> int:
        """Where a text stands among these, which ascend as their bytes do; -1 where it does not."""
        key = text.encode("utf-8", _ERRORS)
        at = bisect_left(range(len(self)), key, key=self.encoded)
        return at if at < len(self) and self.encoded(at) == key else -1

    def ascending(self) -> bool:
        """Whether each text's bytes come after those before it, so that no text stands twice."""
        last = b""
        for first in range(0, len(self), _CHUNK - 1):
            keys = [text.encode("utf-8", _ERRORS) for text in self[first : first + _CHUNK - 1]]
            if (first and keys[0] <= last) or any(map(_not_after, keys[1:], keys)):
                return False
            last = keys[-1]
        return True


_CHUNK = 1 << 14


def _not_after(one: bytes, other: bytes) -> bool:
    return one <= other


class TextMap(Mapping[str, str]):
    """A mapping of texts to texts, in four arrays.

    Args:
        pairs: each key once, in any order.
    """

    __slots__ = ("_keys", "_next", "_values")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        ordered = sorted(pairs, key=lambda pair: pair[0].encode("utf-8", _ERRORS))
        self._keys = Texts.of(key for key, _ in ordered)
        self._values = Texts.of(value for _, value in ordered)
        self._next = 0  # most are asked for in order; only a guess, so threads may share it

    def __getitem__(self, key: str) -> str:
        at = self._next
        if at >= len(self._keys) or self._keys[at] != key:
            at = self._keys.place(key)
        if at < 0:
            raise KeyError(key)
        self._next = at + 1
        return self._values[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


_Value = TypeVar("_Value", bound=Any)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded(Generic[_Value]):
    """A column of few different values: texts, or numbers of which some are missing."""

    codes: npt.NDArray[np.int32]
    """[N]; -1 is a missing value."""
    categories: tuple[_Value, ...]
    """What code i stands for."""

    def __len__(self) -> int:
        return len(self.codes)


Column = npt.NDArray[Any] | Coded[Any]
"""Cells of N rows: an array of numbers, in which NaN is a missing one, or `Coded`."""


def column_of(cells: Sequence[Any]) -> Column:
    """Cells as a column; None is a missing one. What comes back from it is what went in: 7 does not
    become 7.0 because another cell is missing.
    """
    kinds = {*map(type, cells)}
    if kinds == {float} and not any(map(math.isnan, cells)):
        return np.array(cells, np.float64)
    if kinds == {int} and all(-(1 << 63) <= cell < 1 << 63 for cell in cells):
        return np.array(cells, np.int64)
    codes: dict[tuple[type, Any], int] = {}
    numbers = [
        -1 if cell is None else codes.setdefault((type(cell), cell), len(codes)) for cell in cells
    ]
    return Coded(codes=np.array(numbers, np.int32), categories=tuple(cell for _, cell in codes))


def part_of(column: Column, rows: slice | Ints) -> Column:
    """The cells of some rows."""
    if isinstance(column, Coded):
        return Coded(codes=column.codes[rows], categories=column.categories)
    return column[rows]


def cells_of(column: Column) -> list[Any]:
    """Cells as Python values; None is a missing one."""
    if isinstance(column, Coded):
        values = (*column.categories, None)  # which code -1 picks
        return [values[code] for code in column.codes.tolist()]
    cells: list[Any] = column.tolist()
    if column.dtype.kind == "f" and np.isnan(column).any():
        return [None if math.isnan(cell) else cell for cell in cells]
    return cells
