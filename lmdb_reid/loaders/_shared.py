"""Memory that a loader's processes share, without a name that could be left behind."""

from __future__ import annotations

import mmap
import os
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from lmdb_reid._memory import PIXELS_AT
from lmdb_reid.errors import ResourceError
from lmdb_reid.machine import free_memory, size_in_words

_PAGE = mmap.PAGESIZE


class SharedBuffer:
    """Anonymous shared memory, cut into slots of one size. Pickles to a worker as its
    descriptor.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slot_bytes = slot_bytes
        self._stride = -(-(slot_bytes + PIXELS_AT) // _PAGE) * _PAGE
        self._size = slots * self._stride
        self._descriptor = os.memfd_create("lmdb_reid", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, self._size)
        self._map()

    def slot(self, number: int, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The first `count` bytes of a slot; the array that everything made of it keeps alive."""
        start = number * self._stride + PIXELS_AT
        return np.frombuffer(self._memory, np.uint8, count, start)

    def __getstate__(self) -> tuple[int, int, int, Any]:
        return self.slot_bytes, self._stride, self._size, DupFd(self._descriptor)

    def __setstate__(self, state: tuple[int, int, int, Any]) -> None:
        self.slot_bytes, self._stride, self._size, descriptor = state
        self._descriptor = descriptor.detach()
        self._map()

    def __del__(self) -> None:
        os.close(self._descriptor)  # the map stays for as long as an array of it does

    def _map(self) -> None:
        self._memory = mmap.mmap(self._descriptor, self._size)


def check_memory(needed: int) -> None:
    """Refuse a ring for which there is no memory, before anything is started."""
    available = free_memory()
    if available is not None and needed > available:
        raise ResourceError(
            f"engine='processes' needs {size_in_words(needed)} for its batches, and"
            f" {size_in_words(available)} are free: lower batch_size, num_workers or prefetch"
        )
