"""A block of reading: one transaction for the JPEGs and records of many rows."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import lmdb
import numpy as np

from lmdb_reid import codec
from lmdb_reid.errors import (
    CorruptSampleError,
    ImageError,
    StoreClosedError,
    StoreDamagedError,
    UnknownRowError,
    UsageError,
)
from lmdb_reid.schema import Rows
from lmdb_reid.store import _handles
from lmdb_reid.store._column_files import AGAIN
from lmdb_reid.store._pages import Tree
from lmdb_reid.store._part import Part
from lmdb_reid.store._parts import Parts
from lmdb_reid.store._released import are_released


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


class _Door:
    """The way into one part: its environment, a transaction, and what that calls `get`."""

    __slots__ = ("get", "handle", "part", "txn")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.handle = part.lend()
        try:
            self.txn = self.handle.begin()
        except BaseException:
            _handles.unexport(self.handle)
            raise
        self.get: Any = self.txn.get

    def image(self, key: bytes, row: int, compared: bytearray) -> Any:
        """The view of an image, or None; the pages on the way to it are checked unless the row has
        a bit.
        """
        if not compared[row >> 3] >> (row & 7) & 1:
            self.reach(key, row, "image", self.handle.pages.images)
        return self._value(key, self.handle.images)

    def record(self, key: bytes, row: int, reached: bytearray) -> Any:
        """As `image`, of a record; the row gets its bit."""
        if not reached[row >> 3] >> (row & 7) & 1:
            self.reach(key, row, "record", self.handle.pages.records)
            reached[row >> 3] |= 1 << (row & 7)
        return self._value(key, self.handle.records)

    def reach(self, key: bytes, row: int, what: str, tree: Tree) -> None:
        """See that LMDB can look a key up.

        Raises:
            CorruptSampleError, StoreDamagedError, ResourceError: as `Tree.leaf`.
        """
        try:
            tree.leaf(key)
        except CorruptSampleError:
            raise _corrupt(self, row, key, what, "its entry in LMDB's tree differs from") from None

    def _value(self, key: bytes, database: Any) -> Any:
        try:
            return self.get(key, None, database)
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

    def close(self, *, kept: bool = False) -> None:
        self.txn.abort()
        if not kept:
            _handles.unexport(self.handle)


class Reading:
    """What `Store.reading` gives, to be used in a `with` block and by one thread.

    What `jpegs` gives is valid inside the block only: it is released at its end. What was made of
    it and is still held then (a slice, an array) stays readable, at the price that the part's
    file stays open until the process ends. Of a store of many parts, a block keeps open those that
    it has read from, and where too many are open it copies.
    """

    __slots__ = ("_again", "_doors", "_ended", "_only", "_parts", "_tables", "_views")

    def __init__(self, parts: Parts, tables: Tables, *, again: bool) -> None:
        self._parts = parts
        self._tables = tables
        self._again = again
        self._views: list[memoryview] = []
        self._doors: dict[Part, _Door] = {}
        self._only: _Door | None = None  # of a store of one part
        self._ended = True

    def __enter__(self) -> Self:
        if len(self._parts) == 1:
            part = self._parts[0]
            self._only = self._doors[part] = _Door(part)
        self._ended = False
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        views, self._views = self._views, []
        doors, self._doors, self._only = self._doors, {}, None
        kept = not are_released(views)
        for door in doors.values():
            door.close(kept=kept)

    def jpegs(self, rows: Sequence[int] | Rows) -> list[memoryview]:
        """The JPEG of each row (0..len-1), without a copy, in the order of `rows`.

        Its checksum is compared: once in a process for each row, or each time where the block was
        opened with `again`.

        Raises:
            UnknownRowError: no such row.
            CorruptSampleError: the bytes are not those that were sealed.
            StoreDamagedError, StoreChangedError, StoreNotFoundError: a part is not the one that
                was sealed, or its tree is damaged.
            StoreClosedError: the block is over.
        """
        chosen = self._checked(rows)
        if self._only is not None:
            return self._jpegs_of(self._only, chosen)
        found: dict[int, memoryview] = {}
        for part, places in self._parts.of_many(chosen):
            with self._lent(part) as door:
                already = len(self._views)
                jpegs = self._jpegs_of(door, [chosen[at] for at in places])
                if part not in self._doors:  # it is closed again at once
                    jpegs = [memoryview(bytes(jpeg)) for jpeg in jpegs]
                    are_released(self._views[already:])
                    del self._views[already:]
            found.update(zip(places, jpegs, strict=True))
        return [found[at] for at in range(len(chosen))]

    def records(self, rows: Sequence[int] | Rows) -> list[bytes]:
        """The record of each row as stored (a msgpack map), a copy, its checksum compared.

        Raises:
            UnknownRowError, CorruptSampleError, StoreDamagedError, StoreChangedError,
                StoreNotFoundError, StoreClosedError: as `jpegs`.
        """
        chosen = self._checked(rows)
        text, ends = self._tables[:2]
        found: dict[int, bytes] = {}
        for part, places in self._parts.of_many(chosen):
            cut = len(part.prefix)
            with self._lent(part) as door:
                for at in places:
                    row = chosen[at]
                    key = bytes(text[ends[row] + cut : ends[row + 1]])
                    found[at] = self._record(door, row, key)
        return [found[at] for at in range(len(chosen))]

    def pair(self, row: int, sample_id: bytes) -> tuple[bytes, bytes]:
        """(JPEG, record) of one row whose id is known: copies, both checksums compared."""
        if self._only is not None:
            return self._pair_of(self._only, row, sample_id[len(self._only.part.prefix) :])
        self._checked([row])
        part = self._parts.of(row)
        with self._lent(part) as door:
            return self._pair_of(door, row, sample_id[len(part.prefix) :])

    def _pair_of(self, door: _Door, row: int, key: bytes) -> tuple[bytes, bytes]:
        compared = self._tables.compared
        image = door.image(key, row, compared)
        self._compare(door, row, key, image)
        compared[row >> 3] |= 1 << (row & 7)
        return bytes(image), self._record(door, row, key)

    def _jpegs_of(self, door: _Door, rows: Sequence[int]) -> list[memoryview]:
        text, ends, sizes, _, _, _, compared, _ = self._tables
        again, get, images, cut = self._again, door.get, door.handle.images, len(door.part.prefix)
        # In few steps, since each runs once for every sample, with the GIL held.
        if cut:
            keys = [bytes(text[ends[row] + cut : ends[row + 1]]) for row in rows]
        else:
            keys = [bytes(text[ends[row] : ends[row + 1]]) for row in rows]
        if again:
            new: Sequence[int] = range(len(rows))
        else:
            new = [at for at, row in enumerate(rows) if not compared[row >> 3] >> (row & 7) & 1]
        if new:
            tree = door.handle.pages.images
            for at in new:
                door.reach(keys[at], rows[at], "image", tree)
        try:
            found = [get(key, None, images) for key in keys]
        except lmdb.Error:
            door.renew()
            # says which
            found = [door.image(key, row, compared) for key, row in zip(keys, rows, strict=True)]
        try:
            same = list(map(len, found)) == [sizes[row] for row in rows]
        except TypeError:  # one is not there
            same = False
        self._views += found if same else [view for view in found if view is not None]
        for at in new if same else range(len(rows)):
            row = rows[at]
            self._compare(door, row, keys[at], found[at])
            # Threads may lose each other's bits here: then a row is compared once more.
            compared[row >> 3] |= 1 << (row & 7)
        return found

    @contextlib.contextmanager
    def _lent(self, part: Part) -> Iterator[_Door]:
        """The door to a part, kept open until the block ends unless too many are."""
        door = self._doors.get(part)
        if door is not None:
            yield door
            return
        crowded = _handles.crowded()
        door = _Door(part)
        if crowded:
            try:
                yield door
            finally:
                door.close()
        else:
            self._doors[part] = door
            yield door

    def _record(self, door: _Door, row: int, key: bytes) -> bytes:
        data = door.record(key, row, self._tables.reached)
        if data is None:
            raise _missing(door, key, "record")
        if len(data) != self._tables.record_sizes[row]:
            raise _corrupt(door, row, key, "record", "it has another length than")
        record = bytes(data)
        if zlib.crc32(record) != self._tables.record_checksums[row]:
            raise _corrupt(door, row, key, "record", "crc32 differs from")
        return record

    def _compare(self, door: _Door, row: int, key: bytes, data: memoryview | None) -> None:
        """The length first: where LMDB's own is damaged, the view ends beyond the file. Last what
        decoding would cost, which a store from elsewhere may have been made for.
        """
        if data is None:
            raise _missing(door, key, "image")
        if len(data) != self._tables.sizes[row]:
            raise _corrupt(door, row, key, "image", "it has another length than")
        if zlib.crc32(data) != self._tables.checksums[row]:
            raise _corrupt(door, row, key, "image", "crc32 differs from")
        try:
            codec.check_limits(data)
        except ImageError as error:
            sample_id = (door.part.prefix + key).decode()
            raise CorruptSampleError(
                f"{sample_id}: {error}", ids=[sample_id], rows=[row], path=door.part.file
            ) from None

    def _checked(self, rows: Sequence[int] | Rows) -> Sequence[int]:
        if self._ended:
            raise StoreClosedError("this block of reading is over. Read inside the `with` block")
        if isinstance(rows, np.ndarray):
            if rows.size and (rows.dtype.kind not in "iu" or rows.ndim != 1):
                raise UsageError(
                    f"rows must be whole numbers of one dimension, got {rows.dtype}"
                    f" {rows.shape}. For a mask, use np.flatnonzero(mask)"
                )
            chosen: Sequence[int] = rows.tolist()
        else:
            chosen = rows
        count = self._tables.rows
        if chosen and not 0 <= min(chosen) <= max(chosen) < count:
            bad = min(chosen) if min(chosen) < 0 else max(chosen)
            raise UnknownRowError(
                f"no row {bad}: rows of a store of {count} samples are 0 to {count - 1}",
                rows=[bad],
                path=self._parts.store,
            )
        return chosen


def _corrupt(door: _Door, row: int, key: bytes, what: str, why: str) -> CorruptSampleError:
    sample_id = (door.part.prefix + key).decode()
    return CorruptSampleError(
        f"{sample_id}: its {what} is damaged ({why} the sealed one) in {door.part.file};"
        " lmdb-reid verify --deep lists all that are",
        ids=[sample_id],
        rows=[row],
        path=door.part.file,
    )


def _missing(door: _Door, key: bytes, what: str) -> StoreDamagedError:
    file = door.part.file
    return StoreDamagedError(f"{file}: {key.decode()!r} has no {what}{AGAIN}", path=file)
