"""The negatives of whole frames: made here and nowhere else, for builds and for the csv alike."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from builders.negatives._boxes import (
    background_boxes,
    background_id,
    partial_boxes,
    partial_id,
)
from builders.samples import BoxSample, place, sample_id
from builders.settings import BuildSettings
from builders.sizes import frame_sizes
from builders.sources import Frame, LeftOut, Listing
from builders.workers import checked_workers
from lmdb_reid.schema import NO_LABEL, Box, Kind, Size


class Negative(NamedTuple):
    """A place in a frame that shows nobody, or too little of somebody."""

    id: str
    kind: Kind
    box: Box
    line: int = 0
    """Where it was read: the line of its csv, 1-based; 0 for one that was made."""


Negatives = Callable[[Frame, Size], Sequence[Negative]]
"""Gives the negatives of a frame of (height, width): the same ones whenever it is called."""


def made_negatives(settings: BuildSettings, *, max_iou_partial: float = 0.4) -> Negatives:
    """The negatives that a build with `settings` makes: parts of every box that is cut, and
    background away from every box there is.

    A frame that is one whole crop gives none.

    Args:
        settings: `num_bg_per_frame`, `num_partial_per_box` and `seed` decide.
        max_iou_partial: of a part with its box, less than this; a build's is 0.4.
    """
    return functools.partial(_made, settings, max_iou_partial)


def _made(
    settings: BuildSettings, max_iou_partial: float, frame: Frame, size: Size
) -> list[Negative]:
    found: list[Negative] = []
    for row in frame.rows:
        if row.box is None or row.kind != Kind.PLAYER:
            continue
        name = sample_id(frame, row)
        parts = partial_boxes(
            row.box,
            size,
            seed=settings.seed,
            sample_id=name,
            count=settings.num_partial_per_box,
            max_iou=max_iou_partial,
        )
        found += [Negative(partial_id(name, slot), Kind.PARTIAL, part) for slot, part in parts]
    if all(row.box is not None for row in frame.rows):
        parts = background_boxes(
            frame.boxes,
            size,
            seed=settings.seed,
            frame_key=frame.key,
            count=settings.num_bg_per_frame,
        )
        found += [
            Negative(background_id(frame.key, slot), Kind.BACKGROUND, part) for slot, part in parts
        ]
    return found


def list_negatives(
    listing: Listing,
    negatives: Negatives,
    *,
    workers: int | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> tuple[list[BoxSample], list[LeftOut]]:
    """The negatives of every frame of a listing in the atmaCup layout; no pixel is decoded.

    Args:
        listing: frames and their boxes.
        negatives: which of each frame.
        workers: threads that read image headers; as many as there are cores unless given.
        progress: called with (frames done, frames in all, negatives so far) after each frame.

    Returns:
        The negatives in the order of a store's rows, and the listing's rows whose frame cannot be
        read: those give none.
    """
    samples: list[BoxSample] = []
    unread: list[LeftOut] = []
    sizes = frame_sizes(listing.frames, checked_workers(workers))
    for done, (frame, size) in enumerate(zip(listing.frames, sizes, strict=True), 1):
        if isinstance(size, str):
            unread += [LeftOut(row.line, frame.key, size) for row in frame.rows]
        else:
            samples += _as_samples(frame, negatives(frame, size))
        if progress:
            progress(done, len(listing.frames), len(samples))
    return sorted(samples, key=lambda sample: sample.id.encode()), unread


def _as_samples(frame: Frame, negatives: Sequence[Negative]) -> Iterator[BoxSample]:
    for negative in negatives:
        yield BoxSample(
            **place(frame, negative.box),
            label_id=NO_LABEL,
            kind=negative.kind,
            id=negative.id,
        )
