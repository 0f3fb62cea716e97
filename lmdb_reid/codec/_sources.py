"""Images as they come from elsewhere: any size, format and rotation, perhaps hostile.

The content decides what an image is, never the file's name. Sizes and scans are checked before
memory is taken.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.codec._jpeg import decode, decode_cmyk, header
from lmdb_reid.codec._limits import SCAN, FirstScan, check_pixels, check_scans, first_scan
from lmdb_reid.codec._orientation import orientation_of, turned
from lmdb_reid.codec._png import SIGNATURE, check_png, png_metadata
from lmdb_reid.errors import ImageError, MissingExtraError
from lmdb_reid.schema import Pixels, Size

try:
    import PIL.Image
    import PIL.ImageFile
except ImportError:  # needed for sources that are not plain JPEG only
    PIL = None  # type: ignore[assignment]  # the module's name doubles as the flag

_OTHER_FORMATS = ("PNG", "BMP", "WEBP")
_STRIP = 256  # lines that are converted at a time
_HEADS = (1 << 12, 1 << 16)  # bytes in which most headers end; with a thumbnail in them


class SourceInfo(NamedTuple):
    """What a source image is, from its header alone."""

    height: int
    width: int
    format: str
    """JPEG, PNG, BMP or WEBP."""
    orientation: int
    """Orientation 1..8, by EXIF or XMP; height and width are those after it was applied."""
    plain: bool
    """A JPEG that libjpeg-turbo decodes to RGB as it stands and that needs no rotation."""


def probe(data: bytes) -> SourceInfo:
    """Size, format and rotation of a source image, without decoding it.

    Raises:
        ImageError: no bytes, not an image, or not a JPEG, PNG, BMP or WebP.
        ImageTooLargeError: over MAX_PIXELS, MAX_SCANS, or MAX_WORK of both.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    if not data.startswith(b"\xff\xd8"):
        return _probe_other(data)
    head, info = _seen
    return info if info is not None and data.startswith(head) else _probe_jpeg(data)


_MOST_SEEN = 4096  # bytes of a head that is remembered
_seen: tuple[bytes, SourceInfo | None] = b"", None
"""The last head of a JPEG of one scan, up to its entropy-coded data, and what it says. An encoder
writes the same head for every picture of one size and quality, and nothing behind it counts: a
build asks for the same one again and again (60 us of Python out of cold caches).
"""


def _probe_jpeg(data: bytes, scan: FirstScan | None = None) -> SourceInfo:
    """`probe` of a JPEG whose markers may have been walked already."""
    height, width, colorspace, _ = header(data)
    check_pixels(height, width)
    scan = scan or first_scan(data)
    if scan.several:
        check_scans(data.count(SCAN, scan.at), height, width)
    if scan.orientation >= 5:
        height, width = width, height
    plain = scan.orientation == 1 and colorspace in ("YCbCr", "Gray", "RGB")
    info = SourceInfo(height, width, "JPEG", scan.orientation, plain)
    end = scan.at + 2 + int.from_bytes(data[scan.at + 2 : scan.at + 4])
    if not scan.several and end <= min(_MOST_SEEN, len(data)):
        global _seen  # noqa: PLW0603  # one pair, replaced as a whole
        _seen = bytes(data[:end]), info
    return info


def probe_file(path: Path) -> SourceInfo:
    """`probe` of a file. Of a JPEG of one scan only the head is read; what else counts may stand at
    the end of a file: further scans, the rotation of a PNG or WebP.

    Raises:
        OSError: the file cannot be read.
        ImageError: as `probe`.
    """
    with path.open("rb", buffering=0) as file:
        head = b""
        for length in _HEADS:
            head += file.read(length - len(head))
            with suppress(ImageError):  # also where the head ends too early
                if head.startswith(b"\xff\xd8") and not (scan := first_scan(head)).several:
                    return _probe_jpeg(head, scan)
        return probe(head + file.readall())


def read_source(
    data: bytes, info: SourceInfo | None = None, scratch: Pixels | None = None
) -> Pixels:
    """The pixels of a source image as it should be seen, uint8 [H, W, 3] RGB: rotation applied,
    alpha dropped.

    Args:
        data: the file's bytes.
        info: what `probe` said of them, if it was asked already.
        scratch: a flat uint8 array that the result may lie in, if it is large enough (saves the
            page faults of a new frame-sized array).

    Raises:
        ImageError: as `probe`, and for damaged image data, also if a decoder could continue with a
            warning, and whatever other code has set in Pillow.
    """
    info = info or probe(data)
    stored = (info.height, info.width) if info.orientation < 5 else (info.width, info.height)
    if info.format == "JPEG":
        if not info.plain and header(data).colorspace in ("CMYK", "YCCK"):
            return turned(_rgb(decode_cmyk(data)), info.orientation)
        count = info.height * info.width * 3
        fits = scratch is not None and scratch.size >= count
        out = scratch[:count].reshape(*stored, 3) if scratch is not None and fits else None
        return turned(decode(data, out, limits=False), info.orientation)
    return turned(_decode_other(data), info.orientation)


class _Whole(io.BytesIO):
    """A file whose end is an error to whoever wants more, not the start of black pixels: so it is
    in Pillow where other code has set `LOAD_TRUNCATED_IMAGES`.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        if not found and size is not None and size > 0:
            raise ImageError("it ends too early")
        return found


def _rgb(cmyk: npt.NDArray[np.uint8]) -> Pixels:
    """[H, W, 3] of what a CMYK JPEG holds, [H, W, 4]: light, as Adobe's files have it, not ink.

    Rounded as Pillow does, with black taken as a grey filter.
    """
    black = cmyk[:, :, 3:].astype(np.uint16)
    dark = (255 - cmyk[:, :, :3]) * black + 128
    return (black - ((dark >> 8) + dark >> 8)).astype(np.uint8)


def _open_other(data: bytes) -> PIL.Image.Image:
    if PIL is None:
        raise MissingExtraError.of("Pillow", "build", "reading PNG, BMP or WebP images")
    check_pixels(*_declared_size(data))  # before Pillow warns, or refuses by a limit of its own
    try:
        return PIL.Image.open(_Whole(data), formats=_OTHER_FORMATS)
    except Exception as error:  # hostile bytes make Pillow's plugins raise whatever comes
        # Its message would print the buffer's address, so only its kind is told.
        kind = type(error).__name__
        raise ImageError(f"not a JPEG, PNG, BMP or WebP image ({kind})") from None


def _declared_size(data: bytes) -> Size:
    """(height, width) that a PNG, BMP or WebP says it has; (1, 1) where none can be read."""
    head = data[:32].ljust(32, b"\0")
    if head.startswith(SIGNATURE):
        width, height = struct.unpack_from(">II", head, 16)
    elif head.startswith(b"BM"):
        width, height = map(abs, struct.unpack_from("<ii", head, 18))
    elif head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8X":
        width = 1 + int.from_bytes(head[24:27], "little")
        height = 1 + int.from_bytes(head[27:30], "little")
    elif head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 26))
    else:
        return 1, 1
    return max(1, height), max(1, width)


def _probe_other(data: bytes) -> SourceInfo:
    image = _open_other(data)
    width, height = image.size
    check_pixels(height, width)
    # From the header alone: Pillow's own getexif() would decode a PNG to look behind its pixels.
    blocks = image.info.get("exif", b""), image.info.get("xmp", b"")
    orientation = orientation_of(*(png_metadata(data) if image.format == "PNG" else blocks))
    if orientation >= 5:
        height, width = width, height
    return SourceInfo(height, width, image.format or "?", orientation, plain=False)


def _decode_other(data: bytes) -> Pixels:
    image = _open_other(data)
    if image.format == "PNG":
        check_png(data, unpack=PIL.ImageFile.LOAD_TRUNCATED_IMAGES)
    try:
        image.load()
        out = np.empty((image.height, image.width, 3), np.uint8)
        for first in range(0, image.height, _STRIP):
            last = min(first + _STRIP, image.height)
            out[first:last] = _rgb_of(image.crop((0, first, image.width, last)))
        return out
    except Exception as error:
        raise ImageError(f"damaged {image.format} image: {error}") from None


def _rgb_of(image: PIL.Image.Image) -> Pixels:
    """[H, W, 3] of a few lines: what Pillow holds of the whole is three copies of it."""
    if image.mode.startswith("I;16"):  # Pillow clips 16-bit grey instead of scaling it
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "P":  # a palette with transparency, which Pillow warns of
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))
