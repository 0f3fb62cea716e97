"""The one place that cuts crops out of frames: which samples a frame gives, and their pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from builders.derived import Derived
from builders.media import Medium, Picture, Stamp
from builders.negatives import NearbyNegatives, Negative, Negatives
from builders.samples import sample_id, whole
from builders.settings import BuildSettings
from builders.sources import BoxRow, Frame, Rejected
from lmdb_reid import codec
from lmdb_reid.errors import ImageError
from lmdb_reid.schema import NO_LABEL, Box, Size

Pixels = npt.NDArray[np.uint8]
Numbers = Mapping[str, float]
"""The derived numbers of a sample, by column."""

NO_ORDER = -1
"""The source order of a negative: it stands on no row of the source, and comes after all."""


class Cut(NamedTuple):
    """One sample of a frame, before its pixels are looked at."""

    id: str
    box: Box | None
    """What to cut, as the source has it; None is the whole picture."""
    expand: float
    """What the box is multiplied by."""
    record: dict[str, Any]
    order: int
    """The sample's place in the source's own order."""

    def area(self, size: Size, crop_size: Size | None) -> float:
        """Pixels of the crop, from a frame of `size`, (height, width)."""
        if crop_size is not None:
            return crop_size[0] * crop_size[1]
        box = Box(0, 0, size[1], size[0]) if self.box is None else self.box
        return box.grown(self.expand).clipped(size).area


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """What comes of one frame."""

    key: str
    stamp: Stamp = ()
    size: Size | None = None
    """(height, width) in pixels; None where the picture cannot be used."""
    cuts: Sequence[Cut] = ()
    """Its samples, ascending by id."""
    images: Sequence[bytes] = ()
    """The JPEG of each; none at all in a dry run."""
    derived: Sequence[Numbers] = ()
    """The derived numbers of each, or none at all."""
    skipped: list[Rejected] = field(default_factory=list)
    given_up: int = 0
    """Places for negatives that none was found for."""


class FrameCutter:
    """Cuts all samples of a frame, people and negatives, in one pass over its pixels.

    Args:
        medium: where the pixels are.
        settings: what to cut.
        negatives: the negatives of each frame.
        derived: numbers to compute from each crop.
    """

    def __init__(
        self,
        medium: Medium,
        settings: BuildSettings,
        negatives: Negatives,
        derived: Sequence[Derived] = (),
    ) -> None:
        self._medium = medium
        self._settings = settings
        self._negatives = negatives
        self._derived = derived

    def cut(
        self, frame: Frame, picture: Picture, nearby: NearbyNegatives | None = None
    ) -> FrameResult:
        """Read, decode and cut one frame. Where its picture cannot be used it gives no samples, and
        its rows are skipped.

        Args:
            frame: what to cut.
            picture: its pixels, or the bytes of its file.
            nearby: negatives of its neighbours and its own (default: drawn for it alone).

        Raises:
            SourceReadError: the picture cannot be read now.
        """
        stamp = self._medium.stamp(frame.key)
        try:
            data = picture()
            info = codec.probe(data) if isinstance(data, bytes) else None
            size = _size_of(data, info)
            cuts, skipped, given_up = self._cuts(frame, size, nearby)
            images, derived = self._crops(cuts, data, info, size)
        except ImageError as error:
            return self._unusable(frame, stamp, error)
        return FrameResult(
            key=frame.key,
            stamp=stamp,
            size=size,
            cuts=cuts,
            images=images,
            derived=derived,
            skipped=skipped,
            given_up=given_up,
        )

    def plan(self, frame: Frame, nearby: NearbyNegatives | None = None) -> FrameResult:
        """What `cut` would give, from the picture's header: everything but the pixels.

        Raises:
            SourceReadError: the picture cannot be read now.
        """
        try:
            size = self._medium.size(frame.key)
        except ImageError as error:
            return self._unusable(frame, (), error)
        cuts, skipped, given_up = self._cuts(frame, size, nearby)
        return FrameResult(key=frame.key, size=size, cuts=cuts, skipped=skipped, given_up=given_up)

    def _cuts(
        self, frame: Frame, size: Size, nearby: NearbyNegatives | None
    ) -> tuple[list[Cut], list[Rejected], int]:
        frame = frame.in_pixels(size)
        (negatives,) = (
            self._negatives([frame], [size]) if nearby is None else [nearby.of(frame, size)]
        )
        name = self._medium.name(frame.key)
        cuts, skipped = cuts_of(frame, size, negatives, expand=self._settings.expand, name=name)
        return cuts, skipped, max(0, self._negatives.slots(frame) - len(negatives))

    def _crops(
        self, cuts: Sequence[Cut], data: bytes | Pixels, info: codec.SourceInfo | None, size: Size
    ) -> tuple[list[bytes], list[Numbers]]:
        """The JPEG of each sample, and the derived numbers of each."""
        settings = self._settings
        kept = None
        if isinstance(data, bytes):
            if info is not None and info.plain and settings.size in (None, size):
                kept = data  # a crop that is a file already stays as it is, byte for byte
            if kept and cuts and not self._derived and all(one.box is None for one in cuts):
                return [kept] * len(cuts), []
            data = codec.read_source(data, info, codec.scratch(size[0] * size[1] * 3))
        images: list[bytes] = []
        derived: list[Numbers] = []
        for one in cuts:
            crop = cut(data, one.box, expand=one.expand, size=settings.size)
            assert crop is not None  # those outside are no cuts
            if kept is not None and one.box is None:
                images.append(kept)
            else:
                images.append(codec.encode(crop, quality=settings.quality))
            if self._derived:
                derived.append({each.name: each.of(crop) for each in self._derived})
        return images, derived

    def _unusable(self, frame: Frame, stamp: Stamp, error: ImageError) -> FrameResult:
        name = self._medium.name(frame.key)
        skipped = [Rejected(row.where or name, frame.key, f"{name}: {error}") for row in frame.rows]
        return FrameResult(key=frame.key, stamp=stamp, skipped=skipped)


def cuts_of(
    frame: Frame, size: Size, negatives: Sequence[Negative], *, expand: float, name: str
) -> tuple[list[Cut], list[Rejected]]:
    """Every sample of a frame, ascending by id, and the rows that lie outside it.

    Args:
        frame: its rows.
        size: (height, width) of the frame.
        negatives: of this frame; they are not grown.
        expand: what the boxes of rows are multiplied by.
        name: what people call the frame's picture.
    """
    cuts: list[Cut] = []
    skipped: list[Rejected] = []
    for row in frame.rows:
        if row.box is not None and _is_outside(row.box, size):
            skipped.append(Rejected(row.where or name, frame.key, outside(row.box, size)))
            continue
        grown = 1.0 if row.box is None else expand
        cuts.append(Cut(sample_id(frame, row), row.box, grown, _record(frame, row), row.order))
    for negative in negatives:
        if _is_outside(negative.box, size):  # it comes from a csv: those that are made lie inside
            where = f"negatives csv line {negative.line}"
            skipped.append(Rejected(where, frame.key, outside(negative.box, size)))
            continue
        cuts.append(Cut(negative.id, negative.box, 1.0, _negative(frame, negative), NO_ORDER))
    cuts.sort(key=lambda one: one.id.encode())  # sealing is faster for rows in order
    return cuts, skipped


def cut(
    frame: Pixels, box: Box | None, *, expand: float = 1.0, size: Size | None = None
) -> Pixels | None:
    """The part of a frame inside a box, uint8 [h, w, 3].

    The box is grown by `expand` about its centre, clipped to the frame, and resized to `size`
    (height, width) unless that is None; no box is the whole frame. The result may be a view of the
    frame.

    Returns:
        None where the box itself (before it is grown) lies wholly outside the frame.
    """
    if box is not None:
        height, width = frame.shape[:2]
        if _is_outside(box, (height, width)):
            return None
        x0, y0, x1, y1 = box.grown(expand).pixels((height, width))
        frame = frame[y0:y1, x0:x1]
    return frame if size is None else codec.resize(frame, size)


def outside(box: Box, size: Size) -> str:
    """Why a box that lies wholly outside its frame of (height, width) cannot be used."""
    return (
        f"the box x={box.x:g} y={box.y:g} w={box.w:g} h={box.h:g} is outside"
        f" the {size[1]}x{size[0]} frame"
    )


def _size_of(data: bytes | Pixels, info: codec.SourceInfo | None) -> Size:
    if info is not None:
        return info.height, info.width
    assert isinstance(data, np.ndarray)
    return data.shape[0], data.shape[1]


def _is_outside(box: Box, size: Size) -> bool:
    x, y, w, h = box
    if 0 <= x < x + w <= size[1] and 0 <= y < y + h <= size[0]:  # most lie wholly inside
        return False
    inside = box.clipped(size)
    return inside.w <= 0 or inside.h <= 0


def _record(frame: Frame, row: BoxRow) -> dict[str, Any]:
    box = {} if row.box is None else _box_fields(row.box)
    return {"label": row.label, "kind": int(row.kind), **frame.fields, **box, **row.fields}


def _negative(frame: Frame, negative: Negative) -> dict[str, Any]:
    kind = int(negative.kind)
    return {"label": NO_LABEL, "kind": kind, **frame.fields, **_box_fields(negative.box)}


def _box_fields(box: Box) -> dict[str, float]:
    x, y, w, h = map(whole, box)
    return {"x": x, "y": y, "w": w, "h": h}
