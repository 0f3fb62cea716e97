from __future__ import annotations

import io
import mmap
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lmdb_reid import codec
from lmdb_reid.errors import ImageError, UsageError

Pictures = Callable[..., np.ndarray]
Jpegs = Callable[..., bytes]


def mapped(data: bytes, folder: Path) -> mmap.mmap:
    file = folder / "a.jpg"
    file.write_bytes(data)
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def test_what_was_encoded_comes_back(picture: Pictures) -> None:
    pixels = picture(0, (64, 48))
    again = codec.decode(codec.encode(pixels, quality=100, subsampling="444"))
    assert again.shape == (64, 48, 3)
    assert again.dtype == np.uint8
    assert np.abs(again.astype(int) - pixels).max() <= 4


def test_channels_are_red_green_blue() -> None:
    pixels = np.full((16, 16, 3), (200, 100, 20), np.uint8)
    again = codec.decode(codec.encode(pixels, quality=100))
    assert np.abs(again.astype(int) - pixels).max() <= 3


def test_pixels_are_those_of_libjpeg(jpeg: Jpegs) -> None:
    data = jpeg(3, (48, 40))
    with PIL.Image.open(io.BytesIO(data)) as image:
        reference = np.asarray(image)
    assert np.array_equal(codec.decode(data), reference)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "readonly array", "mmap"])
def test_any_buffer_into_any_array(kind: object, jpeg: Jpegs, tmp_path: Path) -> None:
    data = jpeg(1)
    reference = codec.decode(data)
    if kind == "mmap":
        buffer: object = mapped(data, tmp_path)
    elif kind == "readonly array":
        buffer = np.frombuffer(data, np.uint8)
    else:
        buffer = kind(data)  # type: ignore[operator]
    batch = np.zeros((3, 32, 16, 3), np.uint8)
    out = codec.decode(buffer, batch[1])
    assert out.base is batch or out is batch[1] or np.shares_memory(out, batch)
    assert np.array_equal(batch[1], reference)
    assert not batch[0].any()
    assert not batch[2].any()
    assert codec.header(buffer) == codec.header(data)


def test_the_given_array_is_the_result(jpeg: Jpegs) -> None:
    out = np.zeros((32, 16, 3), np.uint8)
    assert codec.decode(jpeg(), out) is out
    assert codec.decode(jpeg(), out=out, fast_dct=True) is out


def test_bytes_before_and_after_the_view_are_not_read(jpeg: Jpegs) -> None:
    framed = memoryview(b"\xff\xd8junk" + jpeg(2) + b"tail")[6:-4]
    assert np.array_equal(codec.decode(framed), codec.decode(jpeg(2)))


def test_a_view_with_gaps_is_not_taken_for_one_without(jpeg: Jpegs) -> None:
    data = np.frombuffer(jpeg(2) + jpeg(2), np.uint8)
    with pytest.raises((ImageError, UsageError)):
        codec.decode(memoryview(data)[::2])  # a decoder that forgets the step reads all of jpeg(2)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((16, 31, 3), np.uint8),
        np.zeros((32, 16), np.uint8),
        np.zeros((32, 16, 4), np.uint8),
        np.zeros((1, 32, 16, 3), np.uint8),
        np.zeros((32, 16, 3), np.int8),
        np.zeros((32, 16, 3), np.float32),
        np.zeros((16, 32, 3), np.uint8).transpose(1, 0, 2),
        np.zeros((32, 32, 3), np.uint8)[:, ::2],
        np.zeros((3, 32, 16), np.uint8).transpose(1, 2, 0),
    ],
    ids=lambda out: f"{out.dtype}-{out.shape}-{out.flags.c_contiguous}",
)
def test_an_array_that_does_not_fit_is_refused_untouched(out: np.ndarray, jpeg: Jpegs) -> None:
    with pytest.raises(ImageError, match="does not fit the given array"):
        codec.decode(jpeg(), out)
    assert not out.any()


@pytest.mark.parametrize("shape", [(16, 32, 3), (64, 8, 3), (33, 16, 3), (64, 32, 3)])
def test_an_array_of_another_shape_is_refused_however_large(
    shape: tuple[int, int, int], jpeg: Jpegs
) -> None:
    with pytest.raises(ImageError, match="32x16 does not fit the given array"):
        codec.decode(jpeg(), np.zeros(shape, np.uint8))


def test_a_read_only_array_is_refused(jpeg: Jpegs) -> None:
    out = np.zeros((32, 16, 3), np.uint8)
    out.flags.writeable = False
    with pytest.raises(ImageError):
        codec.decode(jpeg(), out)
    assert not out.any()


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"no jpeg at all", bytes(1000)]
)
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        codec.decode(data)
    with pytest.raises(ImageError):
        codec.header(data)


def test_a_jpeg_cut_anywhere_is_refused(jpeg: Jpegs) -> None:
    data = jpeg()
    for end in [*range(0, len(data) - 1, 13), len(data) - 2, len(data) - 1]:
        with pytest.raises(ImageError):
            codec.decode(data[:end])


def test_warnings_of_the_decoder_are_errors(jpeg: Jpegs) -> None:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xda") + 20  # within the entropy-coded data
    data[at : at + 2] = b"\xff\xd3"  # a restart marker where none belongs
    with pytest.raises(ImageError):
        codec.decode(data)


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411"])
def test_headers_tell_size_and_subsampling(
    subsampling: codec.Subsampling, picture: Pictures
) -> None:
    data = codec.encode(picture(0, (24, 40)), subsampling=subsampling)
    assert codec.header(data) == codec.Header(24, 40, "YCbCr", subsampling)
    assert codec.decode(data).shape == (24, 40, 3)


def test_grey_jpegs_become_rgb() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stream = io.BytesIO()
    PIL.Image.fromarray(grey).save(stream, "JPEG", quality=100)
    assert codec.header(stream.getvalue()) == codec.Header(16, 16, "Gray", "Gray")
    pixels = codec.decode(stream.getvalue())
    assert np.abs(pixels.astype(int) - grey[:, :, None]).max() <= 2


def test_the_fast_dct_is_nearly_right_and_not_the_default(picture: Pictures) -> None:
    data = codec.encode(picture(4, (128, 64)), quality=90)
    accurate, fast = codec.decode(data), codec.decode(data, fast_dct=True)
    off = np.abs(accurate.astype(int) - fast)
    assert off.any()
    assert off.mean() < 16


def test_quality_decides_the_size(picture: Pictures) -> None:
    pixels = picture(0, (64, 64))
    small, large = codec.encode(pixels, quality=10), codec.encode(pixels, quality=100)
    assert len(small) < len(codec.encode(pixels)) < len(large)
    assert codec.encode(pixels) == codec.encode(pixels, quality=95, subsampling="420")


def test_a_strided_crop_is_encoded_as_it_looks(picture: Pictures) -> None:
    frame = picture(0, (64, 64))
    crop = frame[8:40, 16:48]
    assert codec.encode(crop) == codec.encode(crop.copy())
    assert codec.encode(frame[:, ::-1]) == codec.encode(frame[:, ::-1].copy())


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 70_000, 3), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}-{pixels.shape}",
)
def test_what_cannot_be_encoded(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError):
        codec.encode(pixels)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_qualities_that_are_none(quality: int, picture: Pictures) -> None:
    with pytest.raises(UsageError, match="must be 1 to 100, got"):
        codec.encode(picture(), quality=quality)


def test_a_subsampling_that_is_none(picture: Pictures) -> None:
    with pytest.raises(UsageError, match="421"):
        codec.encode(picture(), subsampling="421")  # type: ignore[arg-type]


def test_threads_decode_side_by_side(jpeg: Jpegs) -> None:
    wanted = [codec.decode(jpeg(seed)) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: codec.decode(jpeg(at % 8)), range(400)))
    assert all(np.array_equal(pixels, wanted[at % 8]) for at, pixels in enumerate(found))


def test_the_default_codec_says_what_it_is() -> None:
    assert codec.codec_name().startswith("simplejpeg 1.")


def test_a_codec_that_nobody_knows(run_python: Callable[..., str]) -> None:
    script = textwrap.dedent("""
        try:
            import lmdb_reid.codec
        except ValueError as error:
            print(type(error).__name__, error)
    """)
    told = run_python(script, LMDB_REID_CODEC="libjpeg9")
    assert told.startswith("UsageError ")
    assert "'libjpeg9'" in told
    assert "simplejpeg" in told


def test_the_other_codec_missing_says_what_to_install(run_python: Callable[..., str]) -> None:
    script = textwrap.dedent("""
        import sys
        sys.modules["turbojpeg"] = None  # as if it were not installed
        try:
            import lmdb_reid.codec
        except ImportError as error:
            print(type(error).__name__, error)
    """)
    told = run_python(script, LMDB_REID_CODEC="pyturbojpeg")
    assert told.startswith("MissingExtraError ")
    assert 'pip install "lmdb_reid[turbojpeg]"' in told


def test_a_library_that_is_no_libturbojpeg_3_is_named(run_python: Callable[..., str]) -> None:
    script = textwrap.dedent("""
        import sys, types

        def refusing(path):
            assert path == "/somewhere/libturbojpeg.so.0", path
            raise RuntimeError("PyTurboJPEG 2.0 requires libjpeg-turbo 3.0 or later.\\nMore.")

        sys.modules["turbojpeg"] = types.SimpleNamespace(TurboJPEG=refusing)
        try:
            import lmdb_reid.codec
        except ImportError as error:
            print(type(error).__name__, error)
    """)
    told = run_python(
        script,
        LMDB_REID_CODEC="pyturbojpeg",
        LMDB_REID_TURBOJPEG="/somewhere/libturbojpeg.so.0",
    )
    assert told.startswith("MissingExtraError ")
    assert "/somewhere/libturbojpeg.so.0 is another version: PyTurboJPEG 2.0 requires" in told
    assert "docs/codec.md" in told and "More." not in told


def test_pyturbojpeg_gives_the_same_pixels(
    run_python: Callable[..., str], jpeg: Jpegs, tmp_path: Path
) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        import numpy as np
        try:
            from lmdb_reid import codec
        except ImportError as error:
            print("missing:", error)
            raise SystemExit(0)
        from lmdb_reid.errors import ImageError
        data = Path(sys.argv[1]).read_bytes()
        out = np.zeros((32, 16, 3), np.uint8)
        assert codec.decode(memoryview(data), out) is out
        np.save(sys.argv[2], out)
        assert codec.header(data) == (32, 16, "YCbCr", "420")
        assert codec.header(codec.encode(out, subsampling="444")).subsampling == "444"
        for bad in (b"", b"garbage", data[:-40]):
            try:
                codec.decode(bad)
            except ImageError:
                continue
            raise SystemExit("damage was decoded")
        print(codec.codec_name())
    """)
    file, pixels = tmp_path / "a.jpg", tmp_path / "pixels.npy"
    file.write_bytes(jpeg(5))
    told = run_python(script, file, pixels, LMDB_REID_CODEC="pyturbojpeg")
    if told.startswith("missing:"):
        pytest.skip(told.strip())
    assert told.startswith("PyTurboJPEG")
    assert np.array_equal(np.load(pixels), codec.decode(jpeg(5)))
