"""How much of a store the page cache holds; letting it go, and reading it in."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from lmdb_reid.progress import Progress
from lmdb_reid.store import read_manifest, resident_bytes

_CHUNK = 8 << 20  # bytes read at once: far over what a disk needs to reach its rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """How much of some files is in memory."""

    bytes: int
    """Of the files."""
    resident: int | None
    """Of these in the page cache; None where the system cannot tell."""

    @property
    def share(self) -> float | None:
        """0 to 1; None where the system cannot tell."""
        return None if self.resident is None else self.resident / max(1, self.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadIn:
    """Files that were read, or as much of them as the time allowed."""

    bytes: int
    seconds: float
    whole: bool


def store_files(path: Path) -> list[Path]:
    """The files of a store, columns and all, and the data files of its parts, in a fixed order."""
    # By the manifest alone: opening LMDB would read a small data file into the cache.
    own = {file for file in path.rglob("*") if file.is_file()}
    parts = {(path / part.path).resolve() for part in read_manifest(path).parts}
    return sorted({file.resolve() for file in own} | {file for file in parts if file.is_file()})


def held(path: Path) -> Pages:
    """How much of a store's files the page cache holds."""
    files = store_files(path)
    resident = [resident_bytes(file) for file in files]
    known = [count for count in resident if count is not None]
    return Pages(
        bytes=sum(file.stat().st_size for file in files),
        resident=sum(known) if len(known) == len(files) else None,
    )


def drop(path: Path) -> bool:
    """Ask the system to let a store's files go from the page cache (posix_fadvise DONTNEED).

    Pages that a process has mapped stay: no `Store` of this process may be open. `held` tells
    what is left.

    Returns:
        Whether the system has such a call.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    for file in store_files(path):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return True


def read_in(
    path: Path, *, progress: Progress | None = None, limit_s: float = float("inf")
) -> ReadIn:
    """Read a store's files once, so that they are in the page cache, as far as it has room.

    Raises:
        OSError: a file cannot be read.
    """
    files = store_files(path)
    total = sum(file.stat().st_size for file in files)
    buffer = memoryview(bytearray(_CHUNK))
    began, done = time.perf_counter(), 0
    for file in files:
        with file.open("rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                done += count
                if progress is not None:
                    progress(done, total, 0)
                if time.perf_counter() - began > limit_s:
                    return ReadIn(
                        bytes=done, seconds=time.perf_counter() - began, whole=done == total
                    )
    return ReadIn(bytes=done, seconds=time.perf_counter() - began, whole=True)
