"""Boxes for negatives: background of a frame, and parts of a person.

Pure functions: every slot draws from a stream of its own, which the build's seed and the slot's
sample id decide, so that a result depends neither on the number of slots nor on other frames.

Both kinds carry label -1. Neither is grown by the expand ratio, which is the caller's affair: the
limits on size and overlap hold for the boxes as they are returned.

Shapes are given in brackets: N slots, B boxes that slots keep away from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Box, Boxes, Points, Rows, Size, check_ids, corners, ious, shown_shares

MIN_SIDE = 8
"""Pixels: no side of a negative is shorter."""
TRIES = 20
"""Candidates for one slot before it is given up."""
MAX_COUNT = 1000
"""Slots of one frame or one sample: as many as the three digits of `background_id` can number."""

Filled = tuple[int, int, Box]
"""The place of a slot's frame or sample among those that were given, the slot's number in it, and
what it found.
"""


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
    found = backgrounds([boxes], [size], [frame_key], seed=seed, count=count, max_iou=max_iou)
    return [(slot, place) for _, slot, place in found]


def backgrounds(
    boxes: Sequence[Sequence[Box]],
    sizes: Sequence[Size],
    frame_keys: Sequence[str],
    *,
    seed: int,
    count: int,
    max_iou: float = 0.1,
    max_person_share: float = 1.0,
) -> list[Filled]:
    """`background_boxes` of many frames, none of which shows more than a share of any of the boxes
    of its frame.
    """
    extents = _extents(sizes)
    _check_limits(count, max_iou)
    room = _room(extents, 1, 4, np.zeros_like(extents), extents)
    ids = [background_id(key, slot) for key in frame_keys for slot in range(count)]
    owners = np.repeat(np.arange(len(boxes)), list(map(len, boxes)))
    array = _array(chain(*boxes))
    limits = [_Limit(array, owners, ious, max_iou)]
    if max_person_share < 1:
        limits.append(_Limit(array, owners, shown_shares, np.nextafter(max_person_share, 2)))
    return _filled(ids, room, limits, seed=seed, count=count)


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
    found = partials([box], [size], [sample_id], seed=seed, count=count, max_iou=max_iou)
    return [(slot, part) for _, slot, part in found]


def partials(
    boxes: Sequence[Box],
    sizes: Sequence[Size],
    sample_ids: Sequence[str],
    *,
    seed: int,
    count: int,
    max_iou: float = 0.4,
    others: Sequence[Sequence[Box]] = (),
    max_person_share: float = 1.0,
) -> list[Filled]:
    """`partial_boxes` of many persons, each with the size of its frame, none of which shows more
    than a share of any of the `others` of its person: boxes of the same frame.
    """
    extents = _extents(sizes)
    _check_limits(count, max_iou)
    array = _array(boxes)
    starts, stops = corners(array, extents)
    room = _room(array[:, 2:], 3, 7, np.ceil(starts), np.floor(stops))
    ids = [partial_id(name, slot) for name in sample_ids for slot in range(count)]
    limits = [_Limit(array, np.arange(len(boxes)), ious, max_iou)]
    if max_person_share < 1:
        owners = np.repeat(np.arange(len(others)), list(map(len, others)))
        near = _array(chain(*others))
        limits.append(_Limit(near, owners, shown_shares, np.nextafter(max_person_share, 2)))
    return _filled(ids, room, limits, seed=seed, count=count)


class _Limit(NamedTuple):
    """What candidates keep under, with each of the boxes [B, 4] that are their owner's [B]."""

    boxes: Boxes
    owners: Rows
    measure: Callable[[Boxes, Boxes], npt.NDArray[np.float64]]
    """(candidates, boxes) [N, 4] -> [N]"""
    below: float


class _Room(NamedTuple):
    """Whole pixels across and down: the sides to draw from, the room [start, stop) for them;
    longest is under shortest where none fits.
    """

    shortest: Any
    longest: Any
    start: Any
    stop: Any


def _room(lengths: Points, low: int, high: int, starts: Points, stops: Points) -> _Room:
    """Sides of `low` to `high` tenths of `lengths`; all are [N, 2], as the results are."""
    # Divided first, so that sides which are whole tens give whole limits, free of rounding.
    shortest = np.maximum(MIN_SIDE, np.ceil(lengths / 10 * low))
    longest = np.minimum(np.floor(lengths / 10 * high), stops - starts)
    return _Room(shortest, longest, starts, stops)


def _filled(
    ids: Sequence[str],
    room: _Room,
    limits: Sequence[_Limit],
    *,
    seed: int,
    count: int,
) -> list[Filled]:
    """What each owner's `count` slots [N] find in its room: the first of 20 candidates that keeps
    to all limits.
    """
    check_ids(ids)
    room = _Room(*(np.repeat(sides, count, axis=0) for sides in room))
    # A row for each slot with each box that it keeps away from.
    slots = [
        np.repeat(one.owners * count, count) + np.tile(np.arange(count), len(one.owners))
        for one in limits
    ]
    boxes = [np.repeat(one.boxes, count, axis=0) for one in limits]
    found = np.full((len(ids), 4), np.nan)
    todo = np.flatnonzero((room.shortest <= room.longest).all(axis=1))
    for attempt in range(TRIES):
        if not len(todo):
            break
        draws = _draws(f"{seed}|{ids[slot]}|{attempt}" for slot in todo.tolist())
        shortest, longest, start, stop = (sides[todo] for sides in room)
        sides = shortest + np.floor(draws[:, :2] * (longest - shortest + 1))
        found[todo, :2] = start + np.floor(draws[:, 2:] * (stop - start - sides + 1))
        found[todo, 2:] = sides
        todo = np.unique(
            np.concatenate(
                [
                    slot[one.measure(found[slot], box) >= one.below]
                    for one, slot, box in zip(limits, slots, boxes, strict=True)
                ]
            )
        )
    found[todo] = np.nan
    filled = np.flatnonzero(~np.isnan(found[:, 0]))
    numbers = zip(*(part.tolist() for part in np.divmod(filled, count)), strict=True)
    boxes_found = map(Box._make, found[filled].tolist())
    return [(owner, slot, box) for (owner, slot), box in zip(numbers, boxes_found, strict=True)]


def _draws(names: Iterable[str]) -> npt.NDArray[np.float64]:
    """Four numbers of [0, 1) for each name [N, 4], evenly spread, which that name alone decides.

    They are the upper 53 bits of the words of its BLAKE2b digest: the same on every machine, and
    drawn in an eighth of the time that seeding a Mersenne twister takes.
    """
    digests = b"".join(blake2b(name.encode(), digest_size=32).digest() for name in names)
    words = np.frombuffer(digests, "<u8").reshape(-1, 4) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


def _array(boxes: Iterable[Box]) -> Boxes:
    """Boxes as float64 [B, 4]."""
    listed = list(boxes)
    array = np.fromiter(chain.from_iterable(listed), float).reshape(-1, 4)
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise UsageError(
            f"{listed[int(np.argmax(bad))]!r} has a coordinate that is not finite: leave such rows"
            " out first"
        )
    return array


def _extents(sizes: Sequence[Size]) -> Points:
    """(width, height) of each frame [N, 2]."""
    for size in {*sizes}:
        if min(size) < 1:
            raise UsageError(
                f"size must be (height, width) in pixels, each at least 1, got {size!r}."
            )
    return np.fromiter(chain.from_iterable(sizes), float).reshape(-1, 2)[:, ::-1]


def _check_limits(count: int, max_iou: float) -> None:
    if not isinstance(count, int) or not 0 <= count <= MAX_COUNT:
        raise UsageError(f"count must be a whole number from 0 to {MAX_COUNT}, got {count!r}.")
    if not 0 < max_iou <= 1:
        raise UsageError(f"max_iou must be a number above 0 and at most 1, got {max_iou!r}.")
