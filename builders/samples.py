"""Samples as training names them before they are cut: one box of one frame, and whose it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from builders.media import Files, Medium
from builders.sources import BoxRow, Frame, Listing
from lmdb_reid._arguments import known_fields
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Box, Kind

FRAME_FIELDS = ("quarter", "angle", "session", "frame")
"""What names a frame in the atmaCup layout: two strings, two whole numbers."""


# Not frozen: a list of 100,000 would take 0.2 s to make instead of 0.08.
@known_fields
@dataclass(slots=True)
class BoxSample:
    """One box of one frame, as a row of train_meta.csv or of the negatives csv names it."""

    quarter: str
    angle: str
    session: int
    frame: int
    x: float
    y: float
    w: float
    h: float
    """The box in pixels of the frame, (x, y) its top left corner; ints where they are whole."""
    label_id: int
    img_path: str | os.PathLike[str]
    """The frame's file."""
    kind: Kind = Kind.PERSON
    id: str = ""
    """The id that a store has for this sample; empty where it is not known."""


def sample_id(frame: Frame, row: BoxRow) -> str:
    """The id of what is cut for a row: the frame's key alone where that is the whole image."""
    return frame.key if row.box is None else f"{frame.key}#{row.number:03d}"


def whole(side: float) -> float:
    """The same number, an int where it has no fraction."""
    number = int(side)
    return number if number == side else side


def samples_of(
    frame: Frame,
    medium: Medium,
    boxes: Iterable[tuple[Box, int, Kind, str]],
    *,
    by_id: bool = False,
) -> list[BoxSample]:
    """(box, label, kind, sample id) of a frame in the atmaCup layout, each as a sample.

    Args:
        frame: its boxes are in pixels.
        medium: where its picture is.
        boxes: as above.
        by_id: ids name samples of any layout: those of a frame that is not named as the atmaCup
            layout names frames have no quarter and angle, and their session and frame are -1.

    Raises:
        UsageError: unless `by_id`: the frame is not named so, or is no file.
    """
    if isinstance(medium, Files):
        path = str(medium.path(frame.key))
    elif by_id:
        path = medium.name(frame.key)
    else:
        raise UsageError(f"samples name image files, but {frame.key} is {medium.name(frame.key)}")
    try:
        quarter, angle, session, number = (
            ("", "", -1, -1)
            if by_id and not {*FRAME_FIELDS} <= frame.fields.keys()
            else (frame.fields[name] for name in FRAME_FIELDS)
        )
    except KeyError as error:
        raise UsageError(
            f"frames must have {', '.join(FRAME_FIELDS)}, as --format atmacup has them; {frame.key}"
            f" lacks {error}"
        ) from None
    samples = []
    for box, label, kind, name in boxes:
        ints = tuple(map(int, box))
        x, y, w, h = ints if ints == box else map(whole, box)
        samples.append(
            BoxSample(quarter, angle, session, number, x, y, w, h, label, path, kind, name)
        )
    return samples


def box_samples(listing: Listing) -> list[BoxSample]:
    """The boxes of a listing in the atmaCup layout, in the source's own order."""
    orders: list[int] = []
    samples: list[BoxSample] = []
    for frame in listing.frames:
        boxed = [(row, row.box) for row in frame.rows if row.box is not None]
        orders += [row.order for row, _ in boxed]
        named = [(box, row.label, row.kind, sample_id(frame, row)) for row, box in boxed]
        samples += samples_of(frame, listing.medium, named)
    return [samples[at] for at in sorted(range(len(orders)), key=orders.__getitem__)]
