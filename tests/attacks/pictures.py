"""Hostile pictures, as sources, as what is put into a store, and handed to the decoder."""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from _using import picture

from lmdb_reid import StoreWriter, codec
from lmdb_reid.errors import LmdbReidError


@functools.cache
def progressive(more: int = 0) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    file = io.BytesIO()
    PIL.Image.fromarray(codec.decode(picture())).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    scan, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[scan:end] * more + data[end:]


def saying(data: bytes, height: int, width: int) -> bytes:
    """The JPEG with another size in its header."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + height.to_bytes(2) + width.to_bytes(2) + data[at + 9 :]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, pixels: bytes, *chunks: tuple[bytes, bytes], colour: int = 2
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = b"".join(_chunk(*each) for each in chunks)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head)
    return start + body + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _bomb(size: int) -> bytes:
    """Zeros, compressed; of many, one piece again and again."""
    if size < 1 << 24:
        return zlib.compress(bytes(size), 9)
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    pieces = [packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    return pieces[0] + pieces[1] * (size // len(block) - 1)


def _exif(tiff: bytes) -> bytes:
    body = b"Exif\0\0" + tiff
    whole = picture()
    return whole[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body + whole[2:]


def _made() -> dict[str, bytes]:
    whole = picture()
    bmp = b"BM" + struct.pack("<IHHI", 100, 0, 0, 54)
    webp = b"RIFF\xff\xff\xff\x7fWEBP"
    return {
        "nothing": b"",
        "two bytes": b"\xff\xd8",
        "a GIF": b"GIF89a" + bytes(100),
        "a zip": b"PK\x03\x04" + bytes(100),
        "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='1e9' height='1e9'/>",
        "60,000 x 60,000": saying(whole, 60_000, 60_000),
        "65,535 x 1": saying(whole, 65_535, 1),
        "progressive, 20,000 x 20,000": saying(progressive(), 20_000, 20_000),
        "progressive, 6,000 x 6,000": saying(progressive(), 6_000, 6_000),
        "progressive, 9,000 x 9,000, 92 scans": saying(progressive(82), 9_000, 9_000),
        "2,000 scans": progressive(2_000),
        "200,000 scans": progressive(200_000),
        "2 million empty segments": whole[:2] + b"\xff\xe1\0\2" * 2_000_000 + whole[2:],
        "10 MB of fill bytes": whole[:2] + b"\xff" * 10_000_000 + whole[2:],
        "a segment of length 0": whole[:2] + b"\xff\xe1\0\0" + whole[2:],
        "components of 255": whole.replace(b"\x03\x01\x22\0", b"\xff\x01\x22\0", 1),
        "no table": whole.replace(b"\xff\xc4", b"\xff\xfe"),
        "12 bits": whole.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "arithmetic": whole.replace(b"\xff\xc0", b"\xff\xc9"),
        "lossless": whole.replace(b"\xff\xc0", b"\xff\xc3"),
        "no end": whole[:-2],
        "half of it": whole[: len(whole) // 2],
        "EXIF that points at itself": _exif(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0"),
        "EXIF of 65,535 entries": _exif(b"II*\0\x08\0\0\0\xff\xff" + bytes(6000)),
        "EXIF beyond its end": _exif(b"MM\0*\xff\xff\xff\xff"),
        "XMP of repetitions": whole[:2]
        + b"\xff\xe1\xea\x60http://ns.adobe.com/xap/1.0/\0"
        + (b"tiff:Orientation=" * 4000)[: 0xEA60 - 31]
        + whole[2:],
        "a PNG of 2^31 x 2^31": png(1 << 31, 1 << 31, _bomb(100)),
        "a PNG of 100,000 x 100,000": png(100_000, 100_000, _bomb(1 << 20)),
        "a PNG whose pixels unpack to a gigabyte": png(32, 32, _bomb(1 << 30)),
        "a PNG whose text unpacks to a gigabyte": png(
            4, 4, _bomb(52), (b"zTXt", b"Raw profile type exif\0\0" + _bomb(1 << 30))
        ),
        "a PNG whose profile unpacks to a gigabyte": png(
            4, 4, _bomb(52), (b"iCCP", b"x\0\0" + _bomb(1 << 30))
        ),
        "a PNG of 20,000 texts": png(4, 4, _bomb(52), *[(b"tEXt", b"k\0v")] * 20_000),
        "a PNG without pixels": png(4, 4, b""),
        "a PNG palette without colours": png(4, 4, _bomb(20), colour=3),
        "a PNG cut": png(32, 32, _bomb(32 * 97))[:-20],
        "a PNG with another checksum": png(32, 32, _bomb(32 * 97))[:-14] + bytes(14),
        "a BMP of -2^31": bmp + struct.pack("<IiiHHIIiiII", 40, 9, -(1 << 31), 1, 24, *[0] * 6),
        "a BMP of 30,000 x 30,000": bmp
        + struct.pack("<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, *[0] * 6),
        "a BMP with 2^32 colours": bmp
        + struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 0, 0, 0, 0, 0xFFFFFFFF, 0)
        + bytes(100),
        "a WebP of 16,777,216 squared": webp + b"VP8X\x0a\0\0\0" + b"\x10\0\0\0" + b"\xff" * 6,
        "a WebP of nothing": webp + b"VP8 " + bytes(40),
    }


def _everywhere(data: bytes, folder: Path) -> None:
    """As a file, as bytes, with and without an array, and into a store."""
    file = folder / "picture.jpg"
    file.write_bytes(data)
    out = np.empty((32, 16, 3), np.uint8)
    for act in (
        lambda: codec.probe_file(file),
        lambda: codec.probe(data),
        lambda: codec.read_source(data),
        lambda: codec.decode(data),
        lambda: codec.decode(data, out),
        lambda: codec.decode_scaled(data, (16, 16)),
        lambda: codec.check_limits(data),
    ):
        with contextlib.suppress(LmdbReidError):
            act()
    assert all(found is not None for found in codec.decode_each([data], [out]))
    with StoreWriter(folder / "a.lmdb") as writer:
        writer.put("a", data, {})


def _large_png(folder: Path) -> None:
    """It is taken: three times its pixels, and no more."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (9_400, 9_400)).save(file, "PNG", compress_level=1)
    data = file.getvalue()
    codec.probe(data)
    if codec.read_source(data).shape != (9_400, 9_400, 3):
        raise AssertionError("another size")


ATTACKS: dict[str, Callable[[Path], object]] = {
    **{name: functools.partial(_everywhere, data) for name, data in _made().items()},
    "a PNG of 9,400 x 9,400": _large_png,
}
