"""One LMDB environment per file and process: shared, counted, opened on demand, never carried
through a fork.

py-lmdb refuses a second open of one file in a process, and a forked child inherits that register
together with an environment it should not use. So all environments for reading stand in one table,
keyed by the file's device and inode; a fork hook empties it in the child before anything there can
open a store.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from lmdb_reid.errors import StoreDamagedError, StoreNotFoundError
from lmdb_reid.store._column_files import AGAIN
from lmdb_reid.store._format import DIGEST_KEY, IMAGES_DB, RECORDS_DB
from lmdb_reid.store._pages import Pages
from lmdb_reid.store._passing import passing

_Key = tuple[int, int]


class Pins(NamedTuple):
    """What tells a data file from every other, and from itself when it was cut or damaged."""

    size: int
    last_page: int
    last_transaction: int
    images: int
    records: int
    digest: str


class Handle:
    """An open read-only environment with its two named databases, and the pages of their trees,
    which have to be checked before a key is looked up. Made by `acquire`, given back by `release`.
    """

    __slots__ = (
        "alive",
        "count",
        "descriptor",
        "env",
        "exports",
        "file",
        "images",
        "key",
        "pages",
        "records",
    )

    def __init__(self, file: Path, key: _Key) -> None:
        self.key = key
        self.file = file
        self.count = 0
        self.exports = 0  # views handed to users that may still be read
        self.alive = True  # False once closed, or in a child that inherited it
        size = file.stat().st_size
        self.env = lmdb.open(
            os.fsencode(file),
            subdir=False,
            readonly=True,
            lock=False,
            create=False,
            max_dbs=2,
            map_size=max(size, 1 << 20),
            readahead=size < _memory_bytes(),
            max_spare_txns=8,
            lib_version=0,  # the engine of data format 1, whatever the environment's default
        )
        self.descriptor = -1
        try:
            self.descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            page_bytes = self.env.stat()["psize"]
            self.pages = Pages(file, self.descriptor, page_bytes, (IMAGES_DB, RECORDS_DB))
            self.images = self.env.open_db(IMAGES_DB, create=False)
            self.records = self.env.open_db(RECORDS_DB, create=False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the environment and the file."""
        self.env.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def begin(self) -> Any:
        """A read transaction that gives memoryviews into the map."""
        return self.env.begin(buffers=True)

    def pins(self) -> Pins:
        """What a manifest pins of the file.

        Raises:
            StoreDamagedError: LMDB cannot read it, or its digest is damaged.
        """
        self.pages.entry(DIGEST_KEY)  # so that LMDB can look it up
        try:
            info = self.env.info()
            with self.env.begin() as txn:
                return Pins(
                    self.file.stat().st_size,
                    info["last_pgno"],
                    info["last_txnid"],
                    txn.stat(self.images)["entries"],
                    txn.stat(self.records)["entries"],
                    bytes(txn.get(DIGEST_KEY, b"")).hex(),
                )
        except lmdb.Error as error:
            raise StoreDamagedError(
                f"{self.file} cannot be read by LMDB: {error}{AGAIN}", path=self.file
            ) from None


LIMIT = 64
"""Most environments that a process keeps open for reading, with two descriptors each."""
SPARE = 16
"""Of these, as many as blocks of reading may use but not keep."""
lock = threading.RLock()  # of the table; held over forks
_open: dict[_Key, Handle] = {}


def acquire(file: Path) -> Handle:
    """The environment of a data file, one more user counted in.

    Where `LIMIT` are open already, the one that was lent longest ago and is not lent now is closed
    first: whoever it belongs to acquires it again.

    Raises:
        StoreNotFoundError: no such file.
        StoreDamagedError: it is no LMDB file.
        ResourceError: the system cannot open it now: no memory, no more open files, no maps on
            that file system.
    """
    with lock:
        key = _identity(file)
        while (handle := _open.get(key)) is None:
            _make_room()
            handle = _opened(file, key)
            again = _identity(file)
            if again == key:
                _open[key] = handle
                break
            handle.close()  # another file took the name between the look and the open
            key = again
        handle.count += 1
        return handle


def crowded() -> bool:
    """Whether so many environments are open that a block should keep no more of them."""
    return len(_open) >= LIMIT - SPARE


def lend(handle: Handle) -> None:
    """`export`, and note that it was lent last."""
    handle.exports += 1
    if len(_open) > SPARE:
        _open[handle.key] = _open.pop(handle.key)


def _make_room() -> None:
    for handle in list(_open.values()) if len(_open) >= LIMIT else ():
        if handle.exports <= 0:
            _close(handle)
            return


def _opened(file: Path, key: _Key) -> Handle:
    try:
        return Handle(file, key)
    except (lmdb.Error, OSError) as error:
        raise passing(file, error) or StoreDamagedError(
            f"{file} cannot be opened by LMDB: {error}{AGAIN}", path=file
        ) from None


def _identity(file: Path) -> _Key:
    try:
        status = file.stat()
    except OSError as error:
        raise passing(file, error) or StoreNotFoundError(
            f"{file} cannot be read: {error.strerror}", path=file
        ) from None
    return status.st_dev, status.st_ino


def release(handle: Handle) -> None:
    """Give `handle` back; the last user closes the environment, unless a view of it is still
    out.
    """
    with lock:
        handle.count -= 1
        _close_if_unused(handle)


def export(handle: Handle) -> None:
    """Note that views into the map may be out: until `unexport`, the environment stays open."""
    with lock:
        handle.exports += 1


def unexport(handle: Handle) -> None:
    """The views of one `export` are gone."""
    with lock:
        handle.exports -= 1
        _close_if_unused(handle)


def pins(file: Path) -> Pins:
    """What a manifest pins of a data file, as it is now."""
    with lock:  # a fork waits until this is done: the child could not close what is being read
        handle = acquire(file)
        try:
            return handle.pins()
        finally:
            release(handle)


def open_count() -> int:
    """How many environments this process has open for reading."""
    return len(_open)


def _close_if_unused(handle: Handle) -> None:
    if handle.alive and handle.count <= 0 and handle.exports <= 0:
        _close(handle)


def _close(handle: Handle) -> None:
    handle.alive = False
    _open.pop(handle.key, None)
    handle.close()


def _after_fork_in_child() -> None:
    """Drop what was inherited, so that this process opens its own.

    An environment with a view out stays mapped and in use: closing it would make the inherited
    view fatal, and py-lmdb would refuse a second one. Reading it is sound, for it is read-only,
    without locks, over a file that never changes.
    """
    for handle in list(_open.values()):
        if handle.exports > 0:
            continue
        handle.alive = False
        del _open[handle.key]
        handle.close()
    lock.release()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 62


if hasattr(os, "register_at_fork"):
    # The forking thread holds the lock over the fork, so that the child finds the table whole
    # and the lock its own.
    os.register_at_fork(
        before=lock.acquire,
        after_in_parent=lock.release,
        after_in_child=_after_fork_in_child,
    )
