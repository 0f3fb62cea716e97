"""Boxes for negatives: background of a frame, and parts of a person.

Pure functions: every slot draws from a generator of its own, seeded by the build's seed and the
slot's sample id, so that a result depends neither on the number of slots nor on other frames.

Both kinds carry label -1. Neither is grown by the expand ratio, which is the caller's affair: the
limits on size and overlap hold for the boxes as they are returned.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Box, Size, check_id, iou

MIN_SIDE = 8
"""Pixels: no side of a negative is shorter."""
TRIES = 20
"""Candidates for one slot before it is given up."""
MAX_COUNT = 1000
"""Slots of one frame or one sample: as many as the three digits of `background_id` can number."""


def background_id(frame_key: str, slot: int) -> str:
    """The sample id of a background negative of the frame `frame_key`."""
    return f"{frame_key}#bg{slot:03d}"


def partial_id(sample_id: str, slot: int) -> str:
    """The sample id of a partial negative of the sample `sample_id`."""
    return f"{sample_id}p{slot}"


def background_boxes(
    boxes: Sequence[Box],
    size: Size,
    *,
    seed: int,
    frame_key: str,
    count: int,
    max_iou: float = 0.1,
) -> list[tuple[int, Box]]:
    """Places of a frame that are none of its boxes, to be stored with label -1 and not grown.

    The limit is on IoU: a result much larger than a person's box may still show that person.

    Args:
        boxes: all boxes of the frame as the source gives them, in any order.
        size: (height, width) of the frame in pixels.
        seed: the build's.
        frame_key: the frame's unique name.
        count: slots to fill, 0 to 1000.
        max_iou: every result's IoU with every one of `boxes` is under this; above 0, at most 1.

    Returns:
        (slot, box) for slots 0 to count - 1, in that order. A box has 10 to 40 % of the frame's
        width and of its height and no side under 8 pixels, lies inside the frame, and its
        coordinates are floats without a fraction. A slot for which 20 candidates failed is
        absent; so is every slot of a frame that is too small for such a box.

    Raises:
        UsageError: a count or limit out of range, a size without pixels, a box that is not finite.
        InvalidSampleError: `frame_key` gives an id that a store cannot hold.
    """
    _check_limits(size, count, max_iou)
    for box in boxes:
        _check_finite(box)
    height, width = size
    axes = (_axis(width, 1, 4, 0, width), _axis(height, 1, 4, 0, height))
    ids = (background_id(frame_key, slot) for slot in range(count))
    return _filled_slots(ids, seed, axes, boxes, max_iou)


def partial_boxes(
    box: Box,
    size: Size,
    *,
    seed: int,
    sample_id: str,
    count: int,
    max_iou: float = 0.4,
) -> list[tuple[int, Box]]:
    """Parts of a person's box that show too little of it, to be stored with label -1, not grown.

    Args:
        box: the person's box as the source gives it, not grown; it may reach out of the frame.
        size: (height, width) of the frame in pixels.
        seed: the build's.
        sample_id: the person's sample id.
        count: slots to fill, 0 to 1000.
        max_iou: every result's IoU with `box` is under this; above 0, at most 1.

    Returns:
        (slot, box) for slots 0 to count - 1, in that order. A result has 30 to 70 % of the width
        and of the height of `box` and no side under 8 pixels, lies inside that part of `box` which
        is in the frame, and its coordinates are floats without a fraction. A slot for which 20
        candidates failed is absent; so is every slot where no such result has room.

    Raises:
        UsageError: a count or limit out of range, a size without pixels, a box that is not finite.
        InvalidSampleError: `sample_id` gives an id that a store cannot hold.
    """
    _check_limits(size, count, max_iou)
    _check_finite(box)
    x, y, w, h = box.clipped(size)
    across = _axis(box.w, 3, 7, math.ceil(x), math.floor(x + w))
    down = _axis(box.h, 3, 7, math.ceil(y), math.floor(y + h))
    ids = (partial_id(sample_id, slot) for slot in range(count))
    return _filled_slots(ids, seed, (across, down), (box,), max_iou)


class _Axis(NamedTuple):
    """Whole pixels along one direction: the sides to draw from, the room [start, stop) for them."""

    shortest: int
    longest: int
    start: int
    stop: int


def _axis(length: float, low: int, high: int, start: int, stop: int) -> _Axis:
    """Sides of `low` to `high` tenths of `length`; longest is under shortest where none fits."""
    # Divided first, so that sides which are whole tens give whole limits, free of rounding.
    shortest = max(MIN_SIDE, math.ceil(length / 10 * low))
    longest = min(math.floor(length / 10 * high), stop - start)
    return _Axis(shortest, longest, start, stop)


def _filled_slots(
    ids: Iterable[str],
    seed: int,
    axes: tuple[_Axis, _Axis],
    boxes: Sequence[Box],
    max_iou: float,
) -> list[tuple[int, Box]]:
    """(slot, box) of every slot, named by its id, that found a box."""
    has_room = all(axis.shortest <= axis.longest for axis in axes)
    filled: list[tuple[int, Box]] = []
    for slot, negative_id in enumerate(ids):
        check_id(negative_id)
        if has_room:
            rng = random.Random(f"{seed}|{negative_id}")
            box = _first_fitting(rng, axes, boxes, max_iou)
            if box is not None:
                filled.append((slot, box))
    return filled


def _first_fitting(
    rng: random.Random, axes: tuple[_Axis, _Axis], boxes: Sequence[Box], max_iou: float
) -> Box | None:
    """The first of 20 candidates whose IoU with each of `boxes` is under `max_iou`."""
    across, down = axes
    for _ in range(TRIES):
        x, w = _drawn(rng, across)
        y, h = _drawn(rng, down)
        candidate = Box(x, y, w, h)
        if all(iou(candidate, box) < max_iou for box in boxes):
            return candidate
    return None


def _drawn(rng: random.Random, axis: _Axis) -> tuple[float, float]:
    """(start, side) of a candidate along `axis`: an even choice of side, then of its place."""
    # Only random() promises the same numbers in every Python version; randint does not.
    side = axis.shortest + int(rng.random() * (axis.longest - axis.shortest + 1))
    start = axis.start + int(rng.random() * (axis.stop - axis.start - side + 1))
    return float(start), float(side)


def _check_limits(size: Size, count: int, max_iou: float) -> None:
    if min(size) < 1:
        raise UsageError(f"size {size!r}: give (height, width) in pixels, each at least 1")
    if not isinstance(count, int) or not 0 <= count <= MAX_COUNT:
        raise UsageError(f"count {count!r}: give a whole number from 0 to {MAX_COUNT}")
    if not 0 < max_iou <= 1:
        raise UsageError(f"max_iou {max_iou!r}: give a number above 0 and at most 1")


def _check_finite(box: Box) -> None:
    if not all(map(math.isfinite, box)):
        raise UsageError(f"{box!r} has a coordinate that is not finite: leave such rows out first")
