"""How much of a file the system holds in memory."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import numpy as np


def resident_bytes(file: Path) -> int | None:
    """Bytes of `file` in the page cache, or None where the system cannot tell (mincore is missing
    or refuses).
    """
    size = file.stat().st_size
    if not size:
        return 0
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except (AttributeError, OSError, TypeError):
        return None
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        pages = np.empty(-(-size // mmap.PAGESIZE), np.uint8)
        view = np.frombuffer(mapped, np.uint8)
        failed = mincore(
            ctypes.c_void_p(view.ctypes.data),
            ctypes.c_size_t(size),
            ctypes.c_void_p(pages.ctypes.data),
        )
        del view  # or the map could not be closed
    if failed:
        return None
    return min(size, int((pages & 1).sum()) * mmap.PAGESIZE)
