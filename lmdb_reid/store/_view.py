"""Zero-copy views of stored images that no user can crash the process with."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Self

import numpy as np

from lmdb_reid.errors import (
    StoreClosedError,
    UnknownSampleError,
    UsageError,
)
from lmdb_reid.schema import MAX_ID_BYTES
from lmdb_reid.store import _handles
from lmdb_reid.store._door import Door, Tables
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._part import Part
from lmdb_reid.store._parts import Parts

_outstanding: set[View] = set()  # blocks that ended, of which something is still held


class View:
    """What `Store.view` gives: JPEG bytes by id, without a copy.

    Between LMDB's map and each memoryview stands an array that can be watched: whatever a user
    derives from the view (slices, arrays, tensors) keeps that array alive, and the environment is
    not closed before the last one is gone.
    """

    def __init__(self, parts: Parts, ids: Ids, tables: Tables) -> None:
        self._parts = parts
        self._ids = ids
        self._tables = tables
        self._doors: dict[Part, Door] = {}
        # by id(), since a weak reference hashes as what it refers to, and arrays have no hash
        self._out: dict[int, tuple[weakref.ref[Any], weakref.ref[memoryview]]] = {}
        self._kept: dict[int, tuple[weakref.ref[memoryview], Any]] = {}
        self._ended = False

    def __enter__(self) -> Self:
        if len(self._parts) == 1:
            self._door(self._parts[0])
        return self

    def __exit__(self, *_: object) -> None:
        for door in self._doors.values():
            door.close(kept=True)
        self._end()

    def __getitem__(self, sample_id: str) -> memoryview:
        """The stored JPEG, read-only, its checksum not compared.

        Raises:
            UnknownSampleError: no sample of this id.
            CorruptSampleError: it has another length than the sealed one.
            StoreDamagedError: the store's tree or a part of it is damaged.
            StoreClosedError: the block is over.
        """
        key = _key(sample_id)
        row = self._row(key)
        if row < 0:
            raise UnknownSampleError(f"no sample {sample_id!r}", ids=[sample_id])
        part = self._parts.of(row)
        if part not in self._doors and len(self._parts) > 1 and _handles.crowded():
            return self._copied(part, row, key)
        return self._watched(_image(self._door(part), row, key))

    def _copied(self, part: Part, row: int, key: bytes) -> memoryview:
        """As `__getitem__`, of a part that is closed again at once: too many are open."""
        door = Door(part, self._tables)
        try:
            return memoryview(bytes(_image(door, row, key)))
        finally:
            door.close()

    def __contains__(self, sample_id: object) -> bool:
        try:
            return isinstance(sample_id, str) and self._row(_key(sample_id)) >= 0
        except UnknownSampleError:
            return False

    def _row(self, key: bytes) -> int:
        if self._ended:
            raise StoreClosedError("a view must be used inside its `with` block, which has ended")
        return self._ids.find(key)

    def _door(self, part: Part) -> Door:
        if part not in self._doors:
            self._doors[part] = Door(part, self._tables)
        return self._doors[part]

    def _watched(self, data: memoryview) -> memoryview:
        watched = np.frombuffer(data, np.uint8)
        view = watched.data
        watch = weakref.ref(watched, self._gone)
        self._out[id(watch)] = watch, weakref.ref(view)
        return view

    def _end(self) -> None:
        """The block is over: views are released, unless something was made of them."""
        self._ended = True
        _outstanding.add(self)
        for watch, reference in list(self._out.values()):
            view, watched = reference(), watch()
            if view is not None:
                with contextlib.suppress(BufferError):  # an array was made of it: it lives on
                    view.release()
                    # torch.frombuffer keeps the memoryview itself and reads on: so does the map
                    kept = weakref.ref(view, self._let_go)
                    self._kept[id(kept)] = kept, watched
            del view, watched  # or the loop's names would keep the last one alive
        self._settle()

    def _gone(self, watch: weakref.ref[Any]) -> None:
        self._out.pop(id(watch), None)
        self._settle()

    def _let_go(self, kept: weakref.ref[memoryview]) -> None:
        self._kept.pop(id(kept), None)

    def _settle(self) -> None:
        if self._ended and not self._out and self in _outstanding:
            _outstanding.discard(self)
            doors, self._doors = self._doors, {}
            for door in doors.values():
                _handles.unexport(door.handle)


def _image(door: Door, row: int, key: bytes) -> memoryview:
    stored = key[len(door.part.prefix) :]
    return door.check_length(stored, row, door.image(stored, row))


def _key(sample_id: str) -> bytes:
    if not isinstance(sample_id, str):
        raise UsageError(f"a sample's id must be a str, got {sample_id!r}")
    key = sample_id.encode("utf-8", "surrogatepass")
    if not 1 <= len(key) <= MAX_ID_BYTES:
        raise UnknownSampleError(
            f"no sample {sample_id[:80]!r}: ids have 1 to {MAX_ID_BYTES} bytes"
        )
    return key
