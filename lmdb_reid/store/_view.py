"""Zero-copy views of stored images that no user can crash the process with."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Self

import lmdb
import numpy as np

from lmdb_reid.errors import StoreClosedError, StoreDamagedError, UnknownSampleError, UsageError
from lmdb_reid.schema import MAX_ID_BYTES
from lmdb_reid.store import _handles
from lmdb_reid.store._part import Part

_outstanding: set[View] = set()  # blocks that ended, of which something is still held


class View:
    """What `Store.view` gives: JPEG bytes by id, without a copy.

    Between LMDB's map and each memoryview stands an array that can be watched: whatever a user
    derives from the view (slices, arrays, tensors) keeps that array alive, and the environment is
    not closed before the last one is gone.
    """

    def __init__(self, part: Part) -> None:
        self._handle = part.lend()
        # by id(), since a weak reference hashes as what it refers to, and arrays have no hash
        self._out: dict[int, tuple[weakref.ref[Any], weakref.ref[memoryview]]] = {}
        self._kept: dict[int, tuple[weakref.ref[memoryview], Any]] = {}
        self._ended = False
        try:
            self._txn = self._handle.begin()
        except BaseException:
            _handles.unexport(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._txn.abort()

    def __getitem__(self, sample_id: str) -> memoryview:
        """The stored JPEG, read-only, its checksum not compared.

        Raises:
            UnknownSampleError: no sample of this id.
            StoreClosedError: the block is over.
        """
        data = self._of_key(_key(sample_id))
        if data is None:
            raise UnknownSampleError(f"no sample {sample_id!r}", ids=[sample_id])
        return data

    def __contains__(self, sample_id: object) -> bool:
        try:
            return isinstance(sample_id, str) and self._of_key(_key(sample_id)) is not None
        except UnknownSampleError:
            return False

    def _of_key(self, key: bytes) -> memoryview | None:
        """The image under a key, or None."""
        data = self._get(key, self._handle.images)
        if data is None:
            return None
        watched = np.frombuffer(data, np.uint8)
        view = watched.data
        watch = weakref.ref(watched, self._gone)
        self._out[id(watch)] = watch, weakref.ref(view)
        return view

    def _get(self, key: bytes, database: Any) -> memoryview | None:
        try:
            data: memoryview | None = self._txn.get(key, db=database)
        except lmdb.Error as error:
            if self._ended:
                raise StoreClosedError("this view's block is over: take it within `with`") from None
            raise StoreDamagedError(f"LMDB cannot read {key.decode()!r}: {error}") from None
        return data

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
            _handles.unexport(self._handle)


def _key(sample_id: str) -> bytes:
    if not isinstance(sample_id, str):
        raise UsageError(f"samples are known by id (str), not {sample_id!r}")
    key = sample_id.encode("utf-8", "surrogatepass")
    if not 1 <= len(key) <= MAX_ID_BYTES:
        raise UnknownSampleError(
            f"no sample {sample_id[:80]!r}: ids have 1 to {MAX_ID_BYTES} bytes"
        )
    return key
