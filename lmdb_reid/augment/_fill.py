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


class Borders:
    """Black borders of shifted pictures. What is used for one picture after the other is made once.

    Args:
        out: uint8 [N, H, W, 3], C-contiguous.
    """

    def __init__(self, out: Pixels) -> None:
        _, self._height, self._width, _ = out.shape
        self._out = out
        self._bytes = out.reshape(-1).data
        self._black = _zeros(self._height * self._width * 3)
        self._columns: dict[int, tuple[npt.NDArray[np.void], Line]] = {}

    def blacken(self, slot: int, down: int, right: int) -> None:
        """Fill what a shift of so many pixels left free in a picture."""
        height, width = self._height, self._width
        start = slot * height * width
        if right:
            places, line = self._columns.get(abs(right)) or self._made(abs(right))
            places[start if right > 0 else start + max(width + right, 0)] = line
        if down:  # a slice of a memoryview: whole lines, copied under the lock
            size = abs(down) * width * 3
            start = start * 3 if down > 0 else (start + (height + down) * width) * 3
            self._bytes[start : start + size] = self._black[:size]

    def _made(self, wide: int) -> tuple[npt.NDArray[np.void], Line]:
        """(columns of so many pixels, over the whole height, from wherever they begin; black)."""
        line = _line((0, 0, 0), wide)
        pixels, row = self._height * self._width, self._width * 3
        count = len(self._out) * pixels - (self._height - 1) * self._width - wide + 1
        shape = count, self._height
        places = np.ndarray(shape, line.dtype, self._out, 0, (3, row))
        self._columns[wide] = places, line
        return places, line


@functools.lru_cache(maxsize=4)
def _zeros(size: int) -> memoryview:
    return memoryview(bytes(size))


@functools.lru_cache(maxsize=1024)
def _line(colour: Colour, width: int) -> Line:
    """A line of `width` pixels of one colour."""
    return np.tile(np.array(colour, np.uint8), width).view(f"V{3 * width}")
