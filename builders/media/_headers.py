"""The sizes of many frames, from their headers alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from builders.media._protocol import Medium
from lmdb_reid.errors import ImageError
from lmdb_reid.schema import Size

_CHUNK = 32
_SLOW = 3e-4
"""Seconds for a header from which on threads are worth it. One that is in memory takes 15 us, less
than handing it to a thread; one on a network drive takes milliseconds.
"""


def frame_sizes(medium: Medium, keys: Sequence[str], num_workers: int) -> Iterator[Size | str]:
    """(height, width) of each frame in turn, or a sentence on why its picture cannot be used.

    Raises:
        SourceReadError: a picture cannot be read now.
    """

    def size_of(key: str) -> Size | str:
        try:
            return medium.size(key)
        except ImageError as error:
            return f"{medium.name(key)}: {error}"

    slow = False
    with ThreadPoolExecutor(num_workers, thread_name_prefix="probe") as pool:
        for first in range(0, len(keys), _CHUNK):
            few = keys[first : first + _CHUNK]
            began = time.perf_counter()
            sizes = list((pool.map if slow else map)(size_of, few))
            seconds = time.perf_counter() - began
            slow = seconds * (num_workers if slow else 1) > _SLOW * len(few)
            yield from sizes
