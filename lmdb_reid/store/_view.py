"""Zero-copy views of stored images that no user can crash the process with."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Self

import lmdb
import numpy as np

from lmdb_reid.errors import (
    CorruptSampleError,
    StoreClosedError,
    StoreDamagedError,
    UnknownSampleError,
    UsageError,
)
from lmdb_reid.schema import MAX_ID_BYTES
from lmdb_reid.store import _handles
from lmdb_reid.store._column_files import AGAIN
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._part import Part
from lmdb_reid.store._parts import Parts
from lmdb_reid.store._reading import Tables

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
        self._sizes, self._compared = tables.sizes, tables.compared
        self._doors: dict[Part, tuple[_handles.Handle, Any]] = {}
        # by id(), since a weak reference hashes as what it refers to, and arrays have no hash
        self._out: dict[int, tuple[weakref.ref[Any], weakref.ref[memoryview]]] = {}
        self._kept: dict[int, tuple[weakref.ref[memoryview], Any]] = {}
        self._ended = False

    def __enter__(self) -> Self:
        if len(self._parts) == 1:
            self._door(self._parts[0])
        return self

    def __exit__(self, *_: object) -> None:
        for _handle, transaction in self._doors.values():
            transaction.abort()
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
        handle, txn = self._door(part)
        try:
            return self._watched(self._image(handle, txn, part, row, key))
        except StoreDamagedError:  # after an error LMDB's transaction reads nothing more
            txn.abort()
            self._doors[part] = handle, handle.begin()
            raise

    def _copied(self, part: Part, row: int, key: bytes) -> memoryview:
        """As `__getitem__`, of a part that is closed again at once: too many are open."""
        handle = part.lend()
        try:
            with handle.begin() as txn:
                return memoryview(bytes(self._image(handle, txn, part, row, key)))
        finally:
            _handles.unexport(handle)

    def _image(
        self, handle: _handles.Handle, txn: Any, part: Part, row: int, key: bytes
    ) -> memoryview:
        sample_id, stored = key.decode(), key[len(part.prefix) :]
        try:
            if not self._compared[row >> 3] >> (row & 7) & 1:
                handle.pages.images.leaf(stored)
            data: memoryview | None = txn.get(stored, db=handle.images)
        except lmdb.Error as error:
            raise StoreDamagedError(
                f"LMDB cannot read {sample_id!r} of {part.file}: {error}{AGAIN}", path=part.file
            ) from None
        except CorruptSampleError:
            raise _corrupt(sample_id, row, part, "its entry in LMDB's tree differs from") from None
        if data is None:
            raise StoreDamagedError(
                f"{part.file}: {sample_id!r} has no image{AGAIN}", path=part.file
            )
        if len(data) != self._sizes[row]:
            raise _corrupt(sample_id, row, part, "it has another length than")
        return data

    def __contains__(self, sample_id: object) -> bool:
        try:
            return isinstance(sample_id, str) and self._row(_key(sample_id)) >= 0
        except UnknownSampleError:
            return False

    def _row(self, key: bytes) -> int:
        if self._ended:
            raise StoreClosedError("a view must be used inside its `with` block, which has ended")
        return self._ids.find(key)

    def _door(self, part: Part) -> tuple[_handles.Handle, Any]:
        if part not in self._doors:
            handle = part.lend()
            try:
                self._doors[part] = handle, handle.begin()
            except BaseException:
                _handles.unexport(handle)
                raise
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
            for handle, _txn in doors.values():
                _handles.unexport(handle)


def _corrupt(sample_id: str, row: int, part: Part, why: str) -> CorruptSampleError:
    return CorruptSampleError(
        f"{sample_id}: its image in {part.file} is damaged ({why} the sealed one)",
        ids=[sample_id],
        rows=[row],
        path=part.file,
    )


def _key(sample_id: str) -> bytes:
    if not isinstance(sample_id, str):
        raise UsageError(f"a sample's id must be a str, got {sample_id!r}")
    key = sample_id.encode("utf-8", "surrogatepass")
    if not 1 <= len(key) <= MAX_ID_BYTES:
        raise UnknownSampleError(
            f"no sample {sample_id[:80]!r}: ids have 1 to {MAX_ID_BYTES} bytes"
        )
    return key
