"""Filled polygons and strokes: how they are made, and how they are painted into a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Colour = tuple[int, int, int]
Shape = tuple[Points, Colour]
"""A filled polygon: points [N, 2] as (x, y), and its RGB colour."""

WHITE, ORANGE, STEEL = (244, 244, 240), (232, 110, 32), (88, 92, 100)
SKINS = ((247, 208, 176), (226, 172, 128), (190, 130, 88), (140, 90, 58), (92, 58, 40))
_SHIFT = 4  # bits of a pixel's fraction in the points that cv2 is given
_CIRCLE = np.array([(math.cos(i * math.tau / 24), math.sin(i * math.tau / 24)) for i in range(24)])


def oval(centre: tuple[float, float], rx: float, ry: float) -> Points:
    """An ellipse as a polygon of 24 points."""
    return np.array(centre) + _CIRCLE * (rx, ry)


def limb(a: tuple[float, float], b: tuple[float, float], radius: float) -> Points:
    """A stroke from `a` to `b` with round ends, as a polygon."""
    along = math.atan2(b[1] - a[1], b[0] - a[0])
    turn = np.linspace(along + math.pi / 2, along + 3 * math.pi / 2, 9)
    cap = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.concatenate([cap + a, b - cap])


def tint(colour: Colour, factor: float) -> Colour:
    """A colour made darker by a factor below one, lighter by one above."""
    r, g, b = (min(255, round(value * factor)) for value in colour)
    return r, g, b


def paint(image: Image, shapes: Sequence[Shape]) -> None:
    """Fills shapes in pixels into an image [H, W, 3] in place, the first lowest."""
    for points, colour in shapes:
        cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)


def trace(image: Image, line: Points, colour: Colour, width: int) -> None:
    """Strokes a polyline [N, 2] into an image [H, W, 3] in place; points and width in pixels."""
    cv2.polylines(image, [_fixed(line)], False, colour, width, cv2.LINE_AA, _SHIFT)


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    """Points as cv2 takes them: from the middle of the first pixel, not its corner."""
    return np.rint((points - 0.5) * (1 << _SHIFT)).astype(np.int32)
