"""The ids of a store's samples, by row, and the way back."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import overload

from lmdb_reid.errors import UnknownRowError
from lmdb_reid.store._column_files import ColumnFiles
from lmdb_reid.store._format import ID_COLUMN, ID_OFFSETS_COLUMN


class Ids(Sequence[str]):
    """The sample ids of a store in row order: `ids[row]`, and `find(id)` for the way back."""

    def __init__(self, files: ColumnFiles, count: int) -> None:
        self._files = files
        self._count = count
        self._key: Callable[[int], bytes] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self.key(i).decode() for i in range(*row.indices(self._count))]
        at = operator.index(row)
        if not -self._count <= at < self._count:
            raise UnknownRowError(f"row {at} of a store of {self._count} samples", rows=[at])
        return self.key(at % self._count).decode()

    def __contains__(self, sample_id: object) -> bool:
        return (
            isinstance(sample_id, str)
            and self.find(sample_id.encode("utf-8", "surrogatepass")) >= 0
        )

    def key(self, row: int) -> bytes:
        """The utf-8 bytes of a row's id. `row` must be in 0..len-1."""
        return (self._key or self._open())(row)

    def maps(self) -> tuple[memoryview, memoryview]:
        """(text, ends), for those who look up many: the key of a row is
        text[ends[row] : ends[row + 1]].
        """
        # memoryviews of the two maps: several times faster to index than numpy arrays
        return self._files.column(ID_COLUMN).data, self._files.column(ID_OFFSETS_COLUMN).data

    def find(self, key: bytes) -> int:
        """The row of an id's utf-8 bytes, or -1: a binary search, some microseconds among ten
        million.
        """
        low = self.place(key)
        return low if low < self._count and self.key(low) == key else -1

    def place(self, key: bytes) -> int:
        """The row that an id's utf-8 bytes have, or would have."""
        get = self._key or self._open()
        low, high = 0, self._count
        while low < high:
            middle = (low + high) >> 1
            if get(middle) < key:
                low = middle + 1
            else:
                high = middle
        return low

    def _open(self) -> Callable[[int], bytes]:
        text, at = self.maps()

        def key(row: int) -> bytes:
            return bytes(text[at[row] : at[row + 1]])

        self._key = key
        return key
