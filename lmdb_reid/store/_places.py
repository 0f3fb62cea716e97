"""The names a store has on disk while it is built, sealed and replaced, and the moves between
them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from lmdb_reid import _disk, _json, _mounts
from lmdb_reid._regular import read_limited
from lmdb_reid.errors import (
    StoreBusyError,
    StoreExistsError,
    StoreNotFoundError,
    StoreWriteError,
)
from lmdb_reid.store._format import (
    FORMAT,
    MANIFEST,
    PARTIAL_SUFFIX,
    REPLACED_SUFFIX,
    partial_of,
    replaced_of,
)
from lmdb_reid.store._manifest import MAX_BYTES, Manifest, read_manifest

WORK = "work"
_REPLACES = "replaces"  # in an unfinished build that may take the place of a sealed store
_REPLACED = "replaced"  # in a sealed store that another has replaced: it may be removed
_DISCARDED = "discarded"  # what was work/ of a build that is being discarded
_LOOKS, _PAUSE = 100, 0.01  # at a store whose name is about to come back; seconds between
RESERVED = (PARTIAL_SUFFIX, REPLACED_SUFFIX)
"""What no store's name may end in: a sealed one would be taken for what its neighbour left."""
TAKEN = (WORK, _DISCARDED, _REPLACES, _REPLACED)
"""Names in a store's directory that nothing may be attached as."""


def settle(path: Path) -> None:
    """Finish or undo an exchange of two stores that a crash cut in two.

    Raises:
        StoreBusyError: it is no crash; another process is at it now.
    """
    partial, replaced = partial_of(path), replaced_of(path)
    if not path.exists():
        if _is_store(replaced):
            # Whoever is between the two renames holds the lock of the new store.
            with _locked(partial) if partial.exists() else contextlib.nullcontext():
                if not path.exists() and replaced.exists():
                    _disk.rename(replaced, path)
                    _disk.remove(path / _REPLACED)
        return
    if not ((path / _REPLACES).exists() or replaced.exists()):
        return
    with _locked(path):  # whoever exchanges holds the lock of the new store
        marked = (path / _REPLACES).exists()
        if marked and (partial / MANIFEST).exists() and not (partial / WORK).exists():
            _remove(partial)  # the new store is in place, the old one was to go
        _disk.remove(path / _REPLACES)
        if (replaced / _REPLACED).exists() or _is_empty_directory(replaced):
            _remove(replaced)


def settled_manifest(path: Path) -> Manifest:
    """The manifest of the store at `path`; what a crash cut in two is settled first if need be.

    Raises:
        StoreError: as `read_manifest`.
    """
    for _ in range(_LOOKS):
        try:
            return read_manifest(path)
        except StoreNotFoundError:
            if not replaced_of(path).exists():
                break
        try:
            settle(path)
            break
        except StoreBusyError:  # a build is between its two renames
            time.sleep(_PAUSE)
        except OSError:  # nothing can be moved or locked here
            break
    return read_manifest(path)


@contextlib.contextmanager
def claimed(path: Path, *, resume: bool, overwrite: bool) -> Iterator[tuple[bool, bool]]:
    """Own `path`'s unfinished build: (it can be continued, it may replace a sealed store).

    Raises:
        StoreExistsError: something is there that neither `resume` nor `overwrite` allows to touch.
        StoreBusyError: another process owns it.
        StoreWriteError: `path` is a mount point, which no finished build could take the place of.
    """
    partial = partial_of(path)
    if _mounts.is_mount(path):
        raise StoreWriteError(
            f"{path} is a mount point, which nothing can be renamed to: name a folder inside it,"
            f" such as {path / 'store.lmdb'}",
            path=path,
        )
    ours = any((partial / name).exists() for name in (WORK, MANIFEST, _REPLACES))
    if partial.exists() and not (ours or _is_empty_directory(partial)):
        raise StoreExistsError(
            (f"{partial} exists, and is not an unfinished build. Move it, or choose another name"),
            path=partial,
        )
    if path.exists() and overwrite and not (_is_store(path) or _is_empty_directory(path)):
        raise StoreExistsError(
            (f"{path} exists and is not a store, so it is not overwritten. Choose another name"),
            path=path,
        )
    if overwrite and replaced_of(path).exists():
        raise StoreExistsError(
            f"{replaced_of(path)} is in the way: move it, or choose another name",
            path=replaced_of(path),
        )
    if partial.exists() and not (resume or overwrite):
        raise StoreExistsError(
            (
                f"found an unfinished build of {path}: {partial}. Use --resume to continue"
                " it, or --overwrite to discard it"
            ),
            path=partial,
        )
    overwrite = overwrite or (resume and (partial / _REPLACES).exists())
    if path.exists() and not overwrite:
        raise StoreExistsError(
            (f"{path} already exists. Use --overwrite to replace it, or choose another name"),
            path=path,
        )
    found = resume and partial.exists()
    new = not partial.exists()
    if new:
        _begin(partial, overwrite=overwrite)
    with _locked(partial, new=new):
        if overwrite:
            _disk.make_empty(partial / _REPLACES)
        elif new:
            _disk.remove(partial / _REPLACES)  # of a build that was killed before its rename
        if found:
            _disk.remove(partial / _DISCARDED)
        elif not new:
            _empty(partial)
        _disk.make_folder(partial / WORK)
        yield found, overwrite


def give_name(path: Path, *, overwrite: bool) -> None:
    """The one rename that makes a finished build visible; an old store is exchanged with it and
    then removed.

    Raises:
        StoreExistsError: a store appeared at `path` meanwhile, and `overwrite` is false.
        StoreWriteError: the store is in place, but its folder could not be synced.
    """
    partial, replaced = partial_of(path), replaced_of(path)
    if path.exists() and not _is_empty_directory(path):
        if not overwrite:
            raise StoreExistsError(
                f"{path} appeared while this build ran; the finished build is {partial}", path=path
            )
        _disk.make_empty(path / _REPLACED)
        _disk.sync(path)
        if _disk.exchange(partial, path):
            _disk.rename(partial, replaced)
        else:
            _disk.rename(path, replaced)
            _disk.rename(partial, path)
        _sync_name(path)  # or a power cut could take the new name away, and not the removal
        _remove(replaced)
    else:
        _disk.rename(partial, path)
    _disk.remove(path / _REPLACES)
    _sync_name(path)


def _sync_name(path: Path) -> None:
    try:
        _disk.sync(path.parent)
    except OSError as error:
        raise StoreWriteError(
            f"{path} is complete and in place, but {path.parent} could not be synced"
            f" ({error.strerror}): a power cut may take the new name away. Check the disk",
            path=path,
        ) from error


@contextlib.contextmanager
def _locked(folder: Path, *, new: bool = False) -> Iterator[None]:
    """Hold the lock of a build or store; where there is none to be had, a new one goes again."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(_disk.lock(folder, wait=False))
        except (BlockingIOError, FileNotFoundError):
            raise StoreBusyError(
                f"{folder} is being written by another process", path=folder
            ) from None
        except OSError:
            if new:
                _disk.remove(folder)
            raise
        yield


def _begin(partial: Path, *, overwrite: bool) -> None:
    """Make the folder of a new build, with what says which kind it is in it.

    Under another name first: a build that was killed before it had its mark could not be resumed,
    and a folder that is never empty is never replaced by another build's rename.
    """
    draft = partial.with_name(partial.name + ".draft")
    try:
        _disk.make_folder(draft / WORK)
        if overwrite:
            _disk.make_empty(draft / _REPLACES)
        _disk.rename(draft, partial)
    except OSError:
        if not partial.exists():
            raise
        raise StoreBusyError(
            f"{partial} is being written by another process", path=partial
        ) from None


def _empty(partial: Path) -> None:
    """Discard an unfinished build, its mark excepted; one cut short here can still be resumed.

    Journal and settings go in one rename, before the data: what the journal does not know is taken
    out by the build that goes on.
    """
    if (partial / WORK).exists():
        _disk.remove(partial / _DISCARDED)
        _disk.rename(partial / WORK, partial / _DISCARDED)
    _disk.remove(partial / MANIFEST)
    for entry in partial.iterdir():
        if entry.name != _REPLACES:
            _disk.remove(entry)


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _remove(store: Path) -> None:
    """Remove a store, the mark that it may be last: a crash leaves what is known for it."""
    for entry in store.iterdir():
        if entry.name != _REPLACED:
            _disk.remove(entry)
    _disk.remove(store / _REPLACED)
    _disk.remove_folder(store)


def _is_store(path: Path) -> bool:
    """Whether a store, of whatever version, has this name.

    Raises:
        OSError: the disk fails: nobody can tell.
    """
    try:
        found = _json.parse(read_limited(path / MANIFEST, MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT
