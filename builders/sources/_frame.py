"""What a source lists of one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from lmdb_reid.schema import Box, Kind, Size

_NO_FIELDS: Mapping[str, Any] = {}  # one for all, never written


class BoxRow(NamedTuple):
    """One sample to cut from a frame."""

    number: int
    """Position among all rows of the frame in the source, unusable ones counted: names the sample
    for good.
    """
    label: int
    box: Box | None
    """What to cut; None is the whole picture (a source of crops)."""
    kind: Kind = Kind.PERSON
    fields: Mapping[str, Any] = _NO_FIELDS
    """Columns of the row's own, beside the box."""
    document: str = ""
    """What the row is an entry of, in words that its number follows: "train_meta.csv line"."""
    entry: int = -1
    """The row's number in the document."""
    order: int = -1
    """The row's place among all rows of the source, from 0, whatever the settings; -1: that of a
    source which lists its rows in its own order.
    """

    @property
    def where(self) -> str:
        """Where the source has the row, in words; "" where the frame's picture says it."""
        return f"{self.document} {self.entry}" if self.document else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture and what is to be cut from it. Where its pixels are, a medium knows."""

    key: str
    """Unique in the source; sample ids begin with it."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Columns that all samples of the frame share, negatives too."""
    rows: tuple[BoxRow, ...] = ()
    boxes: tuple[Box, ...] = ()
    """Every box known of the frame, also those not cut: negatives keep away from all of them."""
    relative: bool = False
    """Boxes are in shares of the picture's width and height, whose pixels nobody knows before the
    picture is opened.
    """

    def in_pixels(self, size: Size) -> Frame:
        """The same frame with boxes in pixels of a picture of (height, width)."""
        if not self.relative:
            return self
        rows = (
            row if row.box is None else row._replace(box=_scaled(row.box, size))
            for row in self.rows
        )
        boxes = tuple(_scaled(box, size) for box in self.boxes)
        return replace(self, rows=tuple(rows), boxes=boxes, relative=False)


def _scaled(box: Box, size: Size) -> Box:
    height, width = size
    return Box(box.x * width, box.y * height, box.w * width, box.h * height)


class Rejected(NamedTuple):
    """A row that a report names, and why: most of them give no sample."""

    where: str
    """In words: "train_meta.csv line 12", "query/0001_c1s1_000151_00.jpg"."""
    frame: str
    """The key of its frame."""
    reason: str
