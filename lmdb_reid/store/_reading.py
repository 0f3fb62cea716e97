"""A block of reading: one transaction for the JPEGs and records of many rows."""

from __future__ import annotations

import gc
import sys
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import lmdb
import numpy as np

from lmdb_reid.errors import (
    CorruptSampleError,
    StoreClosedError,
    StoreDamagedError,
    UnknownRowError,
    UsageError,
)
from lmdb_reid.schema import Rows
from lmdb_reid.store import _format, _handles
from lmdb_reid.store._part import Part


class Tables(NamedTuple):
    """What a block of reading looks rows up in, mapped once for each store."""

    text: memoryview
    """The ids, end to end."""
    ends: memoryview
    """The key of a row is text[ends[row] : ends[row + 1]]."""
    checksums: memoryview
    """Of each row's image."""
    record_checksums: memoryview
    compared: bytearray
    """A bit for each row whose image this process has compared."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.checksums)


class Reading:
    """What `Store.reading` gives, to be used in a `with` block and by one thread.

    What `jpegs` gives is valid inside the block only: it is released at its end. What was made of
    it and is still held then (a slice, an array) stays readable, at the price that the store's
    file stays open until the process ends.
    """

    __slots__ = ("_again", "_get", "_handle", "_part", "_tables", "_txn", "_views")

    def __init__(self, part: Part, tables: Tables, *, again: bool) -> None:
        self._part = part
        self._tables = tables
        self._again = again
        self._views: list[memoryview] = []
        self._get: Any = _over
        self._handle: _handles.Handle | None = None
        self._txn: Any = None

    def __enter__(self) -> Self:
        handle = self._handle = self._part.lend()
        try:
            self._txn = handle.begin()
        except BaseException:
            _handles.unexport(handle)
            raise
        self._get = self._txn.get
        return self

    def __exit__(self, *_: object) -> None:
        self._get = _over
        self._txn.abort()
        views, self._views = self._views, []
        if _are_released(views) and self._handle is not None:
            _handles.unexport(self._handle)

    def jpegs(self, rows: Sequence[int] | Rows) -> list[memoryview]:
        """The JPEG of each row (0..len-1), without a copy, in the order of `rows`.

        Its checksum is compared: once in a process for each row, or each time where the block was
        opened with `again`.

        Raises:
            UnknownRowError: no such row.
            CorruptSampleError: the bytes are not those that were sealed.
            StoreDamagedError: LMDB's tree is damaged.
            StoreClosedError: the block is over.
        """
        chosen = self._checked(rows)
        text, ends, checksums, _, compared = self._tables
        again, get, images = self._again, self._get, self._images
        # In few steps, since each runs once for every sample, with the GIL held.
        keys = [bytes(text[ends[row] : ends[row + 1]]) for row in chosen]
        try:
            found = [get(key, None, images) for key in keys]
        except lmdb.Error:
            found = [self._value(key, images) for key in keys]  # says which
        self._views += found
        for at, row in enumerate(chosen):
            if again or found[at] is None or not compared[row >> 3] >> (row & 7) & 1:
                self._compare(row, keys[at], found[at], checksums[row])
                # Threads may lose each other's bits here: then a row is compared once more.
                compared[row >> 3] |= 1 << (row & 7)
        return found

    def records(self, rows: Sequence[int] | Rows) -> list[bytes]:
        """The record of each row as stored (a msgpack map), a copy, its checksum compared.

        Raises:
            UnknownRowError, CorruptSampleError, StoreDamagedError, StoreClosedError: as `jpegs`.
        """
        text, ends = self._tables[:2]
        return [
            self._record(row, bytes(text[ends[row] : ends[row + 1]])) for row in self._checked(rows)
        ]

    def pair(self, row: int, key: bytes) -> tuple[bytes, bytes]:
        """(JPEG, record) of one row whose key is known: copies, both checksums compared."""
        image = self._value(key, self._images)
        self._compare(row, key, image, self._tables.checksums[row])
        return bytes(image), self._record(row, key)

    @property
    def _images(self) -> Any:
        return self._handle.images if self._handle is not None else None

    def _record(self, row: int, key: bytes) -> bytes:
        handle = self._handle
        data = self._value(key, handle.records if handle is not None else None)
        if data is None:
            raise StoreDamagedError(f"{self._part.path}: {key.decode()!r} has no record")
        record = bytes(data)
        _format.check_record(key, record, self._tables.record_checksums[row])
        return record

    def _compare(self, row: int, key: bytes, data: memoryview | None, checksum: int) -> None:
        if data is None:
            raise StoreDamagedError(f"{self._part.path}: {key.decode()!r} has no image")
        if zlib.crc32(data) != checksum:
            raise CorruptSampleError(
                f"{key.decode()}: its image in {self._part.path} is damaged (crc32 differs from"
                " the sealed one); lmdb-reid verify --deep lists all that are",
                ids=[key.decode()],
                rows=[row],
                path=self._part.path,
            )

    def _value(self, key: bytes, database: Any) -> Any:
        try:
            return self._get(key, None, database)
        except lmdb.Error as error:
            raise StoreDamagedError(f"LMDB cannot read {key.decode()!r}: {error}") from None

    def _checked(self, rows: Sequence[int] | Rows) -> Sequence[int]:
        if isinstance(rows, np.ndarray):
            if rows.size and (rows.dtype.kind not in "iu" or rows.ndim != 1):
                raise UsageError(
                    f"rows must be whole numbers of one dimension, got {rows.dtype} {rows.shape}."
                    " Of a mask, give np.flatnonzero(mask)"
                )
            chosen: Sequence[int] = rows.tolist()
        else:
            chosen = rows
        count = self._tables.rows
        if chosen and not 0 <= min(chosen) <= max(chosen) < count:
            bad = min(chosen) if min(chosen) < 0 else max(chosen)
            raise UnknownRowError(
                f"row {bad} of a store of {count} samples", rows=[bad], path=self._part.path
            )
        return chosen


def _over(*_: object) -> Any:
    raise StoreClosedError("this block of reading is over: read within `with`")


def _buffers(views: list[memoryview]) -> list[int]:
    """How often what lies under each view is referred to: its slices count, its arrays do not."""
    return [sys.getrefcount(under) for under in gc.get_referents(*views)]


_ALONE = max(_buffers([memoryview(b"")]), default=0)
"""What `_buffers` says of a view that nothing was made of; gc's referents are CPython's."""


def _are_released(views: list[memoryview]) -> bool:
    """Release views of LMDB's map; False if something that was made of one can still be read.

    Reading it after the map is gone would end the process. A watched array under each view, as
    `View` has it, costs 2 of the 150 us that a crop takes to decode; this costs 0.1.
    """
    views = [view for view in views if view is not None]
    if not views:
        return True
    counts = _buffers(views)
    released = len(counts) == len(views) and max(counts) <= _ALONE
    for view in views:
        try:
            view.release()
        except BufferError:  # an array was made of it
            released = False
    return released
