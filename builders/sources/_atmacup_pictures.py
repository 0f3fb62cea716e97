"""Where the atmaCup layout's frames are: images by their names, or videos and frame numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from builders.columns import TextMap
from builders.media import Files, Medium, Videos, frame_key, image_names, is_video
from builders.sources._video_rows import checked_first_frame
from lmdb_reid.errors import SourceError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""In this order, where a stem has several."""
Named = tuple[str, str, Any, Any]
"""(quarter, angle, session, frame); what should be numbers may be none."""


class Pictures(Protocol):
    """What a source asks of them."""

    def key(self, frame: Named) -> str:
        """The key of a frame, also of one that is not there."""
        ...

    def absence(self, key: str) -> str:
        """Why a frame has no picture; "" where it may have one."""
        ...

    def medium(self, keys: Iterable[str]) -> Medium:
        """What shows them."""
        ...


@dataclass(frozen=True, slots=True)
class Images:
    """`{quarter}__{angle}__{session:02d}__{frame:02d}.jpg`, or without leading zeros."""

    folder: Path
    files: Mapping[str, str]
    """By stem."""

    def key(self, frame: Named) -> str:
        """The stem of the image: with numbers padded to two digits, or as they are, whichever is
        there.
        """
        quarter, angle, session, number = frame
        try:
            padded = f"{quarter}__{angle}__{int(session):02d}__{int(number):02d}"
            plain = f"{quarter}__{angle}__{int(session)}__{int(number)}"
        except (ValueError, OverflowError):  # not numbers: the row is skipped for that
            return f"{quarter}__{angle}__{session}__{number}"
        return plain if plain in self.files and padded not in self.files else padded

    def absence(self, key: str) -> str:
        """Whether the image is not there."""
        return "" if key in self.files else f"its frame {key} is not in {self.folder}"

    def medium(self, keys: Iterable[str]) -> Medium:
        """The files."""
        return Files(self.folder, TextMap((key, self.files[key]) for key in keys))


@dataclass(frozen=True, slots=True)
class VideoFrames:
    """`{quarter}__{angle}__{session:02d}.mp4`, or one video of any name."""

    folder: Path
    files: Mapping[str, str]
    """By stem."""
    only: str
    """The stem of the one video that was named; "" where a folder was."""
    first_frame: int

    def key(self, frame: Named) -> str:
        """The video's stem and the number of the frame."""
        quarter, angle, session, number = frame
        try:
            padded = f"{quarter}__{angle}__{int(session):02d}"
            plain = f"{quarter}__{angle}__{int(session)}"
            whole = int(number)
        except (ValueError, OverflowError):  # not numbers: the row is skipped for that
            return f"{quarter}__{angle}__{session}/{number}"
        found = plain if plain in self.files and padded not in self.files else padded
        return frame_key(self.only or found, whole)

    def absence(self, key: str) -> str:
        """Whether the video is not there. What frames it has is seen when it is opened."""
        video = key.rpartition("/")[0]
        return "" if video in self.files else f"its video {video} is not in {self.folder}"

    def medium(self, keys: Iterable[str]) -> Medium:
        """The videos."""
        used = {key.rpartition("/")[0] for key in keys}
        return Videos.below(self.folder, (self.files[video] for video in used), self.first_frame)


def images_by_stem(folder: Path) -> dict[str, str]:
    """The image of each stem in a folder; of several, the first of `IMAGE_SUFFIXES`."""
    return _by_stem(image_names(folder, option="--img-root"))


def pictures_at(img_root: Path, first_frame: int | None, usable: pd.DataFrame) -> Pictures:
    """The images of a folder; its videos where it has no images; or one video.

    Args:
        img_root: the folder, or the video.
        first_frame: of videos, the number of the first frame, as the user says it.
        usable: the rows that name frames.

    Raises:
        SourceNotFoundError: nothing is there.
        SourceError: it cannot be listed, one video stands for several, or a frame is named before
            the first.
        UsageError: there are videos, and nothing says how their frames are counted.
    """
    only = img_root.stem if img_root.is_file() and is_video(img_root.name) else ""
    names = [img_root.name] if only else image_names(img_root, option="--img-root")
    images = {} if only else _by_stem(names)
    videos = {name.rpartition(".")[0]: name for name in names if only or is_video(name)}
    if images or not videos:
        return Images(img_root, images)
    of_each = usable[["quarter", "angle", "session"]].drop_duplicates()
    if only and len(of_each) > 1:
        raise SourceError(
            f"one video must be of one quarter, angle and session; got {len(of_each)} in"
            " the csv. Use --img-root with a folder of videos called"
            " {quarter}__{angle}__{session:02d}.mp4"
        )
    numbers = usable["frame"].to_numpy(np.int64)
    first = checked_first_frame(first_frame, numbers, "the csv")
    return VideoFrames(img_root.parent if only else img_root, videos, only, first)


def _by_stem(names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for suffix in reversed(IMAGE_SUFFIXES):
        found |= {name[: -len(suffix)]: name for name in names if name.lower().endswith(suffix)}
    return found
