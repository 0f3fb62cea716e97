"""The empty court: its size and lines in metres, and its floor seen from above."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from builders.game._drawing import WHITE, Colour, Image, Points, paint, tint, trace
from lmdb_reid.schema import Size

COURT = (28.0, 15.0)  # metres
_WOOD, _KEY, _APRON = (205, 158, 104), (178, 112, 72), (44, 62, 84)


def empty_floor(size: Size, plan: Points, rng: random.Random, lines: Sequence[Points]) -> Image:
    """The floor seen from above [H, W, 3]: planks, keys and lines."""
    image = np.empty((*size, 3), np.uint8)
    image[:] = _APRON
    metre, origin = plan[0, 0], plan[:2, 2]
    length, width = COURT

    def fill(x0: float, x1: float, y0: float, y1: float, colour: Colour) -> None:
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        paint(image, [(corners * metre + origin, colour)])

    for row in range(60):
        x = 0.0
        while x < length:
            end = min(length, x + 0.5 + 2.5 * rng.random())
            board = tint(_WOOD, 0.93 + 0.12 * rng.random())
            fill(x, end, row * width / 60, (row + 1) * width / 60, board)
            x = end
    for x in (0.0, length - 5.8):
        fill(x, x + 5.8, 5.05, 9.95, _KEY)
    stroke = max(1, round(metre / 14))
    for line in lines:
        trace(image, line * metre + origin, WHITE, stroke)
    return image


def court_lines() -> list[Points]:
    """A basketball court's lines as polylines, in metres."""
    length, width = COURT
    bend = math.asin(6.6 / 6.75)
    three = np.concatenate([[(0.0, 0.9)], _arc(1.575, 6.75, bend), [(0.0, width - 0.9)]])
    key = np.array([(0.0, 5.05), (5.8, 5.05), (5.8, 9.95), (0.0, 9.95)])
    edge = np.array([(0.0, 0.0), (length, 0.0), (length, width), (0.0, width), (0.0, 0.0)])
    middle = np.array([(length / 2, 0.0), (length / 2, width)])
    return [edge, middle, _arc(length / 2, 1.8), *_both_ends([three, key, _arc(5.8, 1.8)])]


def baskets_from_above() -> list[Points]:
    """Both baskets from above as polylines, in metres."""
    return _both_ends([np.array([(1.2, 6.6), (1.2, 8.4)]), _arc(1.575, 0.3)])


def _arc(x: float, radius: float, bend: float = math.pi) -> Points:
    """An arc about a point on the court's long axis, `bend` radians to either side of +x."""
    angle = np.linspace(-bend, bend, 49)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ring * radius + (x, COURT[1] / 2)


def _both_ends(lines: Sequence[Points]) -> list[Points]:
    return [*lines, *(line * (-1.0, 1.0) + (COURT[0], 0.0) for line in lines)]
