"""The names a store has on disk while it is built, sealed and replaced, and the moves between
them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmdb_reid.errors import StoreBusyError, StoreExistsError, StoreNotFoundError
from lmdb_reid.store._format import (
    FORMAT,
    MANIFEST,
    PARTIAL_SUFFIX,
    REPLACED_SUFFIX,
    partial_of,
    read_manifest,
    replaced_of,
    sync_directory,
)

try:
    import fcntl
except ImportError:  # Windows: two builds of one store at a time are not caught there
    fcntl = None  # type: ignore[assignment]

WORK = "work"
_REPLACES = "replaces"  # in an unfinished build that may take the place of a sealed store
_REPLACED = "replaced"  # in a sealed store that another has replaced: it may be removed
RESERVED = (PARTIAL_SUFFIX, REPLACED_SUFFIX)
"""What no store's name may end in: a sealed one would be taken for what its neighbour left."""
TAKEN = (WORK, _REPLACES, _REPLACED)
"""Names in a store's directory that nothing may be attached as."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def settle(path: Path) -> None:
    """Finish or undo an exchange of two stores that a crash cut in two.

    Raises:
        StoreBusyError: it is no crash; another process is at it now.
    """
    partial, replaced = partial_of(path), replaced_of(path)
    if not path.exists():
        if _is_store(replaced):
            replaced.rename(path)
            (path / _REPLACED).unlink(missing_ok=True)
        return
    if not ((path / _REPLACES).exists() or replaced.exists()):
        return
    with _locked(path):  # whoever exchanges holds the lock of the new store
        marked = (path / _REPLACES).exists()
        if marked and (partial / MANIFEST).exists() and not (partial / WORK).exists():
            _remove(partial)  # the new store is in place, the old one was to go
        (path / _REPLACES).unlink(missing_ok=True)
        if (replaced / _REPLACED).exists() or _is_empty_directory(replaced):
            _remove(replaced)


def settled_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the store at `path`; what a crash cut in two is settled first if need be.

    Raises:
        StoreError: as `read_manifest`.
    """
    try:
        return read_manifest(path)
    except StoreNotFoundError:
        if not replaced_of(path).exists():
            raise
        with contextlib.suppress(StoreBusyError):
            settle(path)
        return read_manifest(path)


@contextlib.contextmanager
def claimed(path: Path, *, resume: bool, overwrite: bool) -> Iterator[tuple[bool, bool]]:
    """Own `path`'s unfinished build: (it is one to go on with, it may replace a sealed store).

    Raises:
        StoreExistsError: something is there that neither `resume` nor `overwrite` allows to touch.
        StoreBusyError: another process owns it.
    """
    partial = partial_of(path)
    ours = any((partial / name).exists() for name in (WORK, MANIFEST, _REPLACES))
    if partial.exists() and not (ours or _is_empty_directory(partial)):
        raise StoreExistsError(
            f"{partial} is in the way, and is no unfinished build: move it, or choose another name"
        )
    if path.exists() and overwrite and not (_is_store(path) or _is_empty_directory(path)):
        raise StoreExistsError(
            f"{path} is there and is no store: it is not overwritten; choose another name"
        )
    if overwrite and replaced_of(path).exists():
        raise StoreExistsError(
            f"{replaced_of(path)} is in the way: move it, or choose another name"
        )
    if partial.exists() and not (resume or overwrite):
        raise StoreExistsError(
            f"an unfinished build of {path} is there: {partial}. Give --resume to go on with"
            f" it, or --overwrite"
            " to discard it"
        )
    overwrite = overwrite or (resume and (partial / _REPLACES).exists())
    if path.exists() and not overwrite:
        raise StoreExistsError(
            f"{path} is there already: give --overwrite to replace it, or another name"
        )
    found = resume and partial.exists()
    partial.mkdir(parents=True, exist_ok=True)
    with _locked(partial):
        if not found:
            _empty(partial)
        if overwrite:
            (partial / _REPLACES).touch()
        (partial / WORK).mkdir(exist_ok=True)
        yield found, overwrite


def give_name(path: Path, *, overwrite: bool) -> None:
    """The one rename that makes a finished build visible; an old store is exchanged with it and
    then removed.

    Raises:
        StoreExistsError: a store appeared at `path` meanwhile, and `overwrite` is false.
    """
    partial, replaced = partial_of(path), replaced_of(path)
    if path.exists() and not _is_empty_directory(path):
        if not overwrite:
            raise StoreExistsError(
                f"{path} appeared while this build ran; the finished build is {partial}"
            )
        (path / _REPLACED).touch()
        if _exchange(partial, path):
            partial.rename(replaced)
        else:
            path.rename(replaced)
            partial.rename(path)
        _remove(replaced)
    else:
        partial.rename(path)
    (path / _REPLACES).unlink(missing_ok=True)
    sync_directory(path.parent)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; it goes with the process, so that a killed one leaves none."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusyError(f"{folder} is being written by another process") from None
        yield
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    failed: int = renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    return failed == 0


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _remove(store: Path) -> None:
    """Remove a store, the mark that it may be last: a crash leaves what is known for it."""
    for entry in store.iterdir():
        if entry.name != _REPLACED:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (store / _REPLACED).unlink(missing_ok=True)
    store.rmdir()


def _is_store(path: Path) -> bool:
    try:
        found = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT
