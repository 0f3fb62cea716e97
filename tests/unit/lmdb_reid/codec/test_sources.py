from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid import codec
from lmdb_reid.codec._limits import first_scan
from lmdb_reid.codec._orientation import exif_orientation, orientation_of
from lmdb_reid.errors import ImageError, ImageTooLargeError

Pictures = Callable[..., np.ndarray]
Jpegs = Callable[..., bytes]
steady = settings(derandomize=True, deadline=None, max_examples=300)


def saved(image: PIL.Image.Image, form: str, **arguments: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **arguments)  # type: ignore[arg-type]
    return stream.getvalue()


def seen_by_pillow(data: bytes) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(data)) as image:
        return np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))


def turned(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def quarters() -> PIL.Image.Image:
    """48 wide, 32 high, a colour in each quarter: every turn of it looks different."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24] = (
        (250, 10, 10),
        (10, 250, 10),
        (10, 10, 250),
    )
    return PIL.Image.fromarray(pixels)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *, before: bytes = b"",
    after: bytes = b"",
) -> bytes:  # fmt: skip
    """A PNG by hand, with chunks before and after its image data."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + before + data + after + chunk(b"IEND", b"")


def bmp_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + info


def jpeg_saying(width: int, height: int) -> bytes:
    """A JPEG of 8x8 pixels whose header says another size."""
    data = codec.encode(np.zeros((8, 8, 3), np.uint8))
    said = data.replace(struct.pack(">HH", 8, 8), struct.pack(">HH", height, width), 1)
    assert codec.header(said)[:2] == (height, width)
    return said


def many_scans(count: int) -> bytes:
    """A progressive JPEG that repeats its last scan, some bytes each, `count` times."""
    flat = PIL.Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    data = saved(flat, "JPEG", progressive=True)
    scan, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[scan:end] * count + data[end:]


# -- formats


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a", "a.txt"])
def test_content_decides_what_a_file_is(
    form: str, name: str, picture: Pictures, tmp_path: Path
) -> None:
    pixels = picture(0, (40, 30))
    data = saved(PIL.Image.fromarray(pixels), form, **{"WEBP": {"lossless": True}}.get(form, {}))
    (tmp_path / name).write_bytes(data)
    info = codec.probe_file(tmp_path / name)
    assert info == codec.SourceInfo(40, 30, form, 1, plain=False)
    assert np.array_equal(codec.read_source(data, info), pixels)


def test_a_jpeg_by_another_name(jpeg: Jpegs, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(jpeg())
    info = codec.probe_file(tmp_path / "a.png")
    assert info == codec.SourceInfo(32, 16, "JPEG", 1, plain=True)
    assert np.array_equal(codec.read_source(jpeg(), info), codec.decode(jpeg()))


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "JPEG"])
def test_files_larger_than_the_head_that_is_read_first(form: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 300, 3), np.uint8)
    data = saved(PIL.Image.fromarray(noise), form, quality=100)
    assert len(data) > 1 << 16
    file = tmp_path / "a"
    file.write_bytes(data)
    info = codec.probe_file(file)
    assert info == codec.probe(data)
    assert (info.height, info.width, info.format) == (256, 300, form)


def test_a_header_behind_the_head_that_is_read_first(jpeg: Jpegs, tmp_path: Path) -> None:
    data = jpeg()
    comments = b"".join(b"\xff\xfe" + struct.pack(">H", 60_002) + bytes(60_000) for _ in range(3))
    (tmp_path / "a.jpg").write_bytes(data[:2] + comments + data[2:])
    assert codec.probe_file(tmp_path / "a.jpg") == codec.SourceInfo(32, 16, "JPEG", 1, plain=True)


def test_a_header_may_end_anywhere_near_the_end_of_the_head(jpeg: Jpegs, tmp_path: Path) -> None:
    data = jpeg()
    file, found = tmp_path / "a.jpg", set()
    for length in range((1 << 12) - len(data), 1 << 12):
        comment = b"\xff\xfe" + struct.pack(">H", length + 2) + bytes(length)
        file.write_bytes(data[:2] + comment + data[2:])
        found.add(codec.probe_file(file))
    assert found == {codec.SourceInfo(32, 16, "JPEG", 1, plain=True)}


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_rotation_that_stands_at_the_end(form: str, tmp_path: Path) -> None:
    data = saved(quarters(), form, exif=turned(6))
    if form == "PNG":  # Pillow puts it before the pixels; the gap is a chunk that none knows
        at = data.index(b"eXIf") - 4
        exif = data[at : at + 12 + int.from_bytes(data[at : at + 4])]
        gap = struct.pack(">I4s", 70_000, b"juNk") + bytes(70_000)
        gap += struct.pack(">I", zlib.crc32(gap[4:]))
        data = data[:at] + data[at + len(exif) : -12] + gap + exif + data[-12:]
    else:
        at = data.index(b"EXIF")
        gap = struct.pack("<4sI", b"JUNK", 70_000) + bytes(70_000)
        data = data[:4] + struct.pack("<I", len(data) + len(gap) - 8) + data[8:at] + gap + data[at:]
    (tmp_path / "a").write_bytes(data)
    assert codec.probe_file(tmp_path / "a") == codec.probe(data)
    assert codec.probe(data)[:2] == (48, 32)


def test_probing_a_png_does_not_decode_it(picture: Pictures) -> None:
    whole = saved(PIL.Image.fromarray(picture(0, (40, 30))), "PNG")
    cut = whole[: whole.index(b"IDAT") + 10]
    assert codec.probe(cut) == codec.SourceInfo(40, 30, "PNG", 1, plain=False)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = (np.arange(32 * 48) * 42).astype(np.uint16).reshape(32, 48)
    pixels = codec.read_source(saved(PIL.Image.fromarray(grey), "PNG"))
    assert np.array_equal(pixels, np.repeat((grey >> 8)[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("depth", "colour", "row", "pixels"),
    [
        (16, 2, "80001000 20004000 8000ffff", [(128, 16, 32), (64, 128, 255)]),
        (16, 4, "8000 1000 4000 ffff", [(128,) * 3, (64,) * 3]),
        (16, 6, "8000 1000 2000 0000 4000 5000 6000 ffff", [(128, 16, 32), (64, 80, 96)]),
        (1, 0, "40", [(0,) * 3, (255,) * 3]),
        (8, 4, "800040ff", [(128,) * 3, (64,) * 3]),
        (8, 6, "80102000405060ff", [(128, 16, 32), (64, 80, 96)]),
    ],
)
def test_pngs_of_other_depths_and_with_alpha(
    depth: int, colour: int, row: str, pixels: list[tuple[int, ...]]
) -> None:
    data = png(2, 1, depth, colour, b"\0" + bytes.fromhex(row))
    assert [tuple(pixel) for pixel in codec.read_source(data)[0].tolist()] == pixels


@pytest.mark.parametrize("transparency", [3, bytes(range(256))], ids=["one colour", "table"])
def test_a_palette_with_alpha(transparency: object, picture: Pictures) -> None:
    image = PIL.Image.fromarray(picture(0, (20, 24))).quantize(64)
    data = saved(image, "PNG", transparency=transparency)
    assert np.array_equal(codec.read_source(data), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_bmps_of_few_colours(mode: str, picture: Pictures) -> None:
    image = PIL.Image.fromarray(picture(0, (20, 24))).convert(mode)
    wanted = np.asarray(image.convert("RGB"))
    assert np.array_equal(codec.read_source(saved(image, "BMP")), wanted)


def test_a_cmyk_jpeg_has_the_colours_that_pillow_sees() -> None:
    data = saved(quarters().convert("CMYK"), "JPEG", quality=95)
    assert codec.header(data).colorspace in ("CMYK", "YCCK")
    info = codec.probe(data)
    assert not info.plain
    pixels = codec.read_source(data, info)
    assert np.array_equal(pixels, seen_by_pillow(data))
    assert np.abs(pixels[8, 8].astype(int) - (250, 10, 10)).max() < 8


def test_a_grey_jpeg_is_plain() -> None:
    data = saved(quarters().convert("L"), "JPEG")
    assert codec.probe(data) == codec.SourceInfo(32, 48, "JPEG", 1, plain=True)
    assert np.array_equal(codec.read_source(data), seen_by_pillow(data))


def test_the_scratch_array_is_used_where_it_is_large_enough(jpeg: Jpegs) -> None:
    scratch = np.zeros(32 * 16 * 3 + 100, np.uint8)
    pixels = codec.read_source(jpeg(), scratch=scratch)
    assert np.shares_memory(pixels, scratch)
    assert np.array_equal(pixels, codec.decode(jpeg()))
    small = np.zeros(32 * 16 * 3 - 1, np.uint8)
    assert np.array_equal(codec.read_source(jpeg(), scratch=small), pixels)
    assert not small.any()


# -- rotation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("form", "arguments"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_rotation_is_applied(form: str, arguments: dict[str, object], orientation: int) -> None:
    data = saved(quarters(), form, exif=turned(orientation), **arguments)
    info = codec.probe(data)
    assert info.orientation == orientation
    assert (info.height, info.width) == ((32, 48) if orientation < 5 else (48, 32))
    assert info.plain is (form == "JPEG" and orientation == 1)
    pixels = codec.read_source(data)
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, seen_by_pillow(data))


@pytest.mark.parametrize("orientation", [3, 6])
def test_rotation_of_a_cmyk_jpeg_is_applied_once(orientation: int) -> None:
    data = saved(quarters().convert("CMYK"), "JPEG", exif=turned(orientation))
    assert np.array_equal(codec.read_source(data), seen_by_pillow(data))


def test_rotation_with_scratch() -> None:
    data = saved(quarters(), "JPEG", exif=turned(6))
    scratch = np.zeros(100_000, np.uint8)
    assert np.array_equal(codec.read_source(data, scratch=scratch), seen_by_pillow(data))


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_of_exif(order: str) -> None:
    mark = {"<": b"II", ">": b"MM"}[order]
    tiff = mark + struct.pack(order + "HIH", 42, 8, 2)
    tiff += struct.pack(order + "HHIHH", 0x010F, 3, 1, 9, 0)
    tiff += struct.pack(order + "HHIHH", 0x0112, 3, 1, 8, 0)
    assert exif_orientation(tiff) == 8
    data = codec.encode(np.zeros((8, 16, 3), np.uint8))
    body = b"Exif\0\0" + tiff
    app1 = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    info = codec.probe(data[:2] + app1 + data[2:])
    assert (info.orientation, info.height, info.width) == (8, 16, 8)


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    exif = turned(6).tobytes().removeprefix(b"Exif\0\0")
    data = png(2, 1, 8, 2, bytes.fromhex("00 ff0000 0000ff"), after=chunk(b"eXIf", exif))
    assert codec.probe(data)[:2] == (2, 1)
    assert np.array_equal(codec.read_source(data), seen_by_pillow(data))


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_orientations_that_make_no_sense_are_none(value: int) -> None:
    data = saved(quarters(), "JPEG", exif=turned(value))
    assert codec.probe(data).orientation == 1


# -- hostile input


@pytest.mark.parametrize(
    "data",
    [
        jpeg_saying(60_000, 60_000),
        png(60_000, 60_000, 8, 2, b""),
        bmp_header(60_000, 60_000),
        jpeg_saying(12_000, 8_000),
        png(12_000, 8_000, 8, 2, b""),
        bmp_header(12_000, 8_000),
    ],
    ids=["jpeg", "png", "bmp", "smaller jpeg", "smaller png", "smaller bmp"],
)
def test_too_many_pixels_are_refused_from_the_header(data: bytes, tmp_path: Path) -> None:
    assert len(data) < 2000
    with pytest.raises(ImageTooLargeError):
        codec.probe(data)
    with pytest.raises(ImageTooLargeError):
        codec.read_source(data)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ImageTooLargeError):
        codec.probe_file(tmp_path / "a")


def test_the_largest_image_that_is_taken() -> None:
    assert codec.probe(jpeg_saying(9_000, 9_000))[:2] == (9_000, 9_000)
    assert 9_000 * 9_000 < codec.MAX_PIXELS < 60_000 * 60_000


def test_a_progressive_jpeg_of_2000_scans_is_refused_by_its_markers(tmp_path: Path) -> None:
    data = many_scans(2000)
    assert len(data) < 40_000
    with pytest.raises(ImageTooLargeError, match="2010 scans"):
        codec.probe(data)
    with pytest.raises(ImageTooLargeError):
        codec.read_source(data)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ImageTooLargeError):
        codec.probe_file(tmp_path / "a.jpg")


def test_a_usual_progressive_jpeg_is_read(picture: Pictures) -> None:
    data = saved(PIL.Image.fromarray(picture(0, (64, 64))), "JPEG", progressive=True)
    assert codec.probe(data) == codec.SourceInfo(64, 64, "JPEG", 1, plain=True)
    assert np.array_equal(codec.read_source(data), seen_by_pillow(data))


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE5, 0xFE, 0xDC])
@pytest.mark.parametrize("length", [0, 1])
def test_scans_cannot_hide_behind_a_bogus_segment_length(marker: int, length: int) -> None:
    data = many_scans(2000)
    at = data.index(b"\xff\xc2")
    bogus = struct.pack(">BBH", 0xFF, marker, length)
    with pytest.raises(ImageError):  # libjpeg reads on behind it, so the walk must not give up
        codec.probe(data[:at] + bogus + data[at:])


def test_scans_cannot_hide_behind_fill_bytes_and_markers_without_length() -> None:
    data = many_scans(2000)
    at = data.index(b"\xff\xc2")
    for hidden in (b"\xff\xff\xff", b"\xff\x01"):
        with pytest.raises(ImageTooLargeError):
            codec.probe(data[:at] + hidden + data[at:])


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(100), b"text", bytes(100), b"\xff\xd8"])
def test_what_is_no_image_is_refused(data: bytes, tmp_path: Path) -> None:
    for act in (codec.probe, codec.read_source):
        with pytest.raises(ImageError):
            act(data)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ImageError):
        codec.probe_file(tmp_path / "a.jpg")


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(ImageError, match=r"empty \(0 bytes\)"):
        codec.probe(b"")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        codec.probe_file(tmp_path / "a.jpg")


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "JPEG", "CMYK"])
def test_truncated_sources_are_refused(form: str, picture: Pictures) -> None:
    image = PIL.Image.fromarray(picture(0, (64, 48)))
    data = saved(image.convert("CMYK"), "JPEG") if form == "CMYK" else saved(image, form)
    for end in (len(data) * 2 // 3, len(data) - 30):
        with pytest.raises(ImageError):
            codec.read_source(data[:end])


@pytest.mark.parametrize(
    "data",
    [
        png(2, 2, 8, 2, bytes(14), before=chunk(b"eXIf", b"garbage")),
        png(2, 2, 8, 2, bytes(14), before=chunk(b"eXIf", b"II*\0\xff\xff\xff\x7f")),
        png(2, 2, 8, 2, bytes(14), before=chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff")),
    ],
    ids=["no tiff", "directory outside", "directory cut"],
)
def test_hostile_exif_of_a_png_is_no_rotation(data: bytes) -> None:
    assert codec.probe(data) == codec.SourceInfo(2, 2, "PNG", 1, plain=False)
    assert not codec.read_source(data).any()


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_png_whose_text_unpacks_to_gigabytes_is_refused_or_not_unpacked(place: str) -> None:
    packed = zlib.compress(bytes(100_000_000), 1)
    data = png(2, 2, 8, 2, bytes(14), **{place: chunk(b"zTXt", b"a\0\0" + packed)})

    def peak_of(act: Callable[[bytes], object], given: bytes) -> int:
        tracemalloc.start()
        try:
            with contextlib.suppress(ImageError):
                act(given)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_of(zlib.decompress, packed) > 100e6, "unpacking it would not be seen"
    for act in (codec.probe, codec.read_source):
        assert peak_of(act, data) < 10e6


@steady
@given(st.binary(max_size=200))
def test_any_bytes_as_exif_give_an_orientation(tiff: bytes) -> None:
    assert 1 <= orientation_of(tiff, tiff) <= 8
    for mark in (b"II*\0", b"MM\0*"):
        assert 1 <= orientation_of(mark + tiff, b"") <= 8


@steady
@given(
    st.lists(
        st.tuples(st.sampled_from([0xC0, 0xC2, 0xD0, 0xDA, 0xE1, 0xFE, 0xFF, 0x01]), st.binary()),
        max_size=8,
    ),
    st.binary(max_size=30),
)
def test_any_markers_are_walked_to_an_end(segments: list[tuple[int, bytes]], tail: bytes) -> None:
    data = b"\xff\xd8"
    for marker, body in segments:
        data += struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
    try:
        scan = first_scan(data + tail)
    except ImageError:
        return
    assert 1 <= scan.orientation <= 8
    assert (data + tail)[scan.at : scan.at + 2] == b"\xff\xda"


SOURCES = {
    "jpeg": saved(quarters(), "JPEG", exif=turned(6)),
    "progressive": saved(quarters(), "JPEG", exif=turned(3), progressive=True),
    "cmyk": saved(quarters().convert("CMYK"), "JPEG", exif=turned(6)),
    "png": saved(quarters(), "PNG", exif=turned(6)),
    "palette": saved(quarters().quantize(8), "PNG", transparency=1),
    "bmp": saved(quarters(), "BMP"),
    "webp": saved(quarters(), "WEBP", exif=turned(6)),
}


@pytest.mark.parametrize("kind", SOURCES)
@settings(derandomize=True, deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_sources_raise_nothing_but_image_errors(kind: str, data: st.DataObject) -> None:
    source = bytearray(SOURCES[kind])
    places = st.integers(0, min(len(source) - 1, 400)) | st.integers(0, len(source) - 1)
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        source[at] = value
    end = data.draw(st.none() | st.integers(0, len(source)))
    damaged = bytes(source[:end])
    try:
        info = codec.probe(damaged)
        assert info.height * info.width <= codec.MAX_PIXELS
        if info.height * info.width < 1_000_000:
            assert codec.read_source(damaged, info).shape == (info.height, info.width, 3)
    except ImageError:
        pass


def test_a_head_that_was_seen_before_says_the_same_and_no_other_does() -> None:
    pictures = [np.full((16, 8, 3), shade, np.uint8) for shade in (9, 200)]
    first, second = (codec.encode(picture, quality=90) for picture in pictures)
    assert codec.probe(first) == codec.probe(second) == codec.probe(first)
    other = codec.encode(np.zeros((24, 8, 3), np.uint8), quality=90)
    assert (codec.probe(other).height, codec.probe(first).height) == (24, 16)
    with pytest.raises(ImageError):
        codec.probe(first[:100])
    codec.probe(first)
    turned = (
        first[:2]
        + b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
        + first[2:]
    )
    assert codec.probe(turned).orientation == 6
    assert codec.probe(first).orientation == 1
