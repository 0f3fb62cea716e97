"""The ids of a store's samples, by row, and the way back."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import overload

from lmdb_reid.errors import UnknownRowError, UsageError
from lmdb_reid.store._column_files import ColumnFiles
from lmdb_reid.store._format import ID_COLUMN, ID_OFFSETS_COLUMN
from lmdb_reid.store._specs import PartSpec

_SHOWN = 3  # ids in a repr
_NEAR = 200  # ids that are compared with one that does not exist


class Ids(Sequence[str]):
    """The sample ids of a store in row order: `ids[row]`, and `find(id)` for the way back.

    Parts that have one name, or none, ascend together; those of different names follow each other
    in any order.
    """

    def __init__(self, files: ColumnFiles, parts: Sequence[PartSpec]) -> None:
        self._files = files
        self._count = sum(part.count for part in parts)
        self._named: dict[bytes, tuple[int, int]] = {}  # first row of each name, and one past
        for part in parts:
            if part.name:
                first, _ = self._named.get(part.name.encode(), (part.first, 0))
                self._named[part.name.encode()] = first, part.first + part.count
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
        return self.key(self.checked(row)).decode()

    def checked(self, row: int) -> int:
        """A row in 0..len-1 of one that may count from the end.

        Raises:
            UsageError: it is no whole number.
            UnknownRowError: no such row.
        """
        try:
            at = operator.index(row)
        except TypeError:
            raise UsageError(f"a row must be a whole number, got {row!r}") from None
        if not -self._count <= at < self._count:
            raise UnknownRowError(
                f"no row {at}: rows of a store of {self._count} samples are 0 to {self._count - 1}",
                rows=[at],
                path=self._files.path,
            )
        return at % self._count

    def __contains__(self, sample_id: object) -> bool:
        return (
            isinstance(sample_id, str)
            and self.find(sample_id.encode("utf-8", "surrogatepass")) >= 0
        )

    def __repr__(self) -> str:
        shown = [repr(sample_id) for sample_id in self[:_SHOWN]]
        more = ["..."] if self._count > _SHOWN else []
        return f"Ids({self._count:,}: {', '.join(shown + more)})"

    def near(self, sample_id: str) -> list[str]:
        """Existing ids that one that does not exist may stand for: those of its frame, else those
        beside it in key order; some hundred at most.
        """
        frame, mark, _ = sample_id.rpartition("#")
        if mark:
            first = self.place(f"{frame}#".encode("utf-8", "surrogatepass"))
            found = [one for one in self[first : first + _NEAR] if one.startswith(f"{frame}#")]
            if found:
                return found
        at = self.place(sample_id.encode("utf-8", "surrogatepass"))
        return self[max(0, at - _NEAR // 2) : at + _NEAR // 2]

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
        low, high = self._range(key) if self._named else (0, self._count)
        while low < high:
            middle = (low + high) >> 1
            if get(middle) < key:
                low = middle + 1
            else:
                high = middle
        return low

    def _range(self, key: bytes) -> tuple[int, int]:
        """The rows of the parts whose name an id begins with."""
        end = key.find(b"/")
        while end > 0:
            if (rows := self._named.get(key[:end])) is not None:
                return rows
            end = key.find(b"/", end + 1)
        return 0, 0

    def _open(self) -> Callable[[int], bytes]:
        text, at = self.maps()

        def key(row: int) -> bytes:
            return bytes(text[at[row] : at[row + 1]])

        self._key = key
        return key
