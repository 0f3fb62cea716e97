"""Rectangles of one colour, filled a line at a time under the interpreter's lock."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from lmdb_reid.augment._recipe import Colour

Pixels = npt.NDArray[np.uint8]
Line = npt.NDArray[np.void]
"""[1]: the bytes of some pixels side by side, as one item."""


def fill_box(out: Pixels, slot: int, box: tuple[int, int, int, int], colour: Colour) -> None:
    """Fill a rectangle with a colour.

    A line is one item to NumPy, which so copies it whole, and keeps the interpreter's lock, as it
    does with up to 500 items: to get it back between two decodings may take longer than the fill.

    Args:
        out: uint8 [N, H, W, 3], C-contiguous.
        slot: which picture.
        box: (top, left, bottom, right), not empty.
        colour: red, green, blue.
    """
    top, left, bottom, right = box
    _, height, width, _ = out.shape
    line = width * 3
    start = (slot * height + top) * line + left * 3
    row = _line(colour, right - left)
    np.ndarray((bottom - top,), row.dtype, out, start, (line,))[...] = row


@functools.lru_cache(maxsize=1024)
def _line(colour: Colour, width: int) -> Line:
    """A line of `width` pixels of one colour."""
    return np.tile(np.array(colour, np.uint8), width).view(f"V{3 * width}")
