"""Memory for pixels: fast to decode and to copy into."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import ResourceError

_PAGE = 4096
PIXELS_AT = 528
"""Where in a page pixels begin, in bytes. Not at a multiple of 32: libjpeg-turbo writes lines that
begin there past the caches, which made decoding 7 % slower. Not 16 bytes into the page, as NumPy's
own large arrays begin: copying whole pages of a mapped file there (`rep movsb` on AMD processors)
ran at a quarter of the speed, 49,000 crops/s of 98 kB instead of 198,000.
"""


def pixel_memory(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """An uninitialised uint8 array that is fast to decode and to copy into.

    Raises:
        ResourceError: the machine has not so much memory.
    """
    try:
        memory = np.empty(pixel_bytes(shape), np.uint8)
    except MemoryError:
        raise ResourceError(
            f"no memory for pixels of {list(shape)}, {pixel_bytes(shape):,} bytes. Choose smaller"
            " batches, or a smaller size"
        ) from None
    return pixels_in(memory, shape)


def pixel_bytes(shape: tuple[int, ...]) -> int:
    """How much memory `pixels_in` needs."""
    return math.prod(shape) + _PAGE + PIXELS_AT


def pixels_in(memory: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Such an array in flat memory that is there already."""
    start = -memory.ctypes.data % _PAGE + PIXELS_AT
    return memory[start : start + math.prod(shape)].reshape(shape)
