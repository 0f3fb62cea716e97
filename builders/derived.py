"""Numbers computed from a crop while it is cut: columns of the store that no record has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lmdb_reid import codec
from lmdb_reid.errors import UsageError

Pixels = npt.NDArray[np.uint8]

_HASH_SIDE, _LOW = 32, 8


class Derived(Protocol):
    """A number of a crop.

    Laws: `of` is a pure function of the pixels, may be called by many threads, and leaves the
    pixels as they are.
    """

    name: str
    """What the column is called: [A-Za-z0-9_]{1,64}."""
    dtype: str
    """The column's, little-endian: "<i8" or "<f8"."""

    def of(self, crop: Pixels) -> int | float:
        """The number of a crop, uint8 [H, W, 3] RGB before it is encoded."""
        ...


class PHash:
    """A perceptual hash of 64 bits, as int64: crops that look alike differ in few bits.

    The luma, 32x32, is transformed by a DCT-II; bit i, from the most significant on, is whether
    coefficient i of the lowest 8x8, row by row, is above their median. (C. Zauner, "Implementation
    and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1, with the median of
    all 64 as in the library imagehash.)
    """

    name, dtype = "phash", "<i8"

    def of(self, crop: Pixels) -> int:
        """The hash."""
        luma = _luma(codec.resize(crop, (_HASH_SIDE, _HASH_SIDE)))
        # Not by @: a BLAS with threads of its own is slow beside a build's.
        rows = np.einsum("ui,ij->uj", _COSINES, luma.astype(np.float64))
        low = np.einsum("uj,vj->uv", rows, _COSINES).ravel()
        bits = np.packbits(low > np.median(low))
        return int.from_bytes(bits.tobytes(), signed=True)


class Blur:
    """How sharp a crop is: the variance of the Laplacian of its luma, in squared grey levels. A
    blurred crop has a low one.

    (J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative
    study", ICPR 2000; the kernel is 0 1 0, 1 -4 1, 0 1 0, without the outermost pixels.)
    """

    name, dtype = "blur", "<f8"

    def of(self, crop: Pixels) -> float:
        """The variance; 0.0 of a crop without inner pixels."""
        luma = _luma(crop)
        edges = luma[1:-1, 1:-1] * np.int16(-4)  # at most 1,020 either way
        if not edges.size:
            return 0.0
        for neighbours in (luma[:-2, 1:-1], luma[2:, 1:-1], luma[1:-1, :-2], luma[1:-1, 2:]):
            edges += neighbours
        total = int(edges.sum(dtype=np.int64))
        squares = int(np.square(edges, dtype=np.int32).sum(dtype=np.int64))
        # Of whole numbers, so that every machine finds the same.
        return (squares * edges.size - total * total) / edges.size**2


def _luma(image: Pixels) -> npt.NDArray[np.int16]:
    """Grey levels 0 to 255 by the weights of ITU-R BT.601, in 256ths, as JPEG has them."""
    red, green, blue = (image[:, :, channel].astype(np.uint16) for channel in range(3))
    weighted = red * np.uint16(77) + green * np.uint16(150) + blue * np.uint16(29)
    luma: npt.NDArray[np.int16] = (weighted >> np.uint16(8)).astype(np.int16)
    return luma


def _cosines() -> npt.NDArray[np.float64]:
    """The first 8 rows of the DCT-II of 32 numbers, unscaled: scale does not move a median."""
    rows, columns = np.arange(_LOW)[:, None], np.arange(_HASH_SIDE)[None]
    cosines: npt.NDArray[np.float64] = np.cos(np.pi * rows * (2 * columns + 1) / (2 * _HASH_SIDE))
    return cosines


_COSINES = _cosines()
_DERIVED: dict[str, Any] = {each.name: each for each in (PHash, Blur)}
DERIVED_NAMES = tuple(_DERIVED)


def derived_columns(names: Sequence[str]) -> tuple[Derived, ...]:
    """The derived columns of these names.

    Raises:
        UsageError: there is none of a name, or a name stands twice.
    """
    for at, name in enumerate(names):
        if name not in _DERIVED:
            raise UsageError(f"derive must be of {', '.join(_DERIVED)}, got {name!r}")
        if name in names[:at]:
            raise UsageError(f"derive must have each name once, got {name!r} twice")
    return tuple(_DERIVED[name]() for name in names)
