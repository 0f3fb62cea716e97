"""Pictures that are files of their own."""

from __future__ import annotations

import errno
import functools
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Self

from builders.columns import TextMap
from builders.media._protocol import Picture, Stamp
from lmdb_reid import codec
from lmdb_reid.errors import (
    DuplicateSampleError,
    ImageError,
    SourceError,
    SourceNotFoundError,
    SourceReadError,
)
from lmdb_reid.schema import Size

_MOST_BYTES = 1 << 30
_LASTING = {
    errno.ENOENT,
    errno.EISDIR,
    errno.EACCES,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
"""Errors that say something of the file. All others say something of the disk, the network or this
process, and may be gone at the next try.
"""


@dataclass(frozen=True, slots=True)
class Files:
    """Image files below one folder; see `Medium`.

    Args:
        root: the folder.
        names: each frame's file, as a path below `root`, by its key. For millions of files:
            `builders.columns.TextMap`.
    """

    root: Path
    names: Mapping[str, str]

    @classmethod
    def below(cls, root: Path, paths: Iterable[str]) -> Self:
        """Files whose keys are their paths below `root` without suffix.

        Raises:
            DuplicateSampleError: two differ in their suffixes alone.
        """
        pairs = sorted((str(PurePosixPath(path).with_suffix("")), path) for path in paths)
        for (key, one), (next_key, other) in pairwise(pairs):
            if key == next_key:
                raise DuplicateSampleError(
                    f"{root / one} and {root / other} would lead to the same ids: {key}"
                )
        return cls(root, TextMap(pairs))

    def path(self, key: str) -> Path:
        """The file of a frame."""
        return self.root / self.names[key]

    def name(self, key: str) -> str:
        """The file's path below the root."""
        return self.names[key]

    def stamp(self, key: str) -> Stamp:
        """Size in bytes and time of change in nanoseconds."""
        try:
            with read_errors(self.path(key)):
                status = self.path(key).stat()
        except ImageError:
            return ()
        return status.st_size, status.st_mtime_ns

    def size(self, key: str) -> Size:
        """(height, width) from the head of the file."""
        path = self.path(key)
        with read_errors(path):
            _check_picture(path)
            info = codec.probe_file(path)
        return info.height, info.width

    def run(self, keys: Iterable[str]) -> Iterator[Picture]:
        """Files are read when they are called for, by as many threads as there are."""
        for key in keys:
            yield functools.partial(_read, self.path(key))


def _read(path: Path) -> bytes:
    with read_errors(path):
        _check_picture(path)
        return path.read_bytes()


def check_regular(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        ImageError: it is a folder, a pipe, a device.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, for ever
        raise ImageError("no regular file")


def _check_picture(path: Path) -> None:
    """Refuse what is no picture's file, before memory is taken for it."""
    check_regular(path)
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ImageError(f"{size:,} bytes: a picture's file has at most {_MOST_BYTES:,}")


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Tell what is wrong with a file from what is wrong with the disk."""
    try:
        yield
    except ImageError:
        raise
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        if error.errno in _LASTING:
            raise ImageError(reason) from None
        raise SourceReadError(f"{path} {reason}") from None
    except ValueError as error:  # a name that no file can have
        raise ImageError(f"cannot be read: {error}") from None


def image_names(folder: Path, *, option: str) -> list[str]:
    """The names of what is in a folder, sorted.

    Args:
        folder: of image files.
        option: of the command, which names the folder.

    Raises:
        SourceNotFoundError: no such folder.
        SourceError: it cannot be listed.
    """
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        raise SourceNotFoundError(f"no folder of frames at {folder} ({option})") from None
    except OSError as error:
        raise SourceError(
            f"{folder} cannot be listed: {error.strerror} ({option} names the folder)"
        ) from None
