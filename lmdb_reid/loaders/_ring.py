"""Batch buffers that come back by themselves when nobody holds a tensor of them any more."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import torch

from lmdb_reid._memory import pixel_bytes, pixel_memory, pixels_in
from lmdb_reid.schema import Pixels


class Ring:
    """Buffers of one shape, reused.

    A buffer is lent as an array whose tensors keep it alive; when the last of them is gone it
    returns. While all are out, more are made up to `limit`; beyond it ordinary memory is handed
    out, which costs its page faults each time.

    Args:
        shape: of a buffer of bytes, such as [B, H, W, 3].
        limit: most buffers that are kept.
        pin: page-locked memory, for a GPU.
    """

    def __init__(self, shape: tuple[int, ...], *, limit: int, pin: bool) -> None:
        self._shape = shape
        self.longest = shape[0]
        self._limit = limit
        self._pin = pin
        self._lock = threading.Lock()
        self._free: list[Pixels] = []
        self.made = 0
        """Buffers that belong to the ring."""
        self.beyond = 0
        """Batches that got ordinary memory, since all of the ring was held."""

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether a buffer has room for this shape, whose first axis may be shorter."""
        return shape[1:] == self._shape[1:] and shape[0] <= self._shape[0]

    def lend(self) -> Pixels:
        """A buffer that is nobody's, uint8; its content is undefined."""
        with self._lock:
            if self._free:
                base = self._free.pop()
            elif self.made < self._limit:
                self.made += 1
                base = self._new()
            else:
                self.beyond += 1
                return pixel_memory(self._shape)
        # Made from a buffer, not from an array: a view of a view would refer to `base` alone, and
        # nobody would know that it is held.
        lent = np.frombuffer(base.data, np.uint8)
        weakref.finalize(lent, self._free.append, base).atexit = False
        return lent.reshape(self._shape)

    def _new(self) -> Pixels:
        if self._pin:
            pinned = torch.empty(pixel_bytes(self._shape), dtype=torch.uint8, pin_memory=True)
            return pixels_in(pinned.numpy(), self._shape)
        return pixel_memory(self._shape)
