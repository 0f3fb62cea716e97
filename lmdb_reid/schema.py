"""Samples, boxes and their geometry: the vocabulary that everything above shares.

A box is `(x, y, w, h)` in pixels, top-left corner first, as the csv files give it. All geometry is
in floats; pixels are reached once, by `Box.pixels`.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid._names import unknown_name
from lmdb_reid.errors import InvalidSampleError, UsageError

Size = tuple[int, int]
"""(height, width) in pixels."""
DEFAULT_SIZE: Size = (256, 128)
"""What crops are resized to, unless another size is given."""
Rows = npt.NDArray[np.int64]
"""Rows of a store, or positions in a dataset: int64 [N]."""
Pixels = npt.NDArray[np.uint8]
"""uint8 [H, W, 3], RGB, or many of them [B, H, W, 3]."""
Boxes = npt.NDArray[np.float64]
"""Boxes in rows of (x, y, w, h) [N, 4]."""
Points = npt.NDArray[np.float64]
"""Points, or sizes, in rows of (x, y) [N, 2]."""

MAX_ID_BYTES = 511  # LMDB's default limit on a key
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Kinds(enum.EnumMeta):
    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(cls, name: str) -> Any:
            raise unknown_name(cls.__name__, name, list(cls.__members__), _KIND_ANSWERS)


_KIND_ANSWERS = {"PLAYER": "Use Kind.PERSON.", "NEGATIVE": "Use Kind.BACKGROUND or Kind.PARTIAL."}


class Kind(enum.IntEnum, metaclass=_Kinds):
    """What a sample shows. Stored as uint8."""

    PERSON = 0
    BACKGROUND = 1
    PARTIAL = 2
    JUNK = 3
    DISTRACTOR = 4

    @property
    def title(self) -> str:
        """The name in lower case, as reports print it."""
        return self.name.lower()


NO_LABEL = -1
"""Label of every background, partial and junk sample, and of a person whose identity is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Which columns say who a sample shows, where and when.

    What works by identity, camera, group or time asks for roles, never for a layout's names.
    """

    identity: str = "label"
    """The number of the identity."""
    camera: str | None = None
    """The camera."""
    group: tuple[str, ...] = ()
    """Samples that belong together, such as those of one game: identities hold within it, and
    splits keep it whole.
    """
    time: tuple[str, ...] = ()
    """The order of the frames of a group, the most significant column first."""
    split: str | None = None
    """The part that the source puts a sample in: train, query, gallery."""
    track: str | None = None
    """The track: one identity seen by one camera without a break."""


class Box(NamedTuple):
    """A rectangle in pixels of its frame: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float

    @property
    def area(self) -> float:
        """Width times height, in square pixels."""
        return self.w * self.h

    def grown(self, ratio: float) -> Box:
        """The box with both sides multiplied by `ratio` about its centre."""
        w, h = self.w * ratio, self.h * ratio
        return Box(self.x + (self.w - w) / 2, self.y + (self.h - h) / 2, w, h)

    def clipped(self, size: Size) -> Box:
        """The part inside an image of (height, width); width or height is 0 where nothing is."""
        height, width = size
        x0, y0 = min(max(self.x, 0.0), width), min(max(self.y, 0.0), height)
        x1, y1 = min(max(self.x + self.w, 0.0), width), min(max(self.y + self.h, 0.0), height)
        return Box(x0, y0, x1 - x0, y1 - y0)

    def pixels(self, size: Size) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1): the whole pixels of an image of (height, width) that stand for this
        box.

        Each edge is rounded to the nearest pixel border (halves up) and clipped. An empty result
        has x1 <= x0 or y1 <= y0; a box that lies inside the image but rounds to nothing keeps one
        pixel.
        """
        height, width = size
        inside = self.clipped(size)
        if inside.w <= 0 or inside.h <= 0:
            return 0, 0, 0, 0
        x0, y0 = math.floor(inside.x + 0.5), math.floor(inside.y + 0.5)
        x1, y1 = math.floor(inside.x + inside.w + 0.5), math.floor(inside.y + inside.h + 0.5)
        x0, y0 = min(x0, width - 1), min(y0, height - 1)
        return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 0.0 where either has no area."""
    ax, ay, aw, ah = a
    bx, by, bw, bh = b
    w = min(ax + aw, bx + bw) - max(ax, bx)
    h = min(ay + ah, by + bh) - max(ay, by)
    if w <= 0 or h <= 0:
        return 0.0
    common = w * h
    return common / (aw * ah + bw * bh - common)


def corners(boxes: Boxes, extents: Points) -> tuple[Points, Points]:
    """`Box.clipped` of many: (x0, y0) and (x1, y1), each [N, 2], of the parts of boxes [N, 4]
    inside images of (width, height) [N, 2].
    """
    starts = np.clip(boxes[:, :2], 0, extents)
    stops = np.clip(boxes[:, :2] + boxes[:, 2:], 0, extents)
    return starts, stops


def ious(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """`iou` of many, pair by pair [N]; 0 where either has no area, NaN where a side is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):  # of boxes larger than any picture
        common = _common(one, other)
        areas = one[:, 2] * one[:, 3] + other[:, 2] * other[:, 3]
    return _quotients(common, areas - common)


def shown_shares(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """How much of `other` lies in `one`, of its own area, pair by pair [N]; 0 where none does."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _quotients(_common(one, other), other[:, 2] * other[:, 3])


def _common(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """The area that two boxes share, pair by pair [N]."""
    stops = np.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    sides = np.maximum(stops - np.maximum(one[:, :2], other[:, :2]), 0)
    common: npt.NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return common


def _quotients(
    part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    quotients: npt.NDArray[np.float64] = np.divide(
        part, whole, out=np.zeros_like(part), where=part != 0
    )
    return quotients


def check_id(sample_id: str) -> bytes:
    """The key of a sample id: its utf-8 bytes.

    Raises:
        InvalidSampleError: the id is empty, longer than 511 bytes, has a control character or
            cannot be utf-8.
    """
    if not isinstance(sample_id, str):
        raise InvalidSampleError(
            f"a sample id must be a str, got {type(sample_id).__name__}: {sample_id!r}"
        )
    try:
        key = sample_id.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidSampleError(
            f"sample id {sample_id!r} cannot be written as utf-8: {error}"
        ) from None
    if not 1 <= len(key) <= MAX_ID_BYTES:
        raise InvalidSampleError(
            f"a sample id must have 1 to {MAX_ID_BYTES} bytes, got {len(key)}: {sample_id[:80]!r}"
        )
    if not sample_id.isprintable() and _CONTROL.search(sample_id):  # printable ones have none
        raise InvalidSampleError(f"sample id {sample_id!r} has a control character")
    return key


def check_ids(sample_ids: Sequence[str]) -> None:
    """`check_id` of many, in a fraction of the time where all are good and none is long."""
    if max(map(len, sample_ids), default=0) > MAX_ID_BYTES // 4 or not (
        all(sample_ids) and "".join(sample_ids).isprintable()
    ):
        for sample_id in sample_ids:
            check_id(sample_id)


def parse_size(text: str) -> Size | None:
    """(height, width) of "256x128", or None for "native".

    Raises:
        UsageError: anything else.
    """
    if text == "native":
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or not all(int(side) for side in match.groups()):
        raise UsageError(f'size must be HEIGHTxWIDTH, such as 256x128, or "native", got {text!r}')
    return int(match[1]), int(match[2])


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}


def parse_bytes(text: str) -> int:
    """How many bytes "1GB", "500 MB" or "1.5GiB" are; k, M, G and T are powers of 1,000.

    Raises:
        UsageError: anything else, or less than one byte.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    unit = match[2].lower() if match else None
    factor = (_UNITS | _BINARY_UNITS).get(unit) if unit is not None else None
    if match is None or factor is None or float(match[1]) * factor < 1:
        raise UsageError(
            f'a size must be a number and a unit, such as "1GB" or "500MiB"; got {text!r}'
        )
    return int(float(match[1]) * factor)
