"""The one resizer: antialiased bilinear."""

from __future__ import annotations

from typing import cast

import numpy as np

from lmdb_reid.errors import ImageError, MissingExtraError
from lmdb_reid.schema import Pixels, Size

try:
    import cv2
except ImportError:  # reading a store at its own size needs no resizer
    cv2 = None  # type: ignore[assignment]  # the module's name doubles as the flag


def resize(image: Pixels, size: Size, out: Pixels | None = None) -> Pixels:
    """`image` at another size.

    An axis that shrinks is averaged over the source area of each pixel (no aliasing); one that
    grows is interpolated linearly, with pixel centres at halves (OpenCV's INTER_AREA and
    INTER_LINEAR).

    Args:
        image: uint8 [H, W, 3]; a strided view (a crop of a frame) is read where it lies.
        size: (height, width) wanted.
        out: where to write, uint8 of `size` + (3,); C-contiguous.

    Returns:
        uint8 [height, width, 3]: `out`, or a new array, or `image` itself if it has that size and
        `out` is None.

    Raises:
        ImageError: an empty image or size, or an `out` that does not fit.
        MissingExtraError: OpenCV is not installed.
    """
    height, width = size
    if (
        image.ndim != 3
        or image.shape[2] != 3
        or image.dtype != np.uint8
        or image.size == 0
        or height < 1
        or width < 1
    ):
        raise ImageError(f"cannot resize {image.dtype} {image.shape} to {height}x{width}")
    wanted = (height, width, image.shape[2])
    if out is not None and not (
        out.shape == wanted and out.dtype == np.uint8 and out.flags.c_contiguous
    ):
        raise ImageError(
            f"{height}x{width} pixels do not fit the given array: {out.dtype} {out.shape},"
            f" {'' if out.flags.c_contiguous else 'not '}contiguous"
        )
    if image.shape[:2] == (height, width):
        if out is None:
            return image
        out[...] = image
        return out
    if cv2 is None:
        raise MissingExtraError.of("OpenCV", "resize", "changing the size of images")
    rows, columns = image.shape[:2]
    if (rows > height) != (columns > width) and rows != height and columns != width:
        # One axis shrinks and the other grows: OpenCV would interpolate both, and alias
        # the one that shrinks.
        shrunk = (min(columns, width), min(rows, height))
        image = cast(Pixels, cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA))
        rows, columns = image.shape[:2]
    shrinks = rows >= height and columns >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cast(Pixels, cv2.resize(image, (width, height), dst=out, interpolation=method))
