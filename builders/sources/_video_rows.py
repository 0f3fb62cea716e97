"""Rows that name frames of videos: what sources of frames and boxes share of them."""

from __future__ import annotations

from pathlib import Path

from builders.columns import Ints
from builders.media import is_video
from builders.sources._tree import files_below
from lmdb_reid.errors import SourceError, UsageError


def checked_first_frame(said: int | None, numbers: Ints, where: str) -> int:
    """The number of a video's first frame.

    Args:
        said: by the user.
        numbers: of the frames that rows name.
        where: the rows stand, in words.

    Raises:
        UsageError: the user does not say it; it is never guessed.
        SourceError: a row names a frame before it: then all rows may be one frame off.
    """
    if said not in (0, 1):
        raise UsageError(
            "videos need --first-frame 0 or --first-frame 1: whether rows count a video's frames"
            " from 0 or from 1"
        )
    if len(numbers) and numbers.min() < said:
        raise SourceError(
            f"frames must be counted from {said} (--first-frame {said}), and {where}"
            f" names frame {numbers.min()}. Use --first-frame 0 if all are counted from"
            " 0. If some are counted from 0 and some from 1, rows would show other frames"
        )
    return said


def videos_at(root: Path, *, option: str) -> tuple[Path, list[str]]:
    """(folder, paths of videos below it) of a video, or of a folder of them.

    Raises:
        SourceNotFoundError: nothing is there.
        SourceError: a folder cannot be listed.
    """
    if root.is_file():
        return root.parent, [root.name]
    return root, files_below(root, is_video, option=option)
