"""The chunks of a PNG, of which Pillow compares too little and tells too late."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress

from lmdb_reid.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LONGEST_TEXT = 1 << 20  # as Pillow
_PIECE = 1 << 20


def png_metadata(data: bytes) -> tuple[bytes, bytes]:
    """(EXIF, XMP) of a PNG, each b"" where there is none. They may stand behind the pixels.

    EXIF is in a chunk of its own, or in a text, as hexadecimal digits: so ImageMagick writes it.
    """
    exif, texts = b"", {}
    for name, body, _ in _chunks(data):
        if name == b"eXIf":
            exif = body
        elif name in _TEXTS:
            keyword, _, rest = body.partition(b"\0")
            texts[keyword] = (name, rest)
    if not exif:
        profile = _text(*texts.get(b"Raw profile type exif", (b"", b"")))
        with suppress(ValueError):
            exif = bytes.fromhex(b"".join(profile.split(b"\n")[3:]).decode("latin-1"))
    return exif, _text(*texts.get(b"XML:com.adobe.xmp", (b"", b"")))


def check_png(data: bytes, *, unpack: bool) -> None:
    """Compare all checksums, and see that no chunk is missing.

    Args:
        data: the file's bytes. Pillow reads pixels without comparing their checksums.
        unpack: whether the pixels go on to their end, too.

    Raises:
        ImageError: something is damaged or missing.
    """
    name, pixels = b"", zlib.decompressobj()
    for name, body, crc in _chunks(data):
        if zlib.crc32(body, zlib.crc32(name)) != crc:
            raise ImageError(f"damaged PNG image: the checksum of a chunk {_word(name)} differs")
        if unpack and name == b"IDAT":
            _inflate(pixels, body)
    if name != b"IEND":
        raise ImageError("damaged PNG image: its end is missing")
    if unpack and not pixels.eof:
        raise ImageError("damaged PNG image: pixels are missing")


def _inflate(pixels: zlib._Decompress, body: bytes) -> None:
    """Go through compressed pixels, piece by piece: they may unpack to gigabytes."""
    try:
        while body and not pixels.eof:
            pixels.decompress(body, _PIECE)
            body = pixels.unconsumed_tail
    except zlib.error as error:
        raise ImageError(f"damaged PNG image: {error}") from None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """(name, body, checksum) of each whole chunk, up to the last."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        name, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            return
        yield name, data[at + 8 : end], int.from_bytes(data[end : end + 4])
        if name == b"IEND":
            return
        at = end + 4


def _text(name: bytes, rest: bytes) -> bytes:
    """What stands behind the keyword of a text chunk; b"" where that cannot be read."""
    packed = name == b"zTXt"
    if packed:
        rest = rest[1:]
    elif name == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]
    if not packed:
        return rest
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(rest, _LONGEST_TEXT)
    return b""


def _word(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")
