"""Pictures that are frames of videos, decoded by PyAV, once and forwards."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from builders.media._files import Files
from builders.media._protocol import Picture, Stamp
from builders.media._video_index import VideoIndex, opened, video_errors, video_index
from lmdb_reid.errors import ImageError
from lmdb_reid.machine import available_cores
from lmdb_reid.schema import Pixels, Size

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
    *(".ts", ".m2ts", ".mts", ".wmv", ".flv", ".ogv"),
)
"""Of files that are taken for videos, in lower case. What is in them decides how they are read."""
MAX_FRAME = 10**8
"""Numbers of frames are below this: some weeks of video. Their keys have eight digits, and so their
order.
"""
SEEK = 64
"""Frames from which on a key frame is gone to instead of decoding up to it: opening a video again
takes as long as some ten to fifty frames.
"""
_DELAY = 16  # frames that H.264 puts in order at a time, at most
_kept = threading.local()


def is_video(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith(".")


def frame_key(video: str, number: int) -> str:
    """The key of a frame: keys ascend as the numbers of a video's frames do."""
    return f"{video}/{number:08d}"


@dataclass(frozen=True, slots=True)
class Videos:
    """Frames of videos, by `frame_key` of the video's key and the frame's number; see `Medium`.

    Frames are counted as they are shown, not by time, and not by what the decoder gave: a damaged
    one counts. Behind damage, pictures are given again from the next key frame on. Colours are
    those of swscale with what the video says of its matrix and range; where it says nothing they
    are BT.601, limited range, as in ffmpeg.

    Args:
        files: the videos by their keys.
        first_frame: the number of each video's first frame, 0 or 1.
    """

    files: Files
    first_frame: int

    @classmethod
    def below(cls, root: Path, paths: Iterable[str], first_frame: int) -> Self:
        """Videos whose keys are their paths below `root` without suffix.

        Raises:
            MissingExtraError: PyAV is not installed.
            DuplicateSampleError: two differ in their suffixes alone.
        """
        with video_errors():
            import av  # noqa: F401 - now, and not when the first frame is wanted
        return cls(Files.below(root, paths), first_frame)

    def name(self, key: str) -> str:
        """The video's path below the root, and the frame's number."""
        video, number = _parts(key)
        return f"{self.files.name(video)} frame {number}"

    def stamp(self, key: str) -> Stamp:
        """Size in bytes and time of change of the video."""
        return self.files.stamp(_parts(key)[0])

    def size(self, key: str) -> Size:
        """(height, width) of the video's first frame; the container says whether it has this one.
        Damage is not seen.
        """
        video, number = _parts(key)
        index = self._index(video)
        self._check(index, number - self.first_frame)
        return index.size

    def run(self, keys: Iterable[str]) -> Iterator[Picture]:
        """Each video is decoded in the thread that goes through the run, by the decoder's own
        threads, from the key frame before the first frame that is wanted; colours are converted
        where the picture is called.
        """
        here, forwards = "", None
        try:
            for key in keys:
                video, number = _parts(key)
                try:
                    if video != here or forwards is None:
                        if forwards is not None:
                            forwards.close()
                        here, forwards = video, None
                        forwards = _Forwards(self.files.path(video), self._index(video))
                    at = number - self.first_frame
                    self._check(forwards.index, at)
                    frame = forwards.frame(at)
                except ImageError as error:
                    yield functools.partial(_refuse, error)
                    continue
                if frame is None:
                    reason = "it cannot be decoded: the video is damaged"
                    last = forwards.last_good(at)
                    if last is not None:
                        reason += f", its last good frame is {last + self.first_frame}"
                    yield functools.partial(_refuse, ImageError(reason))
                else:
                    yield functools.partial(_pixels, frame, forwards.index)
        finally:
            if forwards is not None:
                forwards.close()

    def _index(self, video: str) -> VideoIndex:
        return video_index(self.files.path(video), self.files.stamp(video))

    def _check(self, index: VideoIndex, at: int) -> None:
        """Refuse a frame that the video does not have."""
        if not 0 <= at < index.count:
            first, last = self.first_frame, index.count - 1 + self.first_frame
            reason = f"the video has no such frame: its frames are {first} to {last}"
            if index.is_cut:
                reason += ", and it was cut short behind the last one"
            elif at == index.count and not first:
                reason += ". Use --first-frame 1 if they are counted from 1"
            raise ImageError(reason)


class _Forwards:
    """One video, gone through forwards; it goes back, or leaves frames out, at key frames alone."""

    def __init__(self, path: Path, index: VideoIndex) -> None:
        self.index = index
        self._path = path
        self._frames: Iterator[tuple[int, VideoFrame]] | None = None
        self._next: tuple[int, VideoFrame] | None = None  # decoded, and not wanted so far
        self._position = 0  # of the next frame that comes
        self._damaged = range(0)

    def close(self) -> None:
        """Let go of the file."""
        frames, self._frames, self._next = self._frames, None, None
        if frames is not None:
            frames.close()  # type: ignore[attr-defined]  # it is a generator

    def last_good(self, at: int) -> int | None:
        """The last frame before the damage that this place lies in; None where there is none."""
        return self._damaged.start - 1 if at in self._damaged and self._damaged.start else None

    def frame(self, at: int) -> VideoFrame | None:
        """The frame of this place, from 0; None where the video is damaged there."""
        if at in self._damaged:
            return None
        start = self.index.key_before(at)
        position = self._position if self._next is None else self._next[0]
        if self._frames is None or at < position or start - position > SEEK:
            self._restart(start)
        while (found := self._following()) is not None and found[0] < at:
            self._next = None
        if found is None or found[0] > at:
            return None
        self._next = None
        return found[1]

    def _restart(self, start: int, *, threads: bool = True) -> None:
        self.close()
        self._position = start
        self._frames = self._decoded(start, threads=threads)

    def _following(self) -> tuple[int, VideoFrame] | None:
        """The next frame; None where the video is damaged."""
        if self._next is None:
            position = self._position
            found = self._decode()
            if found is None:
                # Once more without threads, which may keep good frames when a later one is damaged.
                self._restart(self.index.key_before(position), threads=False)
                while (found := self._decode()) is not None and found[0] < position:
                    pass
            if found is None:
                self.close()
                self._damaged = range(self._position, self.index.key_after(self._position))
            self._next = found
        return self._next

    def _decode(self) -> tuple[int, VideoFrame] | None:
        assert self._frames is not None
        try:
            found = next(self._frames, None)
        except ImageError:
            found = None
        if found is not None:
            self._position = found[0] + 1
        return found

    def _decoded(self, start: int, *, threads: bool) -> Iterator[tuple[int, VideoFrame]]:
        """Places and frames from a key frame on, until the first that is damaged."""
        if start and self.index.pts is not None:
            sought = self._decoded_from(start, threads=threads, seek=True)
            try:
                first = next(sought, None)
            except ImageError:
                first = None
            if first is not None and first[0] == start:
                yield first
                yield from sought
                return
            sought.close()  # a container without an index was sought in behind the key frame
        yield from self._decoded_from(start, threads=threads, seek=False)

    def _decoded_from(
        self, start: int, *, threads: bool, seek: bool
    ) -> Generator[tuple[int, VideoFrame]]:
        with video_errors(self._path), opened(self._path) as (container, stream):
            _prepare(stream, threads=threads)
            pts = self.index.pts
            if seek and pts is not None:
                container.seek(int(pts[start]), stream=stream)
            count = 0
            held: deque[tuple[int, VideoFrame]] = deque()
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise ImageError("it is cut short")
                for frame in stream.codec_context.decode(packet):
                    if frame.is_corrupt:
                        raise ImageError("it is damaged")
                    at = count if pts is None else self.index.place(frame.pts)
                    count += 1
                    if at >= start:
                        held.append((at, frame))
                    while held and (pts is None or self.index.needs[held[0][0]] <= at):
                        yield held.popleft()


def _prepare(stream: VideoStream, *, threads: bool) -> None:
    """Have the decoder say which frames are damaged.

    Its marks on a frame are copied when the frame is put in the order of showing, while the thread
    that decodes it may not have ended: of one damaged frame of H.264 the mark was lost in 12 of 40
    runs. With more frames put in order at a time than there are threads, it has: 0 of 40.
    """
    context, options = stream.codec_context, {"err_detect": "explode"}
    stream.thread_type = "AUTO" if threads else "NONE"
    if threads and context.name == "h264":
        context.thread_count = min(available_cores() + 1, _DELAY - 2)
        options["has_b_frames"] = str(_DELAY)
    elif threads and context.name == "mpeg4":  # it has no such option
        stream.thread_type = "SLICE"
    context.options = options


def _parts(key: str) -> tuple[str, int]:
    video, _, number = key.rpartition("/")
    return video, int(number)


def _refuse(error: ImageError) -> Pixels:
    raise error


def _pixels(frame: VideoFrame, index: VideoIndex) -> Pixels:
    """A frame as RGB, turned as the video says."""
    from av.video.reformatter import Interpolation, VideoReformatter

    if not hasattr(_kept, "reformatter"):
        _kept.reformatter = VideoReformatter()
    with video_errors():
        rgb = _kept.reformatter.reformat(
            frame, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
        )
    (plane,) = rgb.planes
    lines = np.frombuffer(plane, np.uint8).reshape(rgb.height, plane.line_size)
    image = lines[:, : 3 * rgb.width].reshape(rgb.height, rgb.width, 3)
    if index.turns:
        image = np.ascontiguousarray(np.rot90(image, index.turns))
    if image.shape[:2] != index.size:
        raise ImageError(
            f"it is {image.shape[1]}x{image.shape[0]}, but the video began with"
            f" {index.size[1]}x{index.size[0]}"
        )
    return image
