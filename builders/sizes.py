"""The sizes of frames, from their headers alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builders.sources import Frame
from lmdb_reid import codec
from lmdb_reid.errors import ImageError
from lmdb_reid.schema import Size

_CHUNK = 32
_SLOW = 3e-4
"""Seconds for a header from which on threads are worth it. One that is in memory takes 15 us, less
than handing it to a thread; one on a network drive takes milliseconds.
"""


def frame_sizes(frames: Sequence[Frame], num_workers: int) -> Iterator[Size | str]:
    """(height, width) of each frame in turn, or a sentence on why its image cannot be used."""
    slow = False
    with ThreadPoolExecutor(num_workers, thread_name_prefix="probe") as pool:
        for first in range(0, len(frames), _CHUNK):
            paths = [frame.path for frame in frames[first : first + _CHUNK]]
            began = time.perf_counter()
            sizes = list((pool.map if slow else map)(_size_of, paths))
            seconds = time.perf_counter() - began
            slow = seconds * (num_workers if slow else 1) > _SLOW * len(paths)
            yield from sizes


def _size_of(path: Path) -> Size | str:
    try:
        if not path.is_file() and path.exists():
            return f"{path.name}: no regular file"
        info = codec.probe_file(path)
    except ImageError as error:
        return f"{path.name}: {error}"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    return info.height, info.width
