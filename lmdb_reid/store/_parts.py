"""The data files of a store, and which of them holds a row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmdb_reid.schema import Rows
from lmdb_reid.store._part import Part
from lmdb_reid.store._specs import PartSpec


class PartRows(NamedTuple):
    """Those of some rows that lie in one part."""

    digest: str
    """The part's: with a row of it, the name of a sample wherever the part is used."""
    slots: Rows | None
    """Where they stand among the rows given, ascending; None means all of them."""
    rows: Rows
    """Their rows in the part."""


class Parts:
    """The parts of a store in row order."""

    def __init__(
        self, store: Path, specs: Sequence[PartSpec], is_replaced: Callable[[], bool]
    ) -> None:
        self.store = store
        self._parts = [Part(store, spec, is_replaced) for spec in specs]
        self._first = [spec.first for spec in specs]

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> Part:
        return self._parts[index]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def of(self, row: int) -> Part:
        """The part that holds a row of the store."""
        return self._parts[bisect_right(self._first, row) - 1]

    def of_many(self, rows: Sequence[int]) -> list[tuple[Part, list[int]]]:
        """(part, the places of its rows in `rows`) of every part that holds some."""
        found: dict[int, list[int]] = {}
        for at, row in enumerate(rows):
            found.setdefault(bisect_right(self._first, row) - 1, []).append(at)
        return [(self._parts[index], places) for index, places in sorted(found.items())]

    def split(self, rows: Rows) -> list[PartRows]:
        """`rows` of the store, by the part that holds them."""
        if len(self._parts) == 1:
            return [PartRows(self._parts[0].spec.digest, None, rows)]
        of = np.searchsorted(np.asarray(self._first), rows, side="right") - 1
        found = []
        for index in np.unique(of).tolist():
            slots = np.flatnonzero(of == index)
            spec = self._parts[index].spec
            every = len(slots) == len(rows)
            found.append(PartRows(spec.digest, None if every else slots, rows[slots] - spec.first))
        return found

    def close(self) -> None:
        """Give all environments back."""
        for part in self._parts:
            part.close()
