"""The sizes of frames, from their headers alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builders.sources import Frame
from lmdb_reid import codec
from lmdb_reid.errors import ImageError
from lmdb_reid.schema import Size


def frame_sizes(frames: Sequence[Frame], workers: int) -> Iterator[Size | str]:
    """(height, width) of each frame in turn, or a sentence on why its image cannot be used."""
    with ThreadPoolExecutor(workers, thread_name_prefix="probe") as pool:
        yield from pool.map(_size_of, [frame.path for frame in frames])


def _size_of(path: Path) -> Size | str:
    try:
        if path.exists() and not path.is_file():
            return f"{path.name}: no regular file"
        info = codec.probe_file(path)
    except ImageError as error:
        return f"{path.name}: {error}"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    return info.height, info.width
