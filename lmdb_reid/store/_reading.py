"""A block of reading: one transaction for the JPEGs and records of many rows."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Self

import lmdb
import numpy as np

from lmdb_reid import codec
from lmdb_reid.errors import (
    CorruptSampleError,
    ImageError,
    StoreClosedError,
    UnknownRowError,
    UsageError,
)
from lmdb_reid.schema import Rows
from lmdb_reid.store import _handles
from lmdb_reid.store._door import Door, Tables
from lmdb_reid.store._part import Part
from lmdb_reid.store._parts import Parts
from lmdb_reid.store._released import are_released


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
        self._doors: dict[Part, Door] = {}
        self._only: Door | None = None  # of a store of one part
        self._ended = True

    def __enter__(self) -> Self:
        if len(self._parts) == 1:
            part = self._parts[0]
            self._only = self._doors[part] = Door(part, self._tables)
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

    def _pair_of(self, door: Door, row: int, key: bytes) -> tuple[bytes, bytes]:
        image = self._compare(door, row, key, door.image(key, row))
        self._tables.compared[row >> 3] |= 1 << (row & 7)
        return bytes(image), self._record(door, row, key)

    def _jpegs_of(self, door: Door, rows: Sequence[int]) -> list[memoryview]:
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
            found = [door.image(key, row) for key, row in zip(keys, rows, strict=True)]
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
    def _lent(self, part: Part) -> Iterator[Door]:
        """The door to a part, kept open until the block ends unless too many are."""
        door = self._doors.get(part)
        if door is not None:
            yield door
            return
        crowded = _handles.crowded()
        door = Door(part, self._tables)
        if crowded:
            try:
                yield door
            finally:
                door.close()
        else:
            self._doors[part] = door
            yield door

    def _record(self, door: Door, row: int, key: bytes) -> bytes:
        data = door.record(key, row)
        if data is None:
            raise door.missing(key, "record")
        if len(data) != self._tables.record_sizes[row]:
            raise door.corrupt(key, row, "record", "it has another length than")
        record = bytes(data)
        if zlib.crc32(record) != self._tables.record_checksums[row]:
            raise door.corrupt(key, row, "record", "crc32 differs from")
        return record

    def _compare(self, door: Door, row: int, key: bytes, data: memoryview | None) -> memoryview:
        """The length first: where LMDB's own is damaged, the view ends beyond the file. Last what
        decoding would cost, which a store from elsewhere may have been made for.
        """
        data = door.check_length(key, row, data)
        if zlib.crc32(data) != self._tables.checksums[row]:
            raise door.corrupt(key, row, "image", "crc32 differs from")
        try:
            codec.check_limits(data)
        except ImageError as error:
            sample_id = (door.part.prefix + key).decode()
            raise CorruptSampleError(
                f"{sample_id}: {error}", ids=[sample_id], rows=[row], path=door.part.file
            ) from None
        return data

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
