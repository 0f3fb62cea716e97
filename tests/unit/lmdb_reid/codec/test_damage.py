"""Damage that other decoders go on with: never other pixels in silence."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest

from lmdb_reid import codec
from lmdb_reid.errors import ImageError


def picture(mode: str = "RGB") -> PIL.Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return PIL.Image.fromarray(noise).resize((72, 48)).convert(mode)


def saved(image: PIL.Image.Image, form: str, **arguments: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **arguments)  # type: ignore[arg-type]
    return stream.getvalue()


KINDS = {
    "PNG": saved(picture(), "PNG"),
    "PNG of a palette": saved(picture().quantize(16), "PNG"),
    "PNG of 16 bits": saved(picture("I;16"), "PNG"),
    "BMP": saved(picture(), "BMP"),
    "BMP of a palette": saved(picture().quantize(16), "BMP"),
    "WebP": saved(picture(), "WEBP"),
    "CMYK JPEG": saved(picture("CMYK"), "JPEG", quality=95),
    "progressive CMYK JPEG": saved(picture("CMYK"), "JPEG", quality=95, progressive=True),
    "JPEG": saved(picture(), "JPEG"),
}


@pytest.fixture(params=[False, True], ids=["as Pillow begins", "LOAD_TRUNCATED_IMAGES"])
def lenient(request: pytest.FixtureRequest) -> Iterator[bool]:
    """What other code has set in Pillow."""
    before = PIL.ImageFile.LOAD_TRUNCATED_IMAGES
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = request.param
    yield request.param
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = before


def assert_refused_or_same(data: bytes, damaged: bytes) -> bool:
    """Whether it was refused."""
    wanted = codec.read_source(data)
    try:
        found = codec.read_source(damaged)
    except ImageError:
        return True
    assert np.array_equal(found, wanted)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_whole_pictures_are_read_whatever_is_set(kind: str, lenient: bool) -> None:
    assert codec.read_source(KINDS[kind]).shape == (48, 72, 3)
    assert PIL.ImageFile.LOAD_TRUNCATED_IMAGES is lenient


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_was_cut_is_refused(kind: str, share: float, lenient: bool) -> None:
    data = KINDS[kind]
    with pytest.raises(ImageError):
        codec.read_source(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["CMYK JPEG", "progressive CMYK JPEG", "JPEG"])
def test_a_jpeg_whose_end_mark_hides_what_is_missing(kind: str, lenient: bool) -> None:
    data = KINDS[kind]
    with pytest.raises(ImageError, match="damaged JPEG"):
        codec.read_source(data[: len(data) * 6 // 10] + b"\xff\xd9")


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_no_bit_of_a_pngs_pixels_can_turn_over_unseen(level: int, lenient: bool) -> None:
    data = saved(picture(), "PNG", compress_level=level)
    start, stop = data.index(b"IDAT"), data.index(b"IEND") - 4
    for at in range(start, stop, max(1, (stop - start) // 150)):
        for bit in (0x01, 0x40):
            damaged = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            assert assert_refused_or_same(data, damaged)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"IEND"])
def test_the_other_chunks_of_a_png_have_checksums_too(name: bytes, lenient: bool) -> None:
    data = KINDS["PNG of a palette"]
    at = data.index(name) + (8 if name != b"IEND" else 5)
    damaged = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
    with pytest.raises(ImageError):
        codec.read_source(damaged)


def test_pixels_that_end_early_in_a_png_whose_checksums_fit(lenient: bool) -> None:
    data = KINDS["PNG"]
    start, stop = data.index(b"IDAT"), data.index(b"IEND") - 4
    body = data[start + 4 : stop - 4][: (stop - start) // 2]
    short = struct.pack(">I", len(body)) + b"IDAT" + body
    short += struct.pack(">I", zlib.crc32(b"IDAT" + body))
    with pytest.raises(ImageError):
        codec.read_source(data[: start - 4] + short + data[stop:])


def test_a_cmyk_jpeg_has_pillows_colours_in_every_mix_of_inks() -> None:
    inks = np.random.default_rng(1).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    image = PIL.Image.frombytes("CMYK", (128, 128), inks.repeat(8, 0).repeat(8, 1).tobytes())
    data = saved(image, "JPEG", quality=100, subsampling=0)
    with PIL.Image.open(io.BytesIO(data)) as read:
        assert np.array_equal(codec.read_source(data), np.asarray(read.convert("RGB")))
