"""The way into a data file: looking keys up, once the pages on the way to them are checked."""

from __future__ import annotations

from typing import Any, NamedTuple

import lmdb

from lmdb_reid.errors import CorruptSampleError, StoreDamagedError
from lmdb_reid.store import _handles
from lmdb_reid.store._column_files import AGAIN
from lmdb_reid.store._pages import Tree
from lmdb_reid.store._part import Part


class Tables(NamedTuple):
    """What a block of reading looks rows up in, mapped once for each store."""

    text: memoryview
    """The ids, end to end."""
    ends: memoryview
    """The id of a row is text[ends[row] : ends[row + 1]]."""
    sizes: memoryview
    """Bytes of each row's image."""
    checksums: memoryview
    """Of each row's image."""
    record_sizes: memoryview
    record_checksums: memoryview
    compared: bytearray
    """A bit for each row whose image this process has compared."""
    reached: bytearray
    """A bit for each row on the way to whose record all pages are sound."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.checksums)


class Door:
    """The way into one part: its environment, a transaction, and what that calls `get`."""

    __slots__ = ("_tables", "get", "handle", "part", "txn")

    def __init__(self, part: Part, tables: Tables) -> None:
        self._tables = tables
        self.part = part
        self.handle = part.lend()
        try:
            self.txn = self.handle.begin()
        except BaseException:
            _handles.unexport(self.handle)
            raise
        self.get: Any = self.txn.get

    def image(self, key: bytes, row: int) -> memoryview | None:
        """The view of an image, if it is there, of whatever length. The pages on the way to it are
        checked, unless the image was compared already.

        Raises:
            CorruptSampleError, StoreDamagedError, ResourceError: LMDB cannot look it up.
        """
        if not self._tables.compared[row >> 3] >> (row & 7) & 1:
            self.reach(key, row, "image", self.handle.pages.images)
        return self._value(key, self.handle.images)

    def record(self, key: bytes, row: int) -> memoryview | None:
        """As `image`, of a record; its pages are checked once."""
        reached = self._tables.reached
        if not reached[row >> 3] >> (row & 7) & 1:
            self.reach(key, row, "record", self.handle.pages.records)
            reached[row >> 3] |= 1 << (row & 7)
        return self._value(key, self.handle.records)

    def check_length(self, key: bytes, row: int, data: memoryview | None) -> memoryview:
        """An image, which has to be there and as long as the sealed one.

        Raises:
            StoreDamagedError: it is not there.
            CorruptSampleError: it has another length.
        """
        if data is None:
            raise self.missing(key, "image")
        if len(data) != self._tables.sizes[row]:
            raise self.corrupt(key, row, "image", "it has another length than")
        return data

    def reach(self, key: bytes, row: int, what: str, tree: Tree) -> None:
        """See that LMDB can look a key up.

        Raises:
            CorruptSampleError, StoreDamagedError, ResourceError: as `Tree.leaf`.
        """
        try:
            tree.leaf(key)
        except CorruptSampleError:
            raise self.corrupt(key, row, what, "its entry in LMDB's tree differs from") from None

    def _value(self, key: bytes, database: Any) -> memoryview | None:
        try:
            found: memoryview | None = self.get(key, None, database)
            return found
        except lmdb.Error as error:
            self.renew()
            raise StoreDamagedError(
                f"LMDB cannot read {key.decode()!r} of {self.part.file}: {error}{AGAIN}",
                path=self.part.file,
            ) from None

    def renew(self) -> None:
        """After an error LMDB's transaction reads nothing more. What it gave stays readable."""
        self.txn.abort()
        self.txn = self.handle.begin()
        self.get = self.txn.get

    def corrupt(self, key: bytes, row: int, what: str, why: str) -> CorruptSampleError:
        """The error for a sample whose image or record differs from the sealed one."""
        sample_id = (self.part.prefix + key).decode()
        return CorruptSampleError(
            f"{sample_id}: its {what} is damaged ({why} the sealed one) in {self.part.file};"
            " lmdb-reid verify --deep lists all that are",
            ids=[sample_id],
            rows=[row],
            path=self.part.file,
        )

    def missing(self, key: bytes, what: str) -> StoreDamagedError:
        """The error for a sample without an image or record."""
        file = self.part.file
        return StoreDamagedError(f"{file}: {key.decode()!r} has no {what}{AGAIN}", path=file)

    def close(self, *, kept: bool = False) -> None:
        """End the transaction, and give the environment back unless what it gave is kept."""
        self.txn.abort()
        if not kept:
            _handles.unexport(self.handle)
