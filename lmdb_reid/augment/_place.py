"""Geometry and erasing on bytes in host memory, right behind the decoder.

Fast where the pixels are still in a cache: decode (or gather) a span of pictures into their slots,
then `place` them there, in place. Between two decodings as few calls as can be hand over the
interpreter's lock: a shift is one memory move under the lock (4 us of 98 kB in the cache), and
neighbours that are both mirrored are one call of OpenCV's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmdb_reid.augment._draws import Draws
from lmdb_reid.augment._erase import erase_bytes
from lmdb_reid.errors import MissingExtraError, UsageError

try:
    import cv2
except ImportError:  # a recipe that neither flips nor warps does without it
    cv2 = None  # type: ignore[assignment]  # the module's name doubles as the flag

Pixels = npt.NDArray[np.uint8]

CHUNK = 32
"""Pictures to decode and then place, at least. After a decoding Python runs out of cold caches and
takes six to nine times as long: a call that has nothing to do costs some 60 us. From 32 on more
gain nothing; pictures of 256x128 are 3 MB then, in the last cache."""


def place(
    out: Pixels,
    draws: Draws,
    first: int = 0,
    *,
    pixels: Pixels | Sequence[Pixels] | None = None,
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
    flips = draws.flip[span].tolist()
    shifts = draws.shift[span].tolist()
    warped = None if draws.warped is None else draws.warped[span].tolist()
    for slot in np.flatnonzero(warped).tolist() if warped else ():
        _warp(pixels, out, slot, draws, first + slot)
        flips[slot], shifts[slot] = False, (0, 0)
    if pixels is not None:
        _fetch(pixels, out, shifts, flips, skip=warped)
    _mirror(out, flips)
    for picture, (down, right) in zip(out, shifts, strict=True):
        if down or right:
            if pixels is None:
                _shift(picture, down, right)
            _blacken(picture, down, right)
    if not draws.erases_late if erase is None else erase:
        erase_bytes(out, draws, first)


def _fetch(
    pixels: Pixels | Sequence[Pixels],
    out: Pixels,
    shifts: Sequence[Sequence[int]],
    flips: Sequence[bool],
    *,
    skip: Sequence[bool] | None,
) -> None:
    """Copy each picture to its slot, shifted on the way; one to be mirrored, the other way."""
    size, line = out[0].size, out.shape[2] * 3
    to = out.reshape(-1).data
    for slot, (down, right) in enumerate(shifts):
        if skip is not None and skip[slot]:
            continue
        at, by = slot * size, down * line + (-right if flips[slot] else right) * 3
        source = pixels[slot].reshape(-1).data
        if 0 <= by < size:
            to[at + by : at + size] = source[: size - by]
        elif -size < by < 0:
            to[at : at + size + by] = source[-by:]


def _shift(picture: Pixels, down: int, right: int) -> None:
    """Move a picture in its slot, in flat memory: what so comes from the end of the line before
    stands where the border will be black.
    """
    lines, by = picture.reshape(-1).data, (down * picture.shape[1] + right) * 3
    size = len(lines)
    # Slicing a memoryview copies under the lock, as memmove does; NumPy would let go of it.
    if 0 < by < size:
        lines[by:] = lines[: size - by]
    elif -size < by < 0:
        lines[: size + by] = lines[-by:]


def _mirror(out: Pixels, flips: Sequence[bool]) -> None:
    """Mirror pictures, left to right; neighbours together, as one tall picture."""
    _, height, width, _ = out.shape
    tall = out.reshape(-1, width, 3)
    stop = 0
    while True in flips[stop:]:
        start = flips.index(True, stop)
        stop = flips.index(False, start) if False in flips[start:] else len(flips)
        lines = tall[start * height : stop * height]
        cv2.flip(lines, 1, lines)


def _blacken(picture: Pixels, down: int, right: int) -> None:
    """The borders that a shifted picture left."""
    if right > 0:
        picture[:, :right] = 0
    elif right < 0:
        picture[:, right:] = 0
    if down > 0:
        picture[:down] = 0
    elif down < 0:
        picture[down:] = 0


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
