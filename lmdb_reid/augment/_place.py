"""Geometry and erasing on bytes in host memory, right behind the decoder.

Fast where the pixels are still in a cache: decode a span of pictures where `landing` says, which
shifts three of four on the way, then `place` them there, in place. Pixels that lie in memory
already are copied to where they belong (`pixels=`). Between two decodings only mirroring hands
over the interpreter's lock, and neighbours that are both mirrored are one call of OpenCV's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.augment._draws import Draws
from lmdb_reid.augment._erase import erase_bytes
from lmdb_reid.augment._fill import fill_box
from lmdb_reid.errors import MissingExtraError, UsageError

try:
    import cv2
except ImportError:  # a recipe that neither flips nor warps does without it
    cv2 = None  # type: ignore[assignment]  # the module's name doubles as the flag

Pixels = npt.NDArray[np.uint8]

_BLACK = (0, 0, 0)
CHUNK = 128
"""Pictures to decode and then place, at most. After a decoding Python runs out of cold caches and
takes six to nine times as long, so few calls for many pictures gain more than pictures that lie in
a nearer cache: of 256x128 these are 13 MB, in the last one."""


class Landing(NamedTuple):
    """Where to write pictures, and in which order, so that most are shifted by that."""

    slots: list[int]
    """Which picture comes when."""
    outs: list[Pixels]
    """Where each of these is written, uint8 [H, W, 3]; they overlap, so the order counts."""
    is_shifted: list[bool]
    """Of each slot: whether its picture lies where its shift puts it."""


def landing(out: Pixels, draws: Draws, first: int = 0) -> Landing:
    """Where to decode the pictures of a span.

    A picture that is written some bytes after its slot's beginning is shifted: what so comes round
    from the line before stands where the border will be black. It covers the beginning of the next
    slot, whose picture is therefore written later; one that is written before its slot's beginning
    covers the end of the slot before, whose picture comes later, too. Of two neighbours that would
    cover each other, and at the ends of the span, one is written into its slot, and left to
    `place`.

    Args:
        out: as `place` takes it.
        draws: of a whole batch.
        first: place in `draws` of the first picture.

    Raises:
        UsageError: as `place`.
    """
    _check(None, out, draws, first)
    count, (height, width) = len(out), draws.size
    if not count:
        return Landing([], [], [])
    starts = draws.starts[first : first + count].tolist()
    slots: list[int] = []
    group, before = 0, 1  # nothing may be written before the span
    for slot, start in enumerate(starts):
        if start < 0 and before <= 0:
            before = start
            continue  # it comes before its neighbour
        before = starts[slot] = max(start, 0)
        slots += range(slot - 1, group - 1, -1)
        group = slot
    slots += range(count - 1, group - 1, -1)
    starts[-1] = min(starts[-1], 0)  # nor behind it
    # All places where a picture may begin: to index that takes a third of making a view.
    line, pixels = width * 3, height * width
    shape = (count - 1) * pixels + 1, height, width, 3
    views = np.ndarray(shape, np.uint8, out.data, 0, (3, line, 3, 1))
    outs = [views[slot * pixels + starts[slot]] for slot in slots]
    return Landing(slots, outs, [start != 0 for start in starts])


def place(
    out: Pixels,
    draws: Draws,
    first: int = 0,
    *,
    pixels: Pixels | Sequence[Pixels] | None = None,
    is_shifted: Sequence[bool] | None = None,
    erase: bool | None = None,
) -> None:
    """Mirror, shift, warp and erase pictures.

    Flip, shift and erasing give the same bytes on every machine. A warp is OpenCV's linear
    interpolation, black outside the picture.

    Args:
        out: where they go, uint8 [N, H, W, 3], C-contiguous.
        draws: of a whole batch.
        first: place in `draws` of the first picture.
        pixels: where they come from: uint8 [N, H, W, 3], or N arrays [H, W, 3], C-contiguous,
            that share no memory with `out`. None treats them where they are, in `out`.
        is_shifted: of each picture, whether it was written where `landing` said; none unless given.
        erase: whether to erase; None does unless the recipe has colour steps, which come before
            and leave that to `finish`.

    Raises:
        UsageError: arrays that do not fit each other or the draws.
        MissingExtraError: OpenCV is not installed, and a picture is mirrored or warped.
    """
    _check(pixels, out, draws, first)
    if not len(out):
        return
    span = slice(first, first + len(out))
    flips, shifts = draws.flip[span].tolist(), draws.shift[span].tolist()
    starts = draws.starts[span].tolist()
    warped = [False] * len(out) if draws.warped is None else draws.warped[span].tolist()
    erases = not draws.erases_late if erase is None else erase
    boxes = draws.erased[span].tolist() if erases and draws.fill is not None else None
    for run in _runs([flip and not bent for flip, bent in zip(flips, warped, strict=True)]):
        # All that is done to a picture is done while it lies in the cache.
        for slot in run:
            if warped[slot]:
                _warp(pixels, out, slot, draws, first + slot)
            elif pixels is not None:
                _copy(pixels[slot], out[slot], starts[slot] * 3)
            elif starts[slot] and not (is_shifted and is_shifted[slot]):
                _shift(out[slot], starts[slot] * 3)
        if flips[run[0]] and not warped[run[0]]:
            _mirror(out[run[0] : run[-1] + 1])
        for slot in run:
            if not warped[slot]:
                _blacken(out, slot, *shifts[slot])
            if boxes is not None and boxes[slot][2]:
                fill_box(out, slot, boxes[slot], draws.fill or _BLACK)
    if erases and boxes is None:
        erase_bytes(out, draws, first)


def _runs(flips: Sequence[bool]) -> Iterator[range]:
    """Neighbours that are all mirrored, or of which none is."""
    start = 0
    for slot in range(1, len(flips) + 1):
        if slot == len(flips) or flips[slot] != flips[start]:
            yield range(start, slot)
            start = slot


def _mirror(pictures: Pixels) -> None:
    """Mirror neighbours, left to right, as one tall picture."""
    lines = pictures.reshape(-1, pictures.shape[2], 3)
    cv2.flip(lines, 1, lines)


def _copy(source: Pixels, picture: Pixels, by: int) -> None:
    """Copy a picture to its slot, so many bytes further on in flat memory; see `_shift`."""
    to, pixels = picture.reshape(-1), source.reshape(-1)
    if by > 0:
        to[by:] = pixels[:-by]
    elif by < 0:
        to[:by] = pixels[-by:]
    else:
        to[:] = pixels


def _shift(picture: Pixels, by: int) -> None:
    """Move a picture in its slot by so many bytes, in flat memory: what so comes from the end of
    the line before stands where the border will be black.
    """
    lines = picture.reshape(-1).data
    # Slicing a memoryview copies under the lock, as memmove does; NumPy would let go of it.
    if by > 0:
        lines[by:] = lines[:-by]
    else:
        lines[:by] = lines[-by:]


def _blacken(out: Pixels, slot: int, down: int, right: int) -> None:
    """The borders that a shifted picture left."""
    _, height, width, _ = out.shape
    if right:
        left = max(width + right, 0) if right < 0 else 0
        fill_box(out, slot, (0, left, height, left + abs(right)), _BLACK)
    if down:
        top = height + down if down < 0 else 0
        fill_box(out, slot, (top, 0, top + abs(down), width), _BLACK)


def _warp(
    pixels: Pixels | Sequence[Pixels] | None, out: Pixels, slot: int, draws: Draws, at: int
) -> None:
    """Interpolate one picture into its slot."""
    if draws.inverse is None:
        return
    source = out[slot].copy() if pixels is None else pixels[slot]
    inverse = draws.inverse[at]
    size = (out.shape[2], out.shape[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if np.array_equal(inverse[2], (0, 0, 1)):
        cv2.warpAffine(source, inverse[:2], size, dst=out[slot], flags=flags)
    else:
        cv2.warpPerspective(source, inverse, size, dst=out[slot], flags=flags)


def _check(pixels: Pixels | Sequence[Pixels] | None, out: Pixels, draws: Draws, first: int) -> None:
    wanted = (len(out), *draws.size, 3)
    if out.shape != wanted or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise UsageError(
            f"out must be C-contiguous uint8 [N, {draws.size[0]}, {draws.size[1]}, 3], got"
            f" {out.dtype} {out.shape}."
        )
    if first < 0 or first + len(out) > len(draws):
        raise UsageError(
            f"first must leave {len(out)} pictures within the {len(draws)} drawn, got {first}."
        )
    if (draws.warped is not None or draws.flip.any()) and cv2 is None:
        raise MissingExtraError.of("OpenCV", "resize", "augmenting pictures")
    if pixels is None:
        return
    if len(pixels) != len(out) or any(
        part.shape != wanted[1:] or part.dtype != np.uint8 or not part.flags.c_contiguous
        for part in pixels
    ):
        raise UsageError(f"pixels must be C-contiguous uint8 of the same shape as out, {wanted}.")
