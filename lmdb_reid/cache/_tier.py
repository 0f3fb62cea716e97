"""Decoded pixels in a memory-mapped file: shared by all workers, ranks and runs on a machine."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from lmdb_reid import _disk
from lmdb_reid._arguments import known_arguments
from lmdb_reid.cache._tier_files import TierFiles, open_files
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Pixels, Rows, Size
from lmdb_reid.store import Store


class DecodedTier:
    """The decoded pixels of a store in memory-mapped files, for all processes and runs. The files
    are beside the store, or in another directory such as /dev/shm.

    Pixels are kept for each part of a store. So stores that share parts may share a directory.

    A row is written when it is first decoded; `lmdb-reid warm STORE --decoded` writes all rows at
    once. The whole size is reserved first, so that a full disk is an error now and not a crash
    later. Each row has a checksum, which a process compares when it first reads the row. A damaged
    row is decoded and written again. Files that were never synced before a restart of the machine
    are written again, and so are files that a group or all users may write. Pixels of another
    store, another size or another decoder are in another folder and are never read.

    Args:
        store: the store to decode.
        dir: the directory (default: `STORE.decoded` beside the store).

    Its methods raise:
        UntrustedError: the directory, or a file in it, belongs to another user (except root), who
            could have changed the pixels.
    """

    @known_arguments(answers=dict.fromkeys(("path", "directory", "folder"), "Use dir=."))
    def __init__(self, store: Store, dir: str | os.PathLike[str] | None = None) -> None:
        self.path = (
            Path(dir) if dir is not None else store.path.with_name(store.path.name + ".decoded")
        )
        self._own = dir is None  # a folder of a user's may hold whatever else
        self._counts = {part.digest: part.count for part in store.manifest.parts}
        self._files: dict[str, TierFiles] = {}
        self._lock = threading.Lock()
        self._served = self._kept = self._missed = self._damaged = 0
        _tiers.add(self)

    def fill(self, source: str, rows: Rows, out: Pixels) -> Rows:
        """See `PixelCache`: one gather over the memory map.

        Raises:
            UsageError: `source` is another store.
            WriteError: no room for the tier.
        """
        files = self._files_of(source, out.shape[1:3])
        flat = out.reshape(len(out), files.pixels.shape[1])
        if files.checked[rows].all():
            np.take(files.pixels, rows, axis=0, out=flat, mode="clip")
            self._count(served=len(rows))
            return np.empty(0, np.int64)
        missing, damaged = files.copy(rows, flat)
        self._count(served=len(rows) - len(missing), missed=len(missing), damaged=damaged)
        return np.array(missing, np.int64)

    def views(self, source: str, rows: Rows, size: Size) -> Pixels | None:
        """See `ViewedCache`: the memory map, once this process has compared all of `rows`.

        Raises:
            UsageError, WriteError: as `fill`.
        """
        files = self._files_of(source, size)
        if not files.checked[rows].all():
            return None
        self._count(served=len(rows))
        return files.pixels.reshape(-1, *size, 3)

    def keep(self, source: str, rows: Rows, pixels: Pixels) -> None:
        """See `PixelCache`; nothing where the tier can only be read.

        Raises:
            WriteError: the disk fails. What the tier has stays of use.
        """
        self._count(kept=self._files_of(source, pixels.shape[1:3]).write(rows, pixels))

    def stats(self) -> dict[str, int]:
        """hits, misses and rows written by this process; of the misses, those that were damaged."""
        return {
            "hits": self._served,
            "misses": self._missed,
            "damaged": self._damaged,
            "kept": self._kept,
        }

    def sync(self) -> None:
        """Bring what was written to the disk, so that it survives a restart of the machine.

        Raises:
            WriteError: as `keep`.
        """
        for files in self._files.values():
            files.sync()

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

    def _count(self, *, served: int = 0, missed: int = 0, damaged: int = 0, kept: int = 0) -> None:
        with self._lock:
            self._served += served
            self._missed += missed
            self._damaged += damaged
            self._kept += kept

    def _files_of(self, source: str, size: Size) -> TierFiles:
        with self._lock:
            files = self._files.get(source)
            if files is not None:
                return files
            count = self._counts.get(source.partition("-")[0])
            if count is None:
                raise UsageError(f"{self!r} was made for another store than the one that is read")
            nbytes = size[0] * size[1] * 3
            files = self._files[source] = open_files(self.path, source, count, nbytes)
            return files


_tiers: weakref.WeakSet[DecodedTier] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """A thread of the parent may hold a lock that nobody in the child would give back."""
    for tier in list(_tiers):
        tier._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
