"""libjpeg-turbo through PyTurboJPEG 2 and a libturbojpeg 3 of the system's; used only where it is
asked for.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmdb_reid.errors import MissingExtraError

try:
    import turbojpeg
except ImportError as error:
    raise MissingExtraError.of("PyTurboJPEG", "turbojpeg", "LMDB_REID_CODEC=pyturbojpeg") from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from lmdb_reid.codec._pixels import Buffer, Subsampling
    from lmdb_reid.schema import Pixels, Size

# The decoder's recoverable faults come as warnings of that module; here they are errors.
warnings.filterwarnings("error", module="turbojpeg")

_SPACES = {0: "RGB", 1: "YCbCr", 2: "Gray", 3: "CMYK", 4: "YCCK"}  # TJCS_*
_LIBRARIES = ("libturbojpeg.so.0", "libturbojpeg.dylib")
_SUBSAMPLING = {0: "444", 1: "422", 2: "420", 3: "Gray", 4: "440", 5: "411"}  # TJSAMP_*


class PyTurboJpeg:
    """The binding over the system's library."""

    id = "pyturbojpeg"

    def __init__(self) -> None:
        path = _library()
        where = path or "the system's libturbojpeg"
        try:
            self._turbo = turbojpeg.TurboJPEG(path)
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise MissingExtraError(
                f"LMDB_REID_CODEC=pyturbojpeg needs libturbojpeg 3, and {where} is another"
                f" version: {reason} Debian and Ubuntu ship 2.1.5. docs/codec.md describes how to"
                " install version 3. Set LMDB_REID_TURBOJPEG to the path of its library file"
            ) from None
        self.name = f"PyTurboJPEG {version('PyTurboJPEG')} ({where})"

    def header(self, data: Buffer) -> tuple[int, int, str, str]:
        """(height, width, colour space, subsampling)."""
        try:
            width, height, subsampling, space = self._turbo.decode_header(data)
        except (OSError, Warning) as error:
            raise ValueError(str(error)) from None
        return height, width, _SPACES.get(space, "?"), _SUBSAMPLING.get(subsampling, "?")

    def scaled(self, data: Buffer, size: Size) -> Size:
        """(height, width) that `decode` gives for the same `size`."""
        height, width, _, _ = self.header(data)
        above, below = _scale(height, width, size)
        return -(-height * above // below), -(-width * above // below)

    def decode(self, data: Buffer, out: Pixels, fast_dct: bool, size: Size | None) -> Size:
        """See `SimpleJpeg.decode`."""
        height, width, _, _ = self.header(data)
        scale = _scale(height, width, size) if size else (1, 1)
        flags = turbojpeg.TJFLAG_FASTDCT | turbojpeg.TJFLAG_FASTUPSAMPLE if fast_dct else 0
        try:
            made = self._turbo.decode(
                data, pixel_format=turbojpeg.TJPF_RGB, flags=flags, dst=out, scaling_factor=scale
            )
        except (OSError, Warning) as error:
            raise ValueError(str(error)) from None
        if made.size > out.size:
            raise ValueError("the buffer is too small")
        if not np.shares_memory(made, out):
            out.reshape(-1)[: made.size] = made.reshape(-1)
        return made.shape[0], made.shape[1]

    def decode_cmyk(self, data: Buffer) -> npt.NDArray[np.uint8]:
        """See `SimpleJpeg.decode_cmyk`."""
        try:
            made: npt.NDArray[np.uint8] = self._turbo.decode(data, pixel_format=turbojpeg.TJPF_CMYK)
        except (OSError, Warning) as error:
            raise ValueError(str(error)) from None
        return made

    def decode_each(
        self, data: Sequence[Buffer], outs: Sequence[Pixels], fast_dct: bool
    ) -> list[int]:
        """See `SimpleJpeg.decode_each`."""
        failed = []
        for at, (jpeg, out) in enumerate(zip(data, outs, strict=True)):
            try:
                found = self.decode(jpeg, out, fast_dct, None)
            except ValueError:
                failed.append(at)
                continue
            if found != out.shape[:2]:
                failed.append(at)
        return failed

    def encode(self, image: Pixels, quality: int, subsampling: Subsampling) -> bytes:
        """A baseline JPEG."""
        codes = {name: code for code, name in _SUBSAMPLING.items()}
        try:
            encoded: bytes = self._turbo.encode(
                image,
                quality=quality,
                pixel_format=turbojpeg.TJPF_RGB,
                jpeg_subsample=codes[subsampling],
            )
        except (OSError, Warning) as error:
            raise ValueError(str(error)) from None
        return encoded


def _library() -> str | None:
    """The library that is asked for, or that of a conda environment, which PyTurboJPEG does not
    look into; None leaves the search to it.
    """
    given = os.environ.get("LMDB_REID_TURBOJPEG")
    if given:
        return given
    there = (Path(sys.prefix, "lib", name) for name in _LIBRARIES)
    return next((str(path) for path in there if path.exists()), None)


def _scale(height: int, width: int, size: Size) -> tuple[int, int]:
    """The smallest DCT scale up to 1/2 that leaves both sides as long as those of `size`, or 1."""
    for above, below in ((1, 8), (1, 4), (3, 8), (1, 2)):
        if -(-height * above // below) >= size[0] and -(-width * above // below) >= size[1]:
            return above, below
    return 1, 1
