"""Rotation that is written in other ways than EXIF asks for."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from PIL.PngImagePlugin import PngInfo

from lmdb_reid import codec
from lmdb_reid.codec._orientation import exif_orientation, orientation_of

TYPES = {3: "H", 4: "I", 8: "h", 9: "i"}


def picture() -> PIL.Image.Image:
    """24 wide, 16 high, no two corners alike."""
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :12, 0], pixels[:8, 12:, 1], pixels[8:, :12, 2] = 250, 250, 250
    return PIL.Image.fromarray(pixels)


def saved(form: str, **arguments: object) -> bytes:
    stream = io.BytesIO()
    picture().save(stream, form, **arguments)  # type: ignore[arg-type]
    return stream.getvalue()


def tiff(value: int, kind: int = 3, order: str = "<", count: int = 1, tag: int = 0x0112) -> bytes:
    mark = {"<": b"II", ">": b"MM"}[order]
    entry = struct.pack(order + "HHI", tag, kind, count)
    entry += struct.pack(order + TYPES.get(kind, "I"), value).ljust(4, b"\0")
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)


def xmp(value: int, form: str = ' tiff:Orientation="{}"/>') -> bytes:
    return b"<x><rdf:Description" + form.format(value).encode() + b"</x>"


def with_app1(*bodies: bytes) -> bytes:
    jpeg = saved("JPEG", quality=95, subsampling=0)
    segments = [b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies]
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def xmp_segment(packet: bytes) -> bytes:
    return b"http://ns.adobe.com/xap/1.0/\0" + packet


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes, behind: bool) -> bytes:
    png = saved("PNG")
    at = png.index(b"IEND") - 4 if behind else png.index(b"IDAT") - 4
    return png[:at] + b"".join(chunks) + png[at:]


def assert_seen_as_by_pillow(data: bytes, orientation: int) -> None:
    with PIL.Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))
    info = codec.probe(data)
    assert info.orientation == orientation
    assert (info.height, info.width) == wanted.shape[:2]
    assert np.array_equal(codec.read_source(data), wanted)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_a_rotation_may_be_of_any_whole_type(kind: int, order: str, value: int) -> None:
    assert_seen_as_by_pillow(with_app1(b"Exif\0\0" + tiff(value, kind, order)), value)


@pytest.mark.parametrize("kind", [1, 2, 7])
def test_bytes_and_texts_are_no_rotation(kind: int) -> None:
    assert_seen_as_by_pillow(with_app1(b"Exif\0\0" + tiff(6, kind)), 1)


def test_two_values_are_no_rotation() -> None:
    assert exif_orientation(tiff(6, 3, count=2)) == 1


@pytest.mark.parametrize("form", [' tiff:Orientation="{}"/>', "><tiff:Orientation>{}</tiff:O>"])
@pytest.mark.parametrize("value", [0, 2, 6, 9])
def test_rotation_in_the_xmp_of_a_jpeg(form: str, value: int) -> None:
    data = with_app1(xmp_segment(xmp(value, form)))
    assert_seen_as_by_pillow(data, value if 1 <= value <= 8 else 1)


def test_exif_without_a_rotation_leaves_it_to_xmp() -> None:
    bodies = b"Exif\0\0" + tiff(9, tag=0x0110), xmp_segment(xmp(8))
    assert_seen_as_by_pillow(with_app1(*bodies), 8)


def test_exif_counts_before_xmp() -> None:
    bodies = xmp_segment(xmp(8)), b"Exif\0\0" + tiff(1)
    assert_seen_as_by_pillow(with_app1(*bodies), 1)


def test_only_the_first_exif_segment_has_the_directory() -> None:
    bodies = b"Exif\0\0" + tiff(1), b"Exif\0\0" + tiff(6)
    assert_seen_as_by_pillow(with_app1(*bodies), 1)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_rotation_in_the_xmp_of_a_png(packed: bool, behind: bool) -> None:
    packet = zlib.compress(xmp(6)) if packed else xmp(6)
    text = b"XML:com.adobe.xmp\0" + bytes([packed, 0]) + b"\0\0" + packet
    data = png_with(chunk(b"iTXt", text), behind=behind)
    # Pillow itself overlooks a packet behind the pixels until they are read.
    assert codec.probe(data).orientation == 6
    if not behind:
        assert_seen_as_by_pillow(data, 6)


@pytest.mark.parametrize("packed", [False, True])
def test_rotation_in_a_text_of_hexadecimal_digits(packed: bool) -> None:
    raw, info = b"Exif\0\0" + tiff(8, 4, ">"), PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(raw):8d}\n{raw.hex()}\n", zip=packed)
    assert_seen_as_by_pillow(saved("PNG", pnginfo=info), 8)


@pytest.mark.parametrize("text", [b"", b"\nexif\n  3\nno digits", b"\xff\xfe\n\n\n\xff"])
def test_a_text_that_holds_no_digits_is_no_rotation(text: bytes) -> None:
    data = png_with(chunk(b"tEXt", b"Raw profile type exif\0" + text), behind=False)
    assert codec.probe(data).orientation == 1


@pytest.mark.parametrize("packed", [b"", b"\0", b"\0no deflate", b"\0" + zlib.compress(b"x")[:5]])
def test_a_packed_text_that_cannot_be_unpacked_is_no_rotation(packed: bytes) -> None:
    data = png_with(chunk(b"zTXt", b"Raw profile type exif\0" + packed), behind=False)
    assert codec.probe(data).orientation == 1


def test_rotation_in_the_xmp_of_a_webp() -> None:
    data = saved("WEBP", lossless=True, xmp=xmp(6))
    assert_seen_as_by_pillow(data, 6)


def test_nothing_said_is_upright() -> None:
    assert orientation_of(b"", b"") == 1
    assert exif_orientation(b"") is None
