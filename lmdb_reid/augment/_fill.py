"""Rectangles of one colour, filled a line at a time under the interpreter's lock."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Line = npt.NDArray[np.void]
"""[1]: the bytes of some pixels side by side, as one item."""


def fill_lines(out: Pixels, slot: int, box: tuple[int, int, int, int], row: Line) -> None:
    """Fill a rectangle with copies of a line.

    A line is one item to NumPy, which so copies it whole, and keeps the interpreter's lock, as it
    does with up to 500 items: to get it back between two decodings may take longer than the fill.

    Args:
        out: uint8 [N, H, W, 3], C-contiguous.
        slot: which picture.
        box: (top, left, bottom, right), not empty.
        row: a line of right - left pixels; see `line_of`.
    """
    top, left, bottom, _ = box
    _, height, width, _ = out.shape
    line = width * 3
    start = (slot * height + top) * line + left * 3
    np.ndarray((bottom - top,), row.dtype, out, start, (line,))[...] = row


@functools.lru_cache(maxsize=1024)
def line_of(colour: tuple[int, int, int], width: int) -> Line:
    """A line of `width` pixels of one colour."""
    return np.tile(np.array(colour, np.uint8), width).view(f"V{3 * width}")
