"""Batch buffers that come back by themselves when nobody holds a tensor of them any more."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import torch

from lmdb_reid._memory import pixel_bytes, pixel_memory, pixels_in
from lmdb_reid.loaders._pinning import can_pin
from lmdb_reid.schema import Pixels


class Ring:
    """Buffers of one shape, reused.

    A buffer is lent as an array whose tensors (see `tensor_of`) keep it alive; when the last of
    them is gone it returns. While all are out, more are made up to `limit`; beyond it ordinary
    memory is handed out, which costs its page faults each time.

    Page-locked buffers are torch's, which keeps them for the next one too, and knows which copies
    to a device still read them: one that was let go is not written before these are done.

    Args:
        shape: of a buffer of bytes, such as [B, H, W, 3].
        limit: most buffers that are kept.
        pin: page-locked memory, for a GPU, where this process can have it.
    """

    def __init__(self, shape: tuple[int, ...], *, limit: int, pin: bool) -> None:
        self._shape = shape
        self.longest = shape[0]
        self._limit = limit
        self._pin = pin and can_pin()
        self._lock = threading.Lock()
        self._free: list[Pixels] = []
        self._lent: list[None] = []  # an entry for each page-locked buffer that is out
        self.made = 0
        """Buffers that belong to the ring; of page-locked ones, as many as were out at once."""
        self.beyond = 0
        """Batches that got ordinary memory, since all of the ring was held."""

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether a buffer has room for this shape, whose first axis may be shorter."""
        return shape[1:] == self._shape[1:] and shape[0] <= self._shape[0]

    def lend(self) -> Pixels:
        """A buffer that is nobody's, uint8; its content is undefined."""
        if self._pin:
            return self._lend_pinned()
        with self._lock:
            if self._free:
                base = self._free.pop()
            elif self.made < self._limit:
                self.made += 1
                base = pixel_memory(self._shape)
            else:
                self.beyond += 1
                return pixel_memory(self._shape)
        # Made from a buffer, not from an array: a view of a view would refer to `base` alone, and
        # nobody would know that it is held.
        lent = np.frombuffer(base.data, np.uint8)
        weakref.finalize(lent, self._free.append, base).atexit = False
        return lent.reshape(self._shape)

    def _lend_pinned(self) -> Pixels:
        with self._lock:
            if len(self._lent) >= self._limit:
                self.beyond += 1
                return pixel_memory(self._shape)
            self._lent.append(None)
            self.made = max(self.made, len(self._lent))
        try:
            memory = _pinned(pixel_bytes(self._shape))
        except BaseException:
            self._lent.pop()
            raise
        # Of the storage: tensors made of this one keep that, and not the tensor.
        weakref.finalize(memory.untyped_storage(), self._lent.pop).atexit = False
        return pixels_in(memory.numpy(), self._shape)


def tensor_of(pixels: Pixels) -> torch.Tensor:
    """uint8, of the same shape, in the same memory, which it keeps alive."""
    owner: object = pixels
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if not isinstance(owner, torch.Tensor):
        return torch.from_numpy(pixels)
    # Of that tensor's storage: for memory that it does not know as its own torch notes no copies.
    start = pixels.ctypes.data - owner.data_ptr()
    return torch.as_strided(owner, pixels.shape, pixels.strides, start)


def _pinned(count: int) -> torch.Tensor:
    return torch.empty(count, dtype=torch.uint8, pin_memory=True)
