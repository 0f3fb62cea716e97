"""What a source of frames and boxes has to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lmdb_reid.schema import Box, Kind

_NO_FIELDS: Mapping[str, Any] = {}  # one for all, never written


class BoxRow(NamedTuple):
    """One sample to cut from a frame."""

    number: int
    """Position among all rows of the frame in the source, unusable ones counted: names the sample
    for good.
    """
    line: int
    """Line of the source's file, 1-based, for reports."""
    label: int
    box: Box | None
    """What to cut; None is the whole image (a source of crops)."""
    kind: Kind = Kind.PERSON
    fields: Mapping[str, Any] = _NO_FIELDS
    """Columns of the row's own, beside the box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image file and what is to be cut from it."""

    key: str
    """Unique in the source; sample ids begin with it."""
    path: Path
    fields: Mapping[str, Any]
    """Columns that all samples of the frame share, negatives too."""
    rows: tuple[BoxRow, ...]
    boxes: tuple[Box, ...]
    """Every box known of the frame, also those not cut: negatives keep away from all of them."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that gives no sample, and why."""

    line: int
    frame: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All that a source holds, before any image was opened."""

    frames: Sequence[Frame]
    rows: int
    """Rows in the source, usable or not."""
    skipped: Sequence[LeftOut]
    """Rows that cannot be used."""
    dropped: Sequence[LeftOut]
    """Rows that were usable and were left out on purpose (outliers)."""
    inputs: Mapping[str, str]
    """Digests of the files read so far; `--resume` refuses others."""
    settings: Mapping[str, Any]
    """What of the source's own settings decides the content."""
    places: Mapping[str, str]
    """Paths, for the manifest's provenance."""


class Source(Protocol):
    """A layout of frames and boxes.

    Laws: `read` opens no image and gives the same listing each time; frame keys are unique;
        settings never change a
    row's number.
    """

    name: str

    def read(self) -> Listing:
        """List the frames and their boxes.

        Raises:
            SourceError: the source as a whole cannot be used.
        """
        ...
