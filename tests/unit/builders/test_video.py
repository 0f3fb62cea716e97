"""Frames of videos: the laws of media, numbers, damage, and colours as ffmpeg has them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import Files, Medium, Videos
from builders.media import frame_key
from builders.testing import MediumContract
from lmdb_reid.errors import DuplicateSampleError, ImageError, SourceReadError

av = pytest.importorskip("av", reason="PyAV is not installed")

COUNT = 30
Draw = Callable[..., Path]


@pytest.fixture
def drawn(monkeypatch: Any) -> Iterator[Any]:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield importlib.import_module("videos")
    del sys.modules["videos"]


def videos(path: Path, first: int = 0) -> Videos:
    return Videos.below(path.parent, [path.name], first)


def keys_of(path: Path, numbers: Sequence[int]) -> list[str]:
    return [frame_key(path.stem, number) for number in numbers]


def numbers_of(drawn: Any, medium: Medium, keys: Sequence[str], count: int = COUNT) -> list[Any]:
    """The number that each picture shows, or the reason why there is none."""
    found: list[Any] = []
    for picture in medium.run(keys):
        try:
            found.append(drawn.number_of(picture(), count))
        except ImageError as error:
            found.append(str(error))
    return found


class TestVideos(MediumContract):
    @pytest.fixture(params=[("game.mp4", 0), ("game.avi", 1), ("game.ts", 0)])
    def medium(self, tmp_path: Path, drawn: Any, request: Any) -> Medium:
        name, first = request.param
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        drawn.draw_video(tmp_path / "below" / name, COUNT, codec=codec)
        drawn.draw_video(tmp_path / "other.mkv", 5, size=(32, 64))
        return Videos.below(tmp_path, [f"below/{name}", "other.mkv"], first)

    @pytest.fixture
    def keys(self) -> list[str]:
        game = [frame_key("below/game", number) for number in (1, 2, 3, 9, 20, 21, 29)]
        return [*game, frame_key("other", 1), frame_key("other", 4)]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.mov"])
def test_numbers_count_frames_from_where_it_is_said(
    tmp_path: Path, drawn: Any, name: str, first: int
) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = drawn.draw_video(tmp_path / name, COUNT, codec=codec)
    medium = videos(path, first)
    keys = keys_of(path, range(first, COUNT + first))
    assert numbers_of(drawn, medium, keys) == [*range(COUNT)]
    # Each on its own, as a resumed build begins.
    for start in (29, 17, 8, 7, 1):
        keys = keys_of(path, range(start + first, COUNT + first))
        assert numbers_of(drawn, medium, keys) == [*range(start, COUNT)]
    assert medium.name(keys[0]) == f"{name} frame {1 + first}"


def test_a_frame_rate_that_varies_counts_frames(tmp_path: Path, drawn: Any) -> None:
    times = np.cumsum([1, 7, 1, 1, 30, 2] * 5).tolist()
    path = drawn.draw_video(tmp_path / "vfr.mkv", COUNT, times=times)
    assert numbers_of(drawn, videos(path), keys_of(path, range(COUNT))) == [*range(COUNT)]
    assert numbers_of(drawn, videos(path), keys_of(path, [13, 26])) == [13, 26]


def test_decoding_begins_at_a_key_frame_before_the_first(
    tmp_path: Path, drawn: Any, monkeypatch: Any
) -> None:
    path = drawn.draw_video(tmp_path / "a.mp4", COUNT, gop=8, options={"sc_threshold": "0"})
    from builders.media import _video

    started: list[int] = []
    decoded = _video._Forwards._decoded

    def noted(self: Any, start: int, **given: Any) -> Any:
        started.append(start)
        return decoded(self, start, **given)

    monkeypatch.setattr(_video._Forwards, "_decoded", noted)
    monkeypatch.setattr(_video, "SEEK", 10)
    assert numbers_of(drawn, videos(path), keys_of(path, [20, 21, 22])) == [20, 21, 22]
    assert started == [16]
    started.clear()
    assert numbers_of(drawn, videos(path), keys_of(path, [1, 2, 9, 28])) == [1, 2, 9, 28]
    assert started == [0, 24]
    started.clear()  # keys whose bytes ascend otherwise than their numbers
    assert numbers_of(drawn, videos(path), keys_of(path, [20, 3])) == [20, 3]
    assert started == [16, 0]


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_a_video_that_is_cut_names_its_last_good_frame(
    tmp_path: Path, drawn: Any, name: str, share: float
) -> None:
    size = (240, 320)
    whole = drawn.draw_video(tmp_path / f"whole{Path(name).suffix}", COUNT, size=size, b_frames=0)
    data = whole.read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(share * len(data))])
    medium = videos(path)
    found = numbers_of(drawn, medium, keys_of(path, range(COUNT)))
    good = [number for number in found if isinstance(number, int)]
    assert good == [*range(len(good))]
    assert 0 < len(good) < COUNT
    last = len(good) - 1
    for reason in found[len(good) :]:
        assert f"frames are 0 to {last}" in reason or f"last good frame is {last}" in reason


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("at", [3, 13, 14, 15])
def test_behind_damage_pictures_come_again_at_the_next_key_frame(
    tmp_path: Path, drawn: Any, name: str, at: int, b_frames: int
) -> None:
    if name.endswith("avi") and b_frames:
        pytest.skip("that encoder's AVI has no B frames")
    codec, options = "libx264", {"sc_threshold": "0", "crf": "4"}
    if name.endswith("avi"):
        codec, options = "mpeg4", {"qmin": "1", "qmax": "1"}
    path = drawn.draw_video(
        tmp_path / name, COUNT, codec=codec, gop=10, b_frames=b_frames, options=options, noise=5
    )
    packets = packets_of(path)
    pos, size, _ = packets[at]
    data = bytearray(path.read_bytes())
    data[pos + size // 2 : pos + size // 2 + 60] = b"\xff" * 60
    path.write_bytes(data)
    found = numbers_of(drawn, videos(path), keys_of(path, range(COUNT)))
    good = [number for number in found if isinstance(number, int)]
    assert all(found[number] == number for number in good)
    starts = [number for number, (_, _, is_key) in enumerate(packets) if is_key]
    first = max(start for start in starts if start <= at)
    behind = min((start for start in starts if start > at), default=COUNT)
    assert {*range(first), *range(behind, COUNT)} <= {*good} < {*range(COUNT)}
    last = max((number for number in good if number < behind), default=0)
    assert {each for each in found if isinstance(each, str)} == {
        f"it cannot be decoded: the video is damaged, its last good frame is {last}"
    }


def test_a_frame_that_a_container_lost_moves_no_number(tmp_path: Path, drawn: Any) -> None:
    path = drawn.draw_video(tmp_path / "a.avi", COUNT, codec="mpeg4", noise=5)
    pos = packets_of(path)[13][0]
    data = bytearray(path.read_bytes())
    data[pos - 8 : pos] = bytes(8)  # the head of the chunk
    path.write_bytes(data)
    found = numbers_of(drawn, videos(path), keys_of(path, range(COUNT)))
    assert found[:13] == [*range(13)]
    assert {*found[13:]} == {
        "the video has no such frame: its frames are 0 to 12, and it was cut short behind the last"
        " one"
    }


def packets_of(path: Path) -> list[tuple[int, int, bool]]:
    """(place in the file, bytes, whether it is a key frame) of each packet."""
    with av.open(path) as container:
        return [
            (packet.pos, packet.size, packet.is_keyframe)
            for packet in container.demux(video=0)
            if packet.size
        ]


def test_what_is_no_video_is_a_reason(tmp_path: Path, drawn: Any) -> None:
    (tmp_path / "text.mp4").write_text("file,left,top")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    with av.open(tmp_path / "sound.mkv", "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    whole = drawn.draw_video(tmp_path / "whole.mp4", 3).read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])
    for name, reason in {
        "text.mp4": "cannot be read as a video",
        "empty.mp4": "cannot be read as a video",
        "headless.mp4": "cannot be read as a video",
        "folder.mp4": "no regular file",
        "gone.mp4": "cannot be read: No such file",
        "sound.mkv": "it has no video",
    }.items():
        medium = Videos.below(tmp_path, [name], 0)
        key = frame_key(Path(name).stem, 0)
        with pytest.raises(ImageError, match=reason):
            medium.size(key)
        (picture,) = medium.run([key])
        with pytest.raises(ImageError, match=reason):
            picture()


def test_a_video_without_a_frame_is_a_reason(tmp_path: Path, drawn: Any) -> None:
    path = drawn.draw_video(tmp_path / "none.mkv", 0)
    with pytest.raises(ImageError, match=r"no frames|cannot be read as a video"):
        videos(path).size(frame_key("none", 0))


def test_frames_that_a_video_does_not_have(tmp_path: Path, drawn: Any) -> None:
    path = drawn.draw_video(tmp_path / "a.mp4", 5)
    medium = videos(path, 1)
    for number in (0, 6, 10_000):
        key = frame_key("a", number)
        with pytest.raises(ImageError, match=r"no such frame: its frames are 1 to 5$"):
            medium.size(key)
    assert medium.size(frame_key("a", 5)) == (64, 96)
    assert numbers_of(drawn, medium, keys_of(path, [1, 5])) == [0, 4]


def test_a_disk_that_fails_ends_the_run(tmp_path: Path, drawn: Any, monkeypatch: Any) -> None:
    path = drawn.draw_video(tmp_path / "a.mp4", 5)

    def fail(*_: object, **__: object) -> None:
        raise av.error.OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(SourceReadError, match=r"a\.mp4 cannot be read: Input/output error"):
        videos(path).size(frame_key("a", 0))


def test_two_videos_of_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DuplicateSampleError, match=r"a\.avi and .*a\.mp4"):
        Videos.below(tmp_path, ["a.mp4", "a.avi"], 0)


def test_the_stamp_is_the_video_s(tmp_path: Path, drawn: Any) -> None:
    path = drawn.draw_video(tmp_path / "a.mp4", 5)
    medium = videos(path)
    stamp = medium.stamp(frame_key("a", 0))
    assert stamp == Files(tmp_path, {"a": "a.mp4"}).stamp("a") == medium.stamp(frame_key("a", 4))
    drawn.draw_video(path, 6)
    assert medium.stamp(frame_key("a", 0)) != stamp
    assert numbers_of(drawn, medium, keys_of(path, [5])) == [5]


# -- colours

PATCHES = [
    *[(235, 16, 16), (16, 235, 16), (16, 16, 235), (200, 200, 40), (40, 200, 200)],
    *[(200, 40, 200), (16, 16, 16), (235, 235, 235), (128, 128, 128), (250, 120, 10)],
]
MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 2: (0.299, 0.114)}
"""Kr and Kb of the matrix that a video names; 2 is none."""


def encoded(path: Path, matrix: int, range_: int, pix_fmt: str) -> list[Any]:
    """A lossless video of flat patches, one a frame; returns the frames as they were encoded."""
    planes = []
    kr, kb = MATRICES[matrix]
    full = range_ == 2
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range_
        for at, colour in enumerate(PATCHES):
            r, g, b = (value / 255 for value in colour)
            y = kr * r + (1 - kr - kb) * g + kb * b
            cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
            ten = 4 if "10" in pix_fmt else 1
            luma = (y * 255 if full else 16 + 219 * y) * ten
            chroma = [(128 + each * (255 if full else 224)) * ten for each in (cb, cr)]
            frame = av.VideoFrame(64, 48, pix_fmt)
            for plane, value in zip(frame.planes, (luma, *chroma), strict=True):
                dtype = "<u2" if ten > 1 else "u1"
                count = plane.buffer_size // np.dtype(dtype).itemsize
                plane.update(np.full(count, round(value), dtype).tobytes())
            frame.pts, frame.colorspace, frame.color_range = at, matrix, range_
            for packet in stream.encode(frame):
                container.mux(packet)
            planes.append(frame)
        for packet in stream.encode():
            container.mux(packet)
    return planes


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("range_", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 5, 6, 2], ids=["709", "470bg", "170m", "unsaid"])
def test_colours_are_those_of_the_matrix_and_range_that_the_video_names(
    tmp_path: Path, matrix: int, range_: int, pix_fmt: str
) -> None:
    path = tmp_path / "colours.mkv"
    encoded(path, matrix, range_, pix_fmt)
    keys = keys_of(path, range(len(PATCHES)))
    images = [picture() for picture in videos(path).run(keys)]
    for image, colour in zip(images, PATCHES, strict=True):
        assert isinstance(image, np.ndarray)
        assert np.abs(image.astype(int) - colour).max() <= 3, (image[0, 0], colour)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("range_", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 6, 2], ids=["709", "601", "unsaid"])
def test_colours_are_ffmpeg_s_own(tmp_path: Path, matrix: int, range_: int, pix_fmt: str) -> None:
    """As ffmpeg's own filters give RGB, pixel by pixel, on noise."""
    path = tmp_path / "noise.mkv"
    random = np.random.default_rng(3)
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range_
        frame = av.VideoFrame(64, 48, pix_fmt)
        for plane in frame.planes:
            plane.update(random.integers(16, 236, plane.buffer_size, np.uint8).tobytes())
        frame.pts, frame.colorspace, frame.color_range = 0, matrix, range_
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    (picture,) = videos(path).run(keys_of(path, [0]))
    with av.open(path) as container:
        graph = av.filter.Graph()
        source = graph.add_buffer(template=container.streams.video[0])
        scale, form = graph.add("scale", "flags=bicubic"), graph.add("format", "rgb24")
        sink = graph.add("buffersink")
        source.link_to(scale)
        scale.link_to(form)
        form.link_to(sink)
        graph.configure()
        graph.push(next(container.decode(video=0)))
        wanted = graph.pull().to_ndarray()
    np.testing.assert_array_equal(picture(), wanted)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_video_that_is_shown_turned(tmp_path: Path, turns: int) -> None:
    """As phones write it: the matrix in the header says how."""
    path = tmp_path / "turned.mp4"
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :48] = 200  # the left upper quarter
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for at in range(3):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
            frame.pts = at
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    turn_header(path, turns)
    medium = videos(path)
    (picture,) = medium.run(keys_of(path, [1]))
    wanted = np.rot90(image, turns)
    shown = picture()
    assert isinstance(shown, np.ndarray)
    assert shown.shape == wanted.shape == (*medium.size(frame_key("turned", 1)), 3)
    assert np.abs(shown.astype(int) - wanted).mean() < 12


def turn_header(path: Path, turns: int) -> None:
    """Write the matrix of a turn, counterclockwise, into the track's header."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes stand before it
    one = 1 << 16
    # What is at (1, 0) goes to (cos, -sin): y points down.
    matrix = [cos * one, -sin * one, 0, sin * one, cos * one, 0, 0, 0, 1 << 30]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
