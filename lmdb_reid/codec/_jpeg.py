"""JPEG bytes to pixels and back, by libjpeg-turbo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from lmdb_reid.codec._limits import MAX_PIXELS, check_jpeg, check_pixels, is_known
from lmdb_reid.codec._pixels import Buffer, Subsampling
from lmdb_reid.codec._scratch import scratch
from lmdb_reid.errors import ImageError, UsageError
from lmdb_reid.schema import Pixels, Size

_SUBSAMPLINGS = get_args(Subsampling)


class Header(NamedTuple):
    """What a JPEG says of itself before its pixels."""

    height: int
    width: int
    colorspace: str
    """YCbCr, RGB, Gray, CMYK or YCCK."""
    subsampling: str
    """444, 422, 420, 440, 411 or Gray."""


class _Backend(Protocol):
    """The calls that a binding of libjpeg-turbo has to give; every failure is a
    ValueError.
    """

    id: str

    @property
    def name(self) -> str: ...
    def header(self, data: Buffer) -> tuple[int, int, str, str]: ...
    def scaled(self, data: Buffer, size: Size) -> Size: ...
    def decode(self, data: Buffer, out: Pixels, fast_dct: bool, size: Size | None) -> Size: ...
    def decode_cmyk(self, data: Buffer) -> npt.NDArray[np.uint8]: ...
    def decode_each(
        self, data: Sequence[Buffer], outs: Sequence[Pixels], fast_dct: bool
    ) -> list[int]: ...
    def encode(self, image: Pixels, quality: int, subsampling: Subsampling) -> bytes: ...


def _backend() -> _Backend:
    wanted = os.environ.get("LMDB_REID_CODEC", "simplejpeg")
    if wanted == "simplejpeg":
        from lmdb_reid.codec._simplejpeg import SimpleJpeg

        return SimpleJpeg()
    if wanted == "pyturbojpeg":
        from lmdb_reid.codec._pyturbojpeg import PyTurboJpeg

        return PyTurboJpeg()
    raise UsageError(
        f"LMDB_REID_CODEC must be simplejpeg (the default) or pyturbojpeg, got {wanted!r}."
    )


_codec = _backend()


def codec_name() -> str:
    """The binding in use and its version, as `doctor` prints it."""
    return _codec.name


def codec_id() -> str:
    """The binding alone, in one word: its pixels are its own."""
    return _codec.id


def header(data: Buffer) -> Header:
    """Size, colour space and subsampling of a JPEG, without decoding it.

    Raises:
        ImageError: `data` is not a JPEG, or is cut short within its header.
    """
    try:
        return Header(*_codec.header(data))
    except ValueError as error:
        raise ImageError(f"not a readable JPEG: {error}") from None


def check_limits(data: Buffer) -> None:
    """Refuse a JPEG that takes more memory or time than any picture needs, without decoding it.

    Raises:
        ImageTooLargeError: over MAX_PIXELS, MAX_SCANS, or MAX_WORK of both.
        ImageError: not a JPEG.
    """
    if not is_known(data):
        check_jpeg(data, *header(data)[:2])


def decode(
    data: Buffer, out: Pixels | None = None, *, fast_dct: bool = False, limits: bool = True
) -> Pixels:
    """The pixels of a JPEG, uint8 [H, W, 3] RGB.

    Args:
        data: the JPEG, in any object with the buffer protocol; it is not copied. The GIL is
            released meanwhile.
        out: where to write, C-contiguous uint8 of exactly the picture's shape. What an error
            leaves in it is undefined.
        fast_dct: the faster, slightly wrong inverse DCT and chroma upsampling.
        limits: refuse what `check_limits` does, before memory is taken; False where it was asked.

    Raises:
        ImageError: the bytes are damaged (also where the decoder could continue with a warning), or
            `out` does not fit.
        ImageTooLargeError: as `check_limits`.
    """
    if not (isinstance(data, bytes) or memoryview(data).c_contiguous):
        raise ImageError(
            "the bytes of a JPEG must be contiguous, got an array with gaps. Copy it first"
        )
    if limits:
        check_limits(data)
    if out is None:
        height, width, _, _ = header(data)
        check_pixels(height, width)
        out = np.empty((height, width, 3), np.uint8)
    elif out.ndim != 3 or out.shape[2] != 3 or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise _does_not_fit(header(data), out)
    try:
        found = _codec.decode(data, out, fast_dct, None)
    except ValueError as error:
        head = header(data)
        if head[:2] != out.shape[:2]:
            raise _does_not_fit(head, out) from None
        raise ImageError(f"damaged JPEG: {error}") from None
    # The decoder has read the header once; asking it first would be 2 of 150 us.
    if out.shape != (*found, 3):
        raise _does_not_fit(header(data), out)
    return out


def decode_cmyk(data: Buffer) -> npt.NDArray[np.uint8]:
    """What a JPEG of four inks holds, uint8 [H, W, 4].

    Raises:
        ImageError: the bytes are damaged, also where the decoder could continue with a warning.
    """
    try:
        return _codec.decode_cmyk(data)
    except ValueError as error:
        raise ImageError(f"damaged JPEG: {error}") from None


def decode_each(
    data: Sequence[Buffer], outs: Sequence[Pixels], *, fast_dct: bool = False
) -> list[tuple[int, ImageError]]:
    """`decode` many JPEGs, each into an array that is known to be C-contiguous uint8 [H, W, 3].

    Little Python runs, and so little of the GIL is held, between one and the next; `check_limits`
    is not asked.

    Returns:
        (position, error) of those that are damaged or of another shape than their array: the error
        that `decode` would raise.
    """
    failed = []
    for at in _codec.decode_each(data, outs, fast_dct):
        try:  # elsewhere: arrays may overlap, and others are whole by now
            decode(data[at], np.empty_like(outs[at]), fast_dct=fast_dct, limits=False)
        except ImageError as error:
            failed.append((at, error))
    return failed


def _does_not_fit(head: Header, out: Pixels) -> ImageError:
    return ImageError(
        f"a JPEG of {head.height}x{head.width} does not fit the given array: {out.dtype}"
        f" {out.shape}, {'' if out.flags.c_contiguous else 'not '}contiguous"
    )


def decode_scaled(
    data: Buffer, size: Size, *, fast_dct: bool = False, limits: bool = True
) -> Pixels:
    """The pixels of a JPEG, shrunk by the inverse DCT where it is at least twice as large as
    `size`.

    The scale is the smallest of 1/8, 1/4, 3/8 and 1/2 that leaves both sides at least as long as
    those of `size` (height, width), else 1.

    Returns:
        uint8 [H, W, 3] RGB, in this thread's scratch memory: valid until its next use.

    Raises:
        ImageError: as `decode`.
        ImageTooLargeError: as `check_limits`; over MAX_PIXELS in any case.
    """
    if limits:
        check_limits(data)
    try:
        height, width = _codec.scaled(data, size)
        if height * width > MAX_PIXELS // 64:  # of the largest an eighth of each side
            check_pixels(*_codec.header(data)[:2])
        out = scratch(height * width * 3)[: height * width * 3].reshape(height, width, 3)
        _codec.decode(data, out, fast_dct, size)
    except ImageError:
        raise
    except ValueError as error:
        raise ImageError(f"damaged JPEG: {error}") from None
    return out


def encode(image: Pixels, *, quality: int = 95, subsampling: Subsampling = "420") -> bytes:
    """A baseline JPEG of uint8 [H, W, 3] RGB pixels.

    Raises:
        ImageError: the array is of another shape or dtype, or empty.
        UsageError: `quality` is outside 1..100.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"can encode uint8 [H, W, 3], not {image.dtype} {image.shape}")
    if not 1 <= quality <= 100:
        raise UsageError(f"JPEG quality must be 1 to 100, got {quality}.")
    if subsampling not in _SUBSAMPLINGS:
        raise UsageError(
            f"subsampling must be one of {', '.join(_SUBSAMPLINGS)}, got {subsampling!r}."
        )
    try:
        return _codec.encode(np.ascontiguousarray(image), quality, subsampling)
    except ValueError as error:
        raise ImageError(f"cannot encode {image.shape}: {error}") from None
