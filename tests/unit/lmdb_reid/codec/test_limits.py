"""What a JPEG may cost is known from its bytes, whoever hands them to the decoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lmdb_reid import ReIDDataset, Store, StoreWriter, codec
from lmdb_reid.codec import _limits
from lmdb_reid.errors import CorruptSampleError, ImageTooLargeError
from lmdb_reid.store import _prepared

Pictures = Callable[..., np.ndarray]
Jpegs = Callable[..., bytes]


def progressive(image: np.ndarray, more: int = 0) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    file = BytesIO()
    PIL.Image.fromarray(image).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    scan, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[scan:end] * more + data[end:]


def saying(data: bytes, height: int, width: int) -> bytes:
    """The JPEG with another size in its header."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + height.to_bytes(2) + width.to_bytes(2) + data[at + 9 :]


WAYS: dict[str, Callable[[bytes], object]] = {
    "decode": codec.decode,
    "decode into an array": lambda data: codec.decode(data, np.empty((32, 16, 3), np.uint8)),
    "decode, scaled": lambda data: codec.decode_scaled(data, (8, 8)),
    "check": codec.check_limits,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_a_header_over_the_limit_takes_no_memory(way: str, kind: str, picture: Pictures) -> None:
    data = codec.encode(picture()) if kind == "baseline" else progressive(picture())
    for side in (9_460, 60_000):
        with pytest.raises(ImageTooLargeError, match="pixels: more than"):
            WAYS[way](saying(data, side, side))


@pytest.mark.parametrize("way", WAYS)
def test_many_scans_are_refused(way: str, picture: Pictures) -> None:
    with pytest.raises(ImageTooLargeError, match="2010 scans"):
        WAYS[way](progressive(picture(), 2000))
    WAYS[way](progressive(picture()))
    codec.check_limits(progressive(picture(), 20))


def test_pixels_and_scans_are_limited_together(
    picture: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = progressive(picture())
    monkeypatch.setattr(_limits, "MAX_WORK", 10 * 32 * 16)
    codec.decode(data)
    monkeypatch.setattr(_limits, "MAX_WORK", 10 * 32 * 16 - 1)
    for act in (codec.decode, codec.probe):
        with pytest.raises(ImageTooLargeError, match="10 scans of 16x32 pixels"):
            act(data)


def test_a_head_is_known_when_it_came_twice_and_only_of_one_scan(picture: Pictures) -> None:
    for seed in (1, 2, 3):
        data = codec.encode(picture(seed, (40, 24)), quality=91)
        codec.check_limits(data)
        assert _limits.is_known(memoryview(data)) is (seed > 1)
    assert not _limits.is_known(b"")
    assert not _limits.is_known(codec.encode(picture(1, (40, 32)), quality=91))
    flat = progressive(np.zeros((32, 16, 3), np.uint8))
    alone = flat[: flat.index(b"\xff\xda", flat.index(b"\xff\xda") + 2)] + b"\xff\xd9"
    assert alone.count(b"\xff\xda") == 1
    for _ in range(3):
        codec.check_limits(alone)
    assert not _limits.is_known(alone), "a second file of this head may have further scans"


def test_scans_in_a_thumbnail_are_none_of_the_picture(picture: Pictures) -> None:
    data = codec.encode(picture())
    inside = b"\xff\xe1" + (2 + 2 * 2000).to_bytes(2) + b"\xff\xda" * 2000
    assert np.array_equal(codec.decode(data[:2] + inside + data[2:]), codec.decode(data))


def test_millions_of_empty_segments_are_not_walked(picture: Pictures) -> None:
    data = codec.encode(picture())
    hostile = data[:2] + b"\xff\xe1\0\2" * 2_000_000 + data[2:]
    began = time.monotonic()
    with pytest.raises(ImageTooLargeError, match="over 10,000 markers"):
        codec.probe(hostile)
    assert time.monotonic() - began < 10
    codec.probe(data[:2] + b"\xff\xe1\0\2" * 1000 + data[2:])


def test_a_store_from_elsewhere_is_held_to_the_limits(
    tmp_path: Path, picture: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("good", codec.encode(picture()), {"label": 0})
        with monkeypatch.context() as patch:
            info = codec.SourceInfo(32, 16, "JPEG", 1, True)
            patch.setattr(_prepared, "probe", lambda _: info)
            writer.put("huge", saying(codec.encode(picture()), 60_000, 60_000), {"label": 1})
            writer.put("scans", progressive(picture(), 2000), {"label": 2})
        writer.seal()
    store = Store(tmp_path / "a.lmdb")
    dataset = ReIDDataset(store)
    for row, why in ((1, "60000x60000 pixels"), (2, "2010 scans")):
        for act in (store.at, dataset.__getitem__):
            with pytest.raises(CorruptSampleError, match=rf"^(huge|scans): .*{why}"):
                act(row)
    assert [line.partition(":")[0] for line in store.verify().problems] == ["huge", "scans"]
    assert dataset[0][1] == 0


def test_a_large_png_is_held_three_times_at_most(run_python: Callable[..., str]) -> None:
    """As Pillow has it (four bytes a pixel), as RGB, and what is left of unpacking it."""
    script = """if True:
        import resource, io, PIL.Image, numpy as np
        from lmdb_reid import codec
        file = io.BytesIO()
        PIL.Image.new("RGB", (3000, 3000), (1, 2, 3)).save(file, "PNG")
        data = file.getvalue()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pixels = codec.read_source(data)
        assert (pixels == (1, 2, 3)).all()
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 9e6)
    """
    assert float(run_python(script)) < 12
