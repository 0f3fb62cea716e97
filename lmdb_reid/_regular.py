"""Regular files, read or mapped by their descriptors: nothing else is waited for, and
what was looked at is what is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_TEXT = 1 << 32
"""Most bytes of a csv or json that a user names: some ten million rows of it."""
_OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def opened(file: Path) -> Iterator[tuple[int, int]]:
    """(descriptor, size in bytes) of a regular file, or a link to one.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is a folder, a pipe or a device, or no file can have that name.
    """
    descriptor = os.open(file, os.O_RDONLY | _OPEN)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def read_limited(file: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or has more bytes.
    """
    with opened(file) as (descriptor, size):
        if size > limit:
            raise ValueError(f"it has more than {limit:,} bytes")
        blocks, left = [], limit + 1  # it may grow meanwhile
        while left and (block := os.read(descriptor, min(left, size + 1))):
            blocks.append(block)
            left -= len(block)
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
    if len(data) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return data


def mapped(file: Path, dtype: str, count: int) -> npt.NDArray[Any]:
    """A read-only map of a regular file that holds exactly `count` numbers, at least one.

    Raises:
        OSError: it cannot be opened or mapped.
        ValueError: it is no regular file, or has another length.
    """
    with opened(file) as (descriptor, size):
        wanted = count * np.dtype(dtype).itemsize
        if size != wanted:
            raise ValueError(f"it has {size} bytes; its manifest says {wanted}")
        with open(descriptor, "rb", buffering=0, closefd=False) as found:
            # As a plain array over the map, which takes 10 us to index itself.
            return np.memmap(found, dtype, "r", shape=(count,)).view(np.ndarray)
