"""Decoded pixels in a memory-mapped file: shared by all workers, ranks and runs on a machine."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmdb_reid.cache._protocol import Pixels, Rows
from lmdb_reid.errors import StoreWriteError, UsageError
from lmdb_reid.store import Store

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PIXELS, _DONE, _META = "pixels.bin", "done.bin", "meta.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class DecodedTier:
    """Every image of a store decoded once, beside the store or in a directory given (such as
    /dev/shm).

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
        self.digest = store.digest
        self.count = len(store)
        self._files: dict[str, _Files] = {}
        self._lock = threading.Lock()
        self._served = self._kept = self._missed = 0
        _tiers.add(self)

    def fill(self, source: str, rows: Rows, out: Pixels) -> Rows:
        """See `PixelCache`: one gather over the memory map.

        Raises:
            UsageError: `source` is another store.
            StoreWriteError: no room for the tier.
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
            _write_all(files.pixels_fd, data.data.cast("B"), row * data.nbytes)
            _write_all(files.done_fd, b"\1", row)
        self._count(kept=len(rows))

    def stats(self) -> dict[str, int]:
        """hits, misses and rows written by this process."""
        return {"hits": self._served, "misses": self._missed, "kept": self._kept}

    def sync(self) -> None:
        """Bring what was written to the disk, so that it survives a restart of the machine."""
        for files in self._files.values():
            os.fsync(files.pixels_fd)
            os.fsync(files.done_fd)
            if files.done.all():
                _write_meta(files.folder, None)

    def clear(self) -> None:
        """Remove this store's files from the disk. Nobody else may be reading them."""
        self._files.clear()
        for folder in self.path.glob(f"{self.digest}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        if self._own:
            with contextlib.suppress(OSError):  # another store's are there too, or nothing is
                self.path.rmdir()

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
            if not source.startswith(self.digest):
                raise UsageError(f"{self!r} was made for another store than the one that is read")
            nbytes = int(np.prod(pixels.shape[1:]))
            files = self._files[source] = _open(self.path / source, self.count, nbytes)
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
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent):
            if not _usable(folder, count, nbytes):
                shutil.rmtree(folder, ignore_errors=True)
                _make(folder, count, nbytes)
    except OSError as error:
        raise StoreWriteError(
            f"no decoded tier at {folder.parent}: {error.strerror}; it needs"
            f" {count * nbytes / 1e9:,.2f} GB (give DecodedTier another dir, or use"
            " LRUCache(bytes=...))"
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
    close = getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(file, os.O_RDWR | close)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return os.open(file, os.O_RDONLY | close)


def _write_meta(folder: Path, boot: str | None) -> None:
    """In one step: another process may be reading it."""
    draft = folder / f"{_META}.{os.getpid()}"
    draft.write_text(json.dumps({"boot": boot}))
    draft.replace(folder / _META)


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
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        for name, size in ((_PIXELS, count * nbytes), (_DONE, count)):
            with (draft / name).open("wb") as file:
                _reserve(file.fileno(), size)
        _write_meta(draft, _boot_id())
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process at a time looks for the files, and makes them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _write_all(descriptor: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


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
