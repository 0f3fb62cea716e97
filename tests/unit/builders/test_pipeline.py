"""The build, over sources of every kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from builders import BoxRow, BuildSettings, Files, Frame, Listing, build, frames_of, plan
from lmdb_reid import codec
from lmdb_reid.errors import InvalidSampleError, SourceError, UsageError
from lmdb_reid.schema import Box, Kind, Roles
from lmdb_reid.store import Store

NO_NEGATIVES = BuildSettings(num_bg_per_frame=0, num_partial_per_box=0)


class Given:
    """A source that lists what it was given."""

    name = "given"

    roles = Roles()

    def __init__(self, frames: Sequence[Frame], folder: Path) -> None:
        self._frames = frames
        self._files = Files(folder, {path.stem: path.name for path in folder.iterdir()})

    def read(self) -> Listing:
        return Listing(
            frames=frames_of(self._frames),
            medium=self._files,
            rows=sum(len(frame.rows) for frame in self._frames),
            settings={"format": self.name},
        )


def picture(height: int, width: int, shade: int = 0) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, 0 * x + shade], axis=-1).astype(np.uint8)


def crop_frame(path: Path, label: int, **more: Any) -> Frame:
    """A file that is a crop already."""
    row = BoxRow(number=0, label=label, box=None, **more)
    return Frame(key=path.stem, fields={"camera": label}, rows=(row,), boxes=())


def box_frame(path: Path, *boxes: Box) -> Frame:
    rows = tuple(BoxRow(number=n, label=n, box=box) for n, box in enumerate(boxes))
    return Frame(key=path.stem, fields={}, rows=rows, boxes=tuple(boxes))


def write_jpeg(path: Path, height: int, width: int, shade: int = 0) -> bytes:
    data = codec.encode(picture(height, width, shade), quality=80)
    path.write_bytes(data)
    return data


# crops that are there already


@pytest.mark.parametrize("size", [None, (256, 128)])
def test_a_crop_of_the_right_size_is_kept_byte_for_byte(tmp_path: Path, size: Any) -> None:
    data = write_jpeg(tmp_path / "a.jpg", 256, 128)
    report = build(
        Given([crop_frame(tmp_path / "a.jpg", 5)], tmp_path),
        tmp_path / "o",
        BuildSettings(size=size),
    )
    assert report.kinds == {"person": 1}  # and no negatives: there is nothing around it
    with Store(tmp_path / "o") as store:
        assert list(store) == ["a"]
        assert store["a"].jpeg == data
        assert store["a"].label == 5
        assert store["a"].record == {"label": 5, "kind": 0, "camera": 5}


def test_a_crop_of_another_size_is_resized_whole(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "a.jpg", 100, 60)
    build(Given([crop_frame(tmp_path / "a.jpg", 5)], tmp_path), tmp_path / "o")
    with Store(tmp_path / "o") as store:
        image = store["a"].image.astype(int)
    assert image.shape == (256, 128, 3)
    assert image[:, 0, 0].mean() < 3  # --expand grows boxes, and this is none
    assert image[:, -1, 0].mean() > 56
    assert image[-1, :, 1].mean() > 96


def test_a_crop_that_is_no_plain_jpeg_becomes_one(tmp_path: Path) -> None:
    Image.fromarray(picture(64, 32)).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(picture(64, 32)).save(tmp_path / "b.jpg", exif=exif, quality=95)
    frames = [crop_frame(tmp_path / name, 1) for name in ("a.png", "b.jpg")]
    build(Given(frames, tmp_path), tmp_path / "o", BuildSettings(size=None))
    with Store(tmp_path / "o") as store:
        for name, wanted in (("a", picture(64, 32)), ("b", picture(64, 32)[::-1, ::-1])):
            assert codec.header(store[name].jpeg).height == 64
            assert np.abs(store[name].image.astype(int) - wanted).mean() < 3
            assert codec.probe(store[name].jpeg).plain


def test_kinds_are_the_sources(tmp_path: Path) -> None:
    frames = []
    for kind in (Kind.PERSON, Kind.JUNK, Kind.DISTRACTOR):
        path = tmp_path / f"{kind.title}.jpg"
        write_jpeg(path, 64, 32)
        frames.append(crop_frame(path, -1 if kind == Kind.JUNK else 0, kind=kind))
    report = build(Given(frames, tmp_path), tmp_path / "o", BuildSettings(size=None))
    assert report.kinds == {"person": 1, "junk": 1, "distractor": 1}
    with Store(tmp_path / "o") as store:
        assert {name: store[name].kind for name in store} == {
            "person": Kind.PERSON,
            "junk": Kind.JUNK,
            "distractor": Kind.DISTRACTOR,
        }


def test_a_label_that_does_not_fit_its_kind_is_refused(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "a.jpg", 64, 32)
    source = Given([crop_frame(tmp_path / "a.jpg", 4, kind=Kind.JUNK)], tmp_path)
    with pytest.raises(InvalidSampleError, match="a: a junk sample has label -1, not 4"):
        build(source, tmp_path / "o")
    assert not (tmp_path / "o").exists()


# frames


def test_frames_of_several_sizes_share_no_pixels(tmp_path: Path) -> None:
    # One thread decodes all of them into one buffer: a smaller frame after a larger one.
    frames = []
    for n, (height, width) in enumerate([(60, 90), (200, 300), (40, 50), (200, 300)]):
        Image.fromarray(picture(height, width, 40 * n)).save(tmp_path / f"f{n}.png")
        frames.append(box_frame(tmp_path / f"f{n}.png", Box(0, 0, width, height)))
    settings = BuildSettings(
        size=None, expand=1.0, quality=100, num_bg_per_frame=0, num_partial_per_box=0
    )
    build(Given(frames, tmp_path), tmp_path / "o", settings, num_workers=1)
    with Store(tmp_path / "o") as store:
        for n, frame in enumerate(frames):
            image = store[f"f{n}#000"].image
            wanted = picture(*image.shape[:2], 40 * n)
            assert image.shape[:2] == (frame.boxes[0].h, frame.boxes[0].w)
            assert np.abs(image.astype(int) - wanted).mean() < 2.5


def test_a_frame_without_rows_still_gives_background(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "f.jpg", 200, 300)
    write_jpeg(tmp_path / "g.jpg", 200, 300)
    frames = [box_frame(tmp_path / "f.jpg"), box_frame(tmp_path / "g.jpg", Box(5, 5, 40, 60))]
    report = build(Given(frames, tmp_path), tmp_path / "o")
    assert report.kinds == {"person": 1, "background": 2, "partial": 1}


def test_numbers_beyond_three_digits(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "f.jpg", 200, 300)
    rows = tuple(BoxRow(number=n, label=n, box=Box(5, 5, 40, 60)) for n in (7, 999, 1000))
    frame = Frame(key="f", fields={}, rows=rows, boxes=())
    build(Given([frame], tmp_path), tmp_path / "o", NO_NEGATIVES)
    with Store(tmp_path / "o") as store:
        assert sorted(store) == ["f#007", "f#1000", "f#999"]


def test_no_usable_row_is_an_error_that_says_why(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "f.jpg", 200, 300)
    row = BoxRow(number=0, label=0, box=Box(900, 5, 40, 60))
    frame = Frame(key="f", fields={}, rows=(row,), boxes=(row.box,))
    with pytest.raises(SourceError, match=r"no usable row \(0 of 1\).*is outside the 300x200"):
        build(Given([frame], tmp_path), tmp_path / "o", NO_NEGATIVES, max_skipped=1)


def test_no_frames_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no usable row"):
        build(Given([], tmp_path), tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("num_workers", [0, -1])
def test_workers_are_at_least_one(tmp_path: Path, num_workers: int) -> None:
    for call in (build, plan):
        with pytest.raises(UsageError, match=f"num_workers must be at least 1, got {num_workers}"):
            call(Given([], tmp_path), tmp_path / "o", num_workers=num_workers)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def many_frames(folder: Path, count: int) -> list[Frame]:
    frames = []
    for n in range(count):
        write_jpeg(folder / f"f{n:03d}.jpg", 80, 120, n)
        frames.append(box_frame(folder / f"f{n:03d}.jpg", Box(5, 5, 40, 60)))
    return frames


def test_few_frames_are_read_ahead_of_the_writer(tmp_path: Path, monkeypatch: Any) -> None:
    # Or the memory of a long build would hold all of it.
    frames, read = many_frames(tmp_path, 60), []
    read_source = codec.read_source

    def noted(*arguments: Any) -> Any:
        read.append(1)
        return read_source(*arguments)

    def waits(done: int, total: int, crops: int) -> None:
        if done == 1:
            time.sleep(0.3)  # the threads could read everything meanwhile
            ahead.append(len(read))

    ahead: list[int] = []
    monkeypatch.setattr(codec, "read_source", noted)
    build(Given(frames, tmp_path), tmp_path / "o", NO_NEGATIVES, num_workers=2, progress=waits)
    assert len(read) == 60
    assert 2 <= ahead[0] <= 2 * 4 + 1


def test_all_workers_work(tmp_path: Path, monkeypatch: Any) -> None:
    frames, names = many_frames(tmp_path, 12), set()
    together = threading.Barrier(3, timeout=60)
    probe = codec.probe

    def met(data: bytes) -> codec.SourceInfo:
        if len(names) < 3:
            names.add(threading.current_thread().name)
            together.wait()
        return probe(data)

    monkeypatch.setattr(codec, "probe", met)
    build(Given(frames, tmp_path), tmp_path / "o", NO_NEGATIVES, num_workers=3)
    assert len(names) == 3


def test_a_failing_thread_ends_the_build_and_leaves_it_resumable(
    tmp_path: Path, monkeypatch: Any
) -> None:
    frames = many_frames(tmp_path, 12)
    build(Given(frames, tmp_path), tmp_path / "whole", NO_NEGATIVES)
    encode, calls = codec.encode, []

    def fails(*args: Any, **more: Any) -> bytes:
        calls.append(1)
        if len(calls) == 7:
            raise MemoryError("no more")
        return encode(*args, **more)

    monkeypatch.setattr(codec, "encode", fails)
    with pytest.raises(MemoryError, match="no more"):
        build(Given(frames, tmp_path), tmp_path / "o", NO_NEGATIVES, num_workers=2)
    assert not (tmp_path / "o").exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("cut")]
    build(Given(frames, tmp_path), tmp_path / "o", NO_NEGATIVES, resume=True)
    with Store(tmp_path / "o") as store, Store(tmp_path / "whole") as whole:
        assert store.digest == whole.digest


def test_the_manifest_tells_how_it_was_built(tmp_path: Path) -> None:
    settings = BuildSettings(size=(64, 32), seed=9)
    build(Given(many_frames(tmp_path, 2), tmp_path), tmp_path / "o", settings)
    with Store(tmp_path / "o") as store:
        built = store.manifest.build
        assert settings.as_json().items() <= built.items()
        assert built["format"] == "given"
        assert store.manifest.source["codec"] == codec.codec_name()
        assert store.size == (64, 32)
