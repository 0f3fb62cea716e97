"""Geometry and erasing on bytes in host memory, right behind the decoder.

Fast where the pixels are still in a cache: decode a span of pictures where `landing` says, which
shifts three of four on the way, then `place` them there, in place. Pixels that lie in memory
already are gathered (`gather`), which shifts all. Between two calls of either only mirroring hands
over the interpreter's lock, and neighbours that are both mirrored are one call of OpenCV's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.augment._draws import Draws
from lmdb_reid.augment._erase import erase_bytes
from lmdb_reid.augment._fill import Borders
from lmdb_reid.errors import MissingExtraError, UnknownRowError, UsageError
from lmdb_reid.schema import Rows

try:
    import cv2
except ImportError:  # a recipe that neither flips nor warps does without it
    cv2 = None  # type: ignore[assignment]  # the module's name doubles as the flag

Pixels = npt.NDArray[np.uint8]

CHUNK = 128
"""Pictures to decode and then place, at most. After a decoding Python runs out of cold caches and
takes six to nine times as long, so few calls for many pictures gain more than pictures that lie in
a nearer cache: of 256x128 these are 13 MB, in the last one."""


GATHER_CHUNK = 32
"""Pictures to gather and then place, at most: of 256x128 these are 3 MB, which stay in a near cache
until they are mirrored."""


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
    _check(out, draws, first)
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
    pixels, views = height * width, _everywhere(out)
    outs = [views[slot * pixels + starts[slot]] for slot in slots]
    return Landing(slots, outs, [start != 0 for start in starts])


def gather(pictures: Pixels, rows: Rows, out: Pixels, draws: Draws, first: int = 0) -> list[bool]:
    """Copy pictures that lie in memory, each from so many bytes before its beginning that it comes
    shifted, by one call that holds no lock.

    Args:
        pictures: uint8 [K, H, W, 3], C-contiguous.
        rows: which of them, int64 [N].
        out: as `place` takes it.
        draws: of a whole batch.
        first: place in `draws` of the first picture.

    Returns:
        Of each picture, whether it is shifted: `place` does the rest.

    Raises:
        UsageError: arrays that do not fit each other or the draws.
        UnknownRowError: a row outside 0..K-1.
    """
    _check(out, draws, first)
    if pictures.shape[1:] != out.shape[1:] or pictures.dtype != np.uint8:
        raise UsageError(
            f"pictures must be uint8 [K, {draws.size[0]}, {draws.size[1]}, 3], got {pictures.dtype}"
            f" {pictures.shape}."
        )
    if not pictures.flags.c_contiguous:
        raise UsageError("pictures must be C-contiguous.")
    if len(rows) != len(out):
        raise UsageError(f"rows must be {len(out)}, got {len(rows)}.")
    if not len(out):
        return []
    if rows.min() < 0 or rows.max() >= len(pictures):
        raise UnknownRowError(f"rows must be 0 to {len(pictures) - 1}.")
    starts = draws.starts[first : first + len(out)]
    pixels = draws.size[0] * draws.size[1]
    begins = rows * pixels - starts
    inside = (begins >= 0) & (begins <= (len(pictures) - 1) * pixels)
    begins = np.where(inside, begins, rows * pixels)
    views = _everywhere(pictures)
    sources = [views[begin] for begin in begins.tolist()]
    together, vconcat = out.reshape(-1, *out.shape[2:]), getattr(cv2, "vconcat", None)
    if vconcat is None:
        np.concatenate(sources, out=together)
    else:
        vconcat(sources, together)
    is_shifted: list[bool] = (inside & (starts != 0)).tolist()
    return is_shifted


def place(
    out: Pixels,
    draws: Draws,
    first: int = 0,
    *,
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
        is_shifted: of each picture, whether `landing` or `gather` shifted it (default: none).
        erase: whether to erase; None does unless the recipe has colour steps, which come before
            and leave that to `finish`.

    Raises:
        UsageError: arrays that do not fit each other or the draws.
        MissingExtraError: OpenCV is not installed, and a picture is mirrored or warped.
    """
    _check(out, draws, first)
    if not len(out):
        return
    span = slice(first, first + len(out))
    flips, shifts = draws.flip[span].tolist(), draws.shift[span].tolist()
    starts = draws.starts[span].tolist()
    warped = [False] * len(out) if draws.warped is None else draws.warped[span].tolist()
    mirrored = [flip and not bent for flip, bent in zip(flips, warped, strict=True)]
    for slot, start in enumerate(starts):
        if warped[slot]:
            _warp(out, slot, draws, first + slot)
        elif start and not (is_shifted and is_shifted[slot]):
            _shift(out[slot], start * 3)
    for run in _runs(mirrored):
        _mirror(out[run.start : run.stop])
    # What keeps the lock comes last and together: each time that OpenCV lets go of it, another
    # thread may take it, and to get it back then takes longer than a fill.
    borders = Borders(out)
    for slot, (down, right) in enumerate(shifts):
        if not warped[slot]:
            borders.blacken(slot, down, right)
    if not draws.erases_late if erase is None else erase:
        erase_bytes(out, draws, first)


def _everywhere(pictures: Pixels) -> Pixels:
    """The pictures that begin at each pixel of [K, H, W, 3], as [places, H, W, 3]: to index that
    takes a third of making a view.
    """
    count, height, width, _ = pictures.shape
    shape = (count - 1) * height * width + 1, height, width, 3
    return np.ndarray(shape, np.uint8, pictures.data, 0, (3, width * 3, 3, 1))


def _runs(mirrored: Sequence[bool]) -> Iterator[range]:
    """Neighbours that are all mirrored."""
    start = 0
    for slot, is_mirrored in enumerate([*mirrored, False]):
        if not is_mirrored:
            if start < slot:
                yield range(start, slot)
            start = slot + 1


def _mirror(pictures: Pixels) -> None:
    """Mirror neighbours, left to right, as one tall picture."""
    lines = pictures.reshape(-1, pictures.shape[2], 3)
    cv2.flip(lines, 1, lines)


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


def _warp(out: Pixels, slot: int, draws: Draws, at: int) -> None:
    """Interpolate one picture in its slot."""
    if draws.inverse is None:
        return
    source = out[slot].copy()
    inverse = draws.inverse[at]
    size = (out.shape[2], out.shape[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if np.array_equal(inverse[2], (0, 0, 1)):
        cv2.warpAffine(source, inverse[:2], size, dst=out[slot], flags=flags)
    else:
        cv2.warpPerspective(source, inverse, size, dst=out[slot], flags=flags)


def _check(out: Pixels, draws: Draws, first: int) -> None:
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
