"""The negatives of whole frames: drawn here and nowhere else, for builds and for the csv alike."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from builders.media import frame_sizes
from builders.negatives._boxes import (
    background_id,
    backgrounds,
    partial_id,
    partials,
)
from builders.samples import BoxSample, sample_id, samples_of
from builders.settings import BuildSettings, worker_count
from builders.sources import Frame, Listing, Rejected
from lmdb_reid.schema import NO_LABEL, Box, Kind, Size, iou

_CHUNK = 64
"""Frames whose negatives are drawn in one go."""


class Negative(NamedTuple):
    """A place in a frame that shows nobody, or too little of somebody."""

    id: str
    kind: Kind
    box: Box
    line: int = 0
    """Where it was read: the line of its csv, 1-based; 0 for one that was drawn."""


NegativesOf = Callable[[Sequence[Frame], Sequence[Size]], list[list[Negative]]]
"""Gives the negatives of each frame, whose sizes are (height, width): the same ones whenever it is
called, and whatever other frames come with it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Negatives:
    """Where a build's negatives come from, and what decides them. Calling it gives them."""

    of: NegativesOf
    slots: Callable[[Frame], int] = lambda _frame: 0
    """How many a frame has places for: those that it gives fewer were given up."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the build that it takes the place of, each None."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Digests of the files that it was read from."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Their paths."""

    def __call__(self, frames: Sequence[Frame], sizes: Sequence[Size]) -> list[list[Negative]]:
        """The negatives of each frame."""
        return self.of(frames, sizes)


class NearbyNegatives:
    """The negatives of neighbouring frames, drawn together when the first of them is asked for:
    for one frame NumPy's calls take nearly as long as for many.

    Args:
        negatives: of each frame.
        frames: neighbours, as the source has them.
    """

    def __init__(self, negatives: Negatives, frames: Sequence[Frame]) -> None:
        self._negatives = negatives
        self._frames = frames
        self._lock = threading.Lock()
        self._size: Size | None = None
        self._found: dict[str, list[Negative]] = {}

    def of(self, frame: Frame, size: Size) -> list[Negative]:
        """Those of one of the frames, whose boxes are in pixels and whose size is (height, width):
        what `negatives` gives for it alone.
        """
        with self._lock:
            if self._size is None:
                self._size = size  # pictures of one source mostly have one
                sized = [each.in_pixels(size) for each in self._frames]
                found = self._negatives(sized, [size] * len(sized))
                self._found = {each.key: own for each, own in zip(self._frames, found, strict=True)}
        if size == self._size and frame.key in self._found:
            return self._found[frame.key]
        (alone,) = self._negatives([frame], [size])
        return alone


def random_negatives(settings: BuildSettings, *, max_iou_partial: float = 0.4) -> Negatives:
    """The negatives that a build with `settings` has: parts of every box that is cut, and
    background away from every box there is.

    A frame that is one whole crop gives none.

    Args:
        settings: `num_bg_per_frame`, `num_partial_per_box`, `max_person_share` and `seed` decide.
        max_iou_partial: of a part with its box, less than this; a build's is 0.4.
    """
    return Negatives(
        of=functools.partial(_drawn, settings, max_iou_partial),
        slots=functools.partial(_slots, settings),
    )


def _slots(settings: BuildSettings, frame: Frame) -> int:
    people = sum(row.box is not None and row.kind == Kind.PERSON for row in frame.rows)
    backgrounds_wanted = settings.num_bg_per_frame if all(row.box for row in frame.rows) else 0
    return people * settings.num_partial_per_box + backgrounds_wanted


def _drawn(
    settings: BuildSettings,
    max_iou_partial: float,
    frames: Sequence[Frame],
    sizes: Sequence[Size],
) -> list[list[Negative]]:
    found: list[list[Negative]] = [[] for _ in frames]
    people: list[tuple[int, str]] = []
    boxes: list[Box] = []
    others: list[list[Box]] = []
    share = settings.max_person_share
    for at, frame in enumerate(frames):
        for row in frame.rows:
            if row.box is not None and row.kind == Kind.PERSON:
                people.append((at, sample_id(frame, row)))
                boxes.append(row.box)
                if share < 1:
                    others.append(_others(row.box, frame.boxes))
    parts = partials(
        boxes,
        [sizes[at] for at, _ in people],
        [name for _, name in people],
        seed=settings.seed,
        count=settings.num_partial_per_box,
        max_iou=max_iou_partial,
        others=others,
        max_person_share=share,
    )
    for owner, slot, box in parts:
        at, name = people[owner]
        found[at].append(Negative(partial_id(name, slot), Kind.PARTIAL, box))
    boxed = [at for at, frame in enumerate(frames) if all(row.box for row in frame.rows)]
    places = backgrounds(
        [frames[at].boxes for at in boxed],
        [sizes[at] for at in boxed],
        [frames[at].key for at in boxed],
        seed=settings.seed,
        count=settings.num_bg_per_frame,
        max_person_share=share,
    )
    for owner, slot, box in places:
        at = boxed[owner]
        found[at].append(Negative(background_id(frames[at].key, slot), Kind.BACKGROUND, box))
    return found


def _others(own: Box, boxes: Sequence[Box]) -> list[Box]:
    """The boxes without one person's own: the same one, or where it was replaced the one that
    overlaps it most.
    """
    others = [box for box in boxes if box != own]  # also where the source has its row twice
    if others and len(others) == len(boxes):
        del others[_nearest(own, others)]
    return others


def _nearest(own: Box, boxes: Sequence[Box]) -> int:
    return max(range(len(boxes)), key=lambda at: iou(own, boxes[at]))


def list_negatives(
    listing: Listing,
    negatives: Negatives,
    *,
    num_workers: int | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    by_id: bool = False,
) -> tuple[list[BoxSample], list[Rejected]]:
    """The negatives of every frame of a listing in the atmaCup layout; no pixel is decoded.

    Args:
        listing: frames and their boxes.
        negatives: which of each frame.
        num_workers: threads that read image headers (default: as many as there are cores).
        progress: called with (frames done, frames in all, negatives so far) after each frame.
        by_id: of any layout; see `samples_of`.

    Returns:
        The negatives in the order of a store's rows, and the listing's rows whose frame cannot be
        read: those give none.
    """
    frames = listing.frames
    samples: list[BoxSample] = []
    unread: list[Rejected] = []
    sizes = frame_sizes(listing.medium, frames.keys, worker_count(num_workers))
    for first in range(0, len(frames), _CHUNK):
        few = frames[first : first + _CHUNK]
        chunk = list(zip(few, itertools.islice(sizes, len(few)), strict=True))
        sized = [
            (frame.in_pixels(size), size) for frame, size in chunk if not isinstance(size, str)
        ]
        found = iter(negatives([frame for frame, _ in sized], [size for _, size in sized]))
        for done, (frame, size) in enumerate(chunk, first + 1):
            if isinstance(size, str):
                name = listing.medium.name(frame.key)
                unread += [Rejected(row.where or name, frame.key, size) for row in frame.rows]
            else:
                boxes = ((one.box, NO_LABEL, one.kind, one.id) for one in next(found))
                samples += samples_of(frame, listing.medium, boxes, by_id=by_id)
            if progress:
                progress(done, len(frames), len(samples))
    # As LMDB sorts keys: utf-8 keeps the order of code points.
    return sorted(samples, key=attrgetter("id")), unread
