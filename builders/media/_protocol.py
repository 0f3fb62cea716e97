"""What gives the pictures of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmdb_reid.schema import Size

Stamp = tuple[int, ...]
"""Numbers that change when a picture does, such as a file's size and time of change; () where there
is no picture.
"""

Picture = Callable[[], bytes | npt.NDArray[np.uint8]]
"""Gives a picture when it is called, in any thread, once: the bytes of an image file, or its pixels
as RGB, uint8 [H, W, 3], which are the caller's.

Raises:
    ImageError: this picture cannot be used, now or later. Its rows are skipped.
    SourceReadError: it cannot be read now; a later try may succeed.
"""


class Medium(Protocol):
    """Pictures by the key of their frame.

    Laws: a key gives the same picture each time; `stamp` changes when the picture does; `size` is
    that of the picture; a medium pickles, and its copy gives the same; all calls may come from any
    thread. What is wrong with one picture is an `ImageError` and ends nothing else.
    """

    def name(self, key: str) -> str:
        """What people call the picture, for messages: a file's name, a video's and a number."""
        ...

    def stamp(self, key: str) -> Stamp:
        """What tells a resumed build that the picture is still the same.

        Raises:
            SourceReadError: the disk fails.
        """
        ...

    def size(self, key: str) -> Size:
        """(height, width) in pixels as the picture is seen, from its header alone.

        Raises:
            ImageError: the picture cannot be used.
            SourceReadError: it cannot be read now.
        """
        ...

    def run(self, keys: Iterable[str]) -> Iterator[Picture]:
        """A picture for each key, in the order of the keys, which ascend as their bytes do.

        The caller takes the next one when it is ready for it. So what is decoded in one go and
        forwards, such as a video, is decoded here; what can be read in any order is read when the
        picture is called, which happens in a thread.

        Raises:
            SourceError: no picture can be had.
        """
        ...
