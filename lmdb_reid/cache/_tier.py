"""Decoded pixels in a memory-mapped file: shared by all workers, ranks and runs on a machine."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmdb_reid import _disk
from lmdb_reid.errors import UsageError, WriteError
from lmdb_reid.machine import size_in_words
from lmdb_reid.schema import Pixels, Rows
from lmdb_reid.store import Store

_PIXELS, _DONE, _META = "pixels.bin", "done.bin", "meta.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class DecodedTier:
    """Every image of a store decoded once, beside the store or in a directory given (such as
    /dev/shm).

    Pixels are kept by part: stores that share parts, in whatever order, may share a directory.

    It fills as rows are first decoded, or at once by `lmdb-reid warm STORE --decoded`. The whole
    size is reserved before the first byte, so that a full disk is an error here and not a crash
    later. A row is served only when it was wholly written; files written before a restart of the
    machine and never synced are begun anew. What was made from another store, at another size or
    by another decoder has another folder and is never read.

    Args:
        store: the store whose pixels these are.
        dir: where to; `STORE.decoded` beside the store unless given.
    """

    def __init__(self, store: Store, dir: str | os.PathLike[str] | None = None) -> None:
        self.path = (
            Path(dir) if dir is not None else store.path.with_name(store.path.name + ".decoded")
        )
        self._own = dir is None  # a folder of a user's may hold whatever else
        self._counts = {part.digest: part.count for part in store.manifest.parts}
        self._files: dict[str, _Files] = {}
        self._lock = threading.Lock()
        self._served = self._kept = self._missed = 0
        _tiers.add(self)

    def fill(self, source: str, rows: Rows, out: Pixels) -> Rows:
        """See `PixelCache`: one gather over the memory map.

        Raises:
            UsageError: `source` is another store.
            WriteError: no room for the tier.
        """
        files = self._files_of(source, out)
        done = files.done[rows] == 1
        flat = out.reshape(len(out), files.pixels.shape[1])
        if done.all():
            np.take(files.pixels, rows, axis=0, out=flat, mode="clip")
            self._count(served=len(rows))
            return np.empty(0, np.int64)
        there = np.flatnonzero(done)
        flat[there] = files.pixels[rows[there]]
        self._count(served=len(there), missed=len(rows) - len(there))
        return np.flatnonzero(~done)

    def keep(self, source: str, rows: Rows, pixels: Pixels) -> None:
        """See `PixelCache`: the pixels first, then the mark that they are there."""
        files = self._files_of(source, pixels)
        for row, image in zip(rows.tolist(), pixels, strict=True):
            data = np.ascontiguousarray(image)
            _disk.write_at(files.pixels_fd, data.data.cast("B"), row * data.nbytes)
            _disk.write_at(files.done_fd, b"\1", row)
        self._count(kept=len(rows))

    def stats(self) -> dict[str, int]:
        """hits, misses and rows written by this process."""
        return {"hits": self._served, "misses": self._missed, "kept": self._kept}

    def sync(self) -> None:
        """Bring what was written to the disk, so that it survives a restart of the machine."""
        for files in self._files.values():
            _disk.sync(files.pixels_fd)
            _disk.sync(files.done_fd)
            if files.done.all():
                _write_meta(files.folder, None)
                _disk.sync(files.folder.parent)

    def clear(self) -> None:
        """Remove this store's files from the disk. Nobody else may be reading them."""
        self._files.clear()
        for digest in self._counts:
            for folder in self.path.glob(f"{digest}-*"):
                with contextlib.suppress(OSError):  # somebody else removes them, or they stay
                    _disk.remove(folder)
        if self._own:
            with contextlib.suppress(OSError):  # another store's are there too, or nothing is
                _disk.remove_folder(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {
            "_files": {}
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        _tiers.add(self)

    def __repr__(self) -> str:
        return f"DecodedTier({str(self.path)!r})"

    def _count(self, *, served: int = 0, missed: int = 0, kept: int = 0) -> None:
        with self._lock:
            self._served += served
            self._missed += missed
            self._kept += kept

    def _files_of(self, source: str, pixels: Pixels) -> _Files:
        with self._lock:
            files = self._files.get(source)
            if files is not None:
                return files
            count = self._counts.get(source.partition("-")[0])
            if count is None:
                raise UsageError(f"{self!r} was made for another store than the one that is read")
            nbytes = int(np.prod(pixels.shape[1:]))
            files = self._files[source] = _open(self.path / source, count, nbytes)
            return files


@dataclass(slots=True)
class _Files:
    """An open tier: maps to read by, descriptors to write by."""

    folder: Path
    pixels: Pixels
    done: Pixels
    pixels_fd: int
    done_fd: int

    def __del__(self) -> None:
        os.close(self.pixels_fd)
        os.close(self.done_fd)


def _open(folder: Path, count: int, nbytes: int) -> _Files:
    try:
        _disk.make_folder(folder.parent)
        if not _usable(folder, count, nbytes):  # a whole one is read where there are no locks, too
            with _disk.lock(folder.parent, wait=True):  # one process at a time makes them
                if not _usable(folder, count, nbytes):
                    _disk.remove(folder)
                    _make(folder, count, nbytes)
    except OSError as error:
        raise WriteError(
            f"no decoded tier at {folder.parent}: {error.strerror}; it needs"
            f" {size_in_words(count * nbytes)} (give DecodedTier another dir, or use"
            " LRUCache(bytes=...))",
            path=folder.parent,
        ) from None
    return _Files(
        folder,
        # As plain arrays: np.memmap takes 10 us to index.
        np.memmap(folder / _PIXELS, np.uint8, "r", shape=(count, nbytes)).view(np.ndarray),
        np.memmap(folder / _DONE, np.uint8, "r", shape=(count,)).view(np.ndarray),
        _opened(folder / _PIXELS),
        _opened(folder / _DONE),
    )


def _opened(file: Path) -> int:
    """To write, or where that is not allowed to read: a whole tier of somebody else's is of use."""
    try:
        return _disk.open_to_write(file)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))


def _write_meta(folder: Path, boot: str | None) -> None:
    """In one step: another process may be reading it."""
    _disk.write_whole(folder / _META, json.dumps({"boot": boot}).encode())


def _usable(folder: Path, count: int, nbytes: int) -> bool:
    """Whether the files are whole, and were synced or written since this machine started."""
    try:
        boot = json.loads((folder / _META).read_text())["boot"]
        sizes = (folder / _PIXELS).stat().st_size, (folder / _DONE).stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return sizes == (count * nbytes, count) and boot in (None, _boot_id())


def _make(folder: Path, count: int, nbytes: int) -> None:
    """Reserve the files under another name and put them in place by one rename."""
    draft = folder.with_name(folder.name + ".partial")
    _disk.remove(draft)
    try:
        _disk.make_folder(draft)
        _disk.reserve(draft / _PIXELS, count * nbytes)
        _disk.reserve(draft / _DONE, count)
        _write_meta(draft, _boot_id())
        _disk.rename(draft, folder)
    except BaseException:
        with contextlib.suppress(OSError):
            _disk.remove(draft)
        raise


def _boot_id() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "unknown"


_tiers: weakref.WeakSet[DecodedTier] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """A thread of the parent may hold a lock that nobody in the child would give back."""
    for tier in list(_tiers):
        tier._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
