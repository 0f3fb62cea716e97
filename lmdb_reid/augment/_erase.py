"""Random erasing in host memory: of bytes, and of numbers from 0 to 1."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from lmdb_reid.augment._draws import NOISE_STARTS, Draws
from lmdb_reid.augment._fill import fill_box
from lmdb_reid.augment._random import noise
from lmdb_reid.schema import Size

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def erase_bytes(out: Pixels, draws: Draws, first: int = 0) -> None:
    """Erase from uint8 [N, H, W, 3], whose first picture has place `first` in the draws."""
    if draws.fill is None or not out.flags.c_contiguous:
        table = noise_table(draws.size) if draws.fill is None else None
        _erase(out, _colour_row(draws), table, draws, first)
        return
    for slot, box in enumerate(draws.erased[first : first + len(out)].tolist()):
        if box[2]:
            fill_box(out, slot, box, draws.fill)


def erase_numbers(out: npt.NDArray[np.float32], draws: Draws) -> None:
    """Erase from float32 [B, H, W, 3] of 0 to 1, in any memory order: the bytes, divided by
    255.
    """
    table = _scaled(draws.size) if draws.fill is None else None
    _erase(out, np.divide(_colour_row(draws), 255, dtype=np.float32), table, draws, 0)


def _erase(out: Values, row: Values, table: Values | None, draws: Draws, first: int) -> None:
    rectangles = draws.erased[first : first + len(out)].tolist()
    for slot, (top, left, bottom, right) in enumerate(rectangles):
        if not bottom:
            continue
        if table is None:
            # Whole lines: filling with a colour of three numbers takes ten times as long.
            out[slot, top:bottom, left:right] = row[: right - left]
        else:
            start, shape = int(draws.noise[first + slot]), (bottom - top, right - left, 3)
            drawn = table[start : start + shape[0] * shape[1] * 3]
            out[slot, top:bottom, left:right] = drawn.reshape(shape)


@functools.lru_cache(maxsize=4)
def noise_table(size: Size) -> Pixels:
    """Bytes for all rectangles of pictures of a size, wherever they start."""
    table = noise(NOISE_STARTS + size[0] * size[1] * 3)
    table.flags.writeable = False
    return table


@functools.lru_cache(maxsize=4)
def _scaled(size: Size) -> npt.NDArray[np.float32]:
    return np.divide(noise_table(size), 255, dtype=np.float32)


def _colour_row(draws: Draws) -> Pixels:
    """A line of the colour, uint8 [W, 3]."""
    return _row(draws.fill or (0, 0, 0), draws.size[1])


@functools.lru_cache(maxsize=16)
def _row(colour: tuple[int, int, int], width: int) -> Pixels:
    return np.tile(np.array(colour, np.uint8), (width, 1))
