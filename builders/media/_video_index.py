"""Which frames a video has, and where its decoding may begin: from its packets, none decoded but
those of the first frame.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builders.columns import Ints
from builders.media._files import check_regular, read_errors
from builders.media._protocol import Stamp
from lmdb_reid import codec
from lmdb_reid.errors import ImageError, MissingExtraError
from lmdb_reid.schema import Size

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_lock = threading.Lock()
_AVI_HEAD = 8  # bytes of a chunk before its packet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoIndex:
    """The frames of a video, by their places from 0 in the order in which they are shown."""

    count: int
    """How many there are."""
    size: Size
    """(height, width) of the first, turned."""
    turns: int
    """Quarters of a turn, counterclockwise, that pictures are shown with."""
    pts: Ints | None
    """[count], ascending: the time stamp of each; None where the container has none, or the same
    one twice. Then frames are counted from the first one on.
    """
    keys: Ints
    """Places of key frames, ascending; only where there are time stamps."""
    needs: Ints
    """[count]: the last place among the frames that are decoded up to each: where one of these is
    damaged, so may it be, though it is shown before. Only where there are time stamps.
    """
    is_cut: bool
    """The file ends within a frame, or the container says that it has more."""

    def key_before(self, at: int) -> int:
        """The place of the last key frame up to this place; 0 where none is known."""
        found = int(np.searchsorted(self.keys, at, side="right"))
        return int(self.keys[found - 1]) if found else 0

    def key_after(self, at: int) -> int:
        """The place of the first key frame behind this place; the end where none is known."""
        found = int(np.searchsorted(self.keys, at, side="right"))
        return int(self.keys[found]) if found < len(self.keys) else self.count

    def place(self, pts: int | None) -> int:
        """The place of a frame with this time stamp.

        Raises:
            ImageError: none has it.
        """
        assert self.pts is not None
        at = -1 if pts is None else int(np.searchsorted(self.pts, pts))
        if not 0 <= at < self.count or self.pts[at] != pts:
            raise ImageError(
                "the decoder returned a frame at a time that the container does not have"
            )
        return at


def video_index(path: Path, stamp: Stamp) -> VideoIndex:
    """The index of a video, read once as long as its stamp is the same.

    Raises:
        ImageError: it is no video, or has no frames.
        SourceReadError: it cannot be read now.
        MissingExtraError: PyAV is not installed.
    """
    with _lock:  # many threads ask for one video
        found = _read(path, stamp)
    if isinstance(found, ImageError):
        raise found
    return found


@functools.lru_cache(maxsize=256)
def _read(path: Path, _stamp: Stamp) -> VideoIndex | ImageError:
    try:
        with video_errors(path):
            return _index(path)
    except ImageError as error:
        return error


def _index(path: Path) -> VideoIndex:
    times: list[int | None] = []
    keys: list[int | None] = []
    positions: list[int | None] = []
    corrupt = 0  # packets at the end
    with opened(path) as (container, stream):
        missing = stream.frames  # 0 where the container does not say
        for packet in container.demux(stream):
            missing -= bool(packet.size)
            if packet.size and not packet.is_discard:
                corrupt = corrupt + 1 if packet.is_corrupt else 0
                times.append(packet.pts)
                positions.append(packet.pos)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        good = len(times) - corrupt
        if (
            container.format.name == "avi"
        ):  # its time stamps count what was found: a loss moves them
            listed = [entry.pos + _AVI_HEAD for entry in stream.index_entries]
            good = min(good, _same(positions, listed))
    first, size, turns = _first_frame(path)
    is_cut = good < len(times) or missing > 0
    times = times[:good]
    found = np.array([time for time in times if time is not None], np.int64)
    ascending = np.unique(found)
    pts: Ints | None = None
    places, needs, count = np.zeros(0, np.int64), np.zeros(0, np.int64), len(times)
    if first is not None and len(ascending) == len(times):
        # What comes before the first is shown by nobody: its key frame is not there.
        pts, decoded = ascending[ascending >= first], found[found >= first]
        count = len(pts)
        order = np.searchsorted(pts, decoded)
        needs = np.empty(count, np.int64)
        needs[order] = np.maximum.accumulate(order)
        shown = np.array([time for time in keys if time is not None], np.int64)
        places = np.searchsorted(pts, np.intersect1d(shown, pts))
    return VideoIndex(
        count=count, size=size, turns=turns, pts=pts, keys=places, needs=needs, is_cut=is_cut
    )


def _same(one: Sequence[object], other: Sequence[object]) -> int:
    """How many items two lists begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (mine, yours) in enumerate(pairs) if mine != yours), len(one))


def _first_frame(path: Path) -> tuple[int | None, Size, int]:
    """The time stamp of the first frame that can be decoded, its (height, width) and its turns."""
    with opened(path) as (container, stream):
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ImageError("the video has no frames")
        height, width = frame.height, frame.width
        if height * width > codec.MAX_PIXELS:
            raise ImageError(f"its frames are {width}x{height}, over {codec.MAX_PIXELS:,} pixels")
        turns = round(frame.rotation / 90) % 4
        return frame.pts, (width, height) if turns % 2 else (height, width), turns


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video file and its stream of pictures.

    Raises:
        ImageError: it has none.
    """
    import av
    from av.stream import Disposition
    from av.video.stream import VideoStream

    with read_errors(path):
        check_regular(path)
    with av.open(path) as container:
        stream = container.streams.best("video")
        # The picture on the cover of a sound file is a stream too.
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            raise ImageError("it has no video")
        yield container, stream


@contextmanager
def video_errors(path: Path | None = None) -> Iterator[None]:
    """Errors of PyAV as those of a picture, or of the disk."""
    try:
        import av
    except ModuleNotFoundError:
        raise MissingExtraError.of("PyAV", "video", "reading a video") from None
    try:
        yield
    except av.error.FFmpegError as error:
        if path is not None and isinstance(error, OSError):
            with read_errors(path):
                raise
        raise ImageError(f"it cannot be read as a video: {error.strerror}") from None
