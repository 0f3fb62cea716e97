"""libjpeg-turbo through simplejpeg, whose wheel carries the library."""

from __future__ import annotations

import re
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import simplejpeg
from simplejpeg import _jpeg

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from lmdb_reid.codec._pixels import Buffer, Subsampling
    from lmdb_reid.schema import Pixels, Size

_VERSION = re.compile(rb"libjpeg-turbo version (\d+(?:\.\d+)+)")
_SHRINK = 2  # scales between 1/2 and 1 take longer than they save


class SimpleJpeg:
    """The default binding."""

    id = "simplejpeg"

    @cached_property
    def name(self) -> str:
        """The binding and its library, each with its version."""
        found = _VERSION.search(Path(_jpeg.__file__).read_bytes())
        library = found[1].decode() if found else "of an unknown version"
        return f"simplejpeg {version('simplejpeg')} (libjpeg-turbo {library} in its wheel)"

    def header(self, data: Buffer) -> tuple[int, int, str, str]:
        """(height, width, colour space, subsampling)."""
        height, width, colorspace, subsampling = simplejpeg.decode_jpeg_header(data)
        return height, width, colorspace, subsampling

    def scaled(self, data: Buffer, size: Size) -> Size:
        """(height, width) that `decode` gives for the same `size`."""
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, *size, _SHRINK)
        return height, width

    def decode(self, data: Buffer, out: Pixels, fast_dct: bool, size: Size | None) -> Size:
        """Decode into the memory of `out`, scaled for `size`; returns (height, width) of what came.

        Warnings of the decoder raise, as does a picture that needs more memory.
        """
        # By position: colour space, fast DCT, fast upsampling, least height and width, least
        # factor, buffer, strict. By name they would take 1.6 us to sort out.
        if size is None:
            made = simplejpeg.decode_jpeg(data, "RGB", fast_dct, fast_dct, 0, 0, 1, out, True)
        else:
            made = simplejpeg.decode_jpeg(
                data, "RGB", fast_dct, fast_dct, *size, _SHRINK, out, True
            )
        shape: Size = made.shape[:2]
        return shape

    def decode_cmyk(self, data: Buffer) -> npt.NDArray[np.uint8]:
        """The four planes as they are, [H, W, 4]; warnings raise."""
        made: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "CMYK", strict=True)
        return made

    def decode_each(
        self, data: Sequence[Buffer], outs: Sequence[Pixels], fast_dct: bool
    ) -> list[int]:
        """Decode each into its array; returns the positions of those that do not become whole."""
        failed = []
        decode = simplejpeg.decode_jpeg
        for at, (jpeg, out) in enumerate(zip(data, outs, strict=True)):
            try:
                made = decode(jpeg, "RGB", fast_dct, fast_dct, 0, 0, 1, out, True)
            except ValueError:
                failed.append(at)
                continue
            if made.shape != out.shape:
                failed.append(at)
        return failed

    def encode(self, image: Pixels, quality: int, subsampling: Subsampling) -> bytes:
        """A baseline JPEG."""
        encoded: bytes = simplejpeg.encode_jpeg(image, quality, "RGB", subsampling)
        return encoded
