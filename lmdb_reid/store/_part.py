"""One data file of a store: what is pinned of it, and the environment that this process reads it
by.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path

from lmdb_reid.errors import (
    LmdbReidError,
    StoreChangedError,
    StoreClosedError,
    StoreDamagedError,
    StoreError,
    StoreNotFoundError,
)
from lmdb_reid.store import _handles
from lmdb_reid.store._column_files import AGAIN
from lmdb_reid.store._format import DATA
from lmdb_reid.store._manifest import read_manifest
from lmdb_reid.store._passing import passing
from lmdb_reid.store._specs import PartSpec


class Part:
    """One data file. Its environment is opened, and its pins are compared, when it is first lent;
    a fork leaves it behind.

    Args:
        store: the directory of the store that it is a part of.
        spec: what the manifest says of it.
        is_replaced: whether another store has taken that name since the manifest was read.
    """

    def __init__(self, store: Path, spec: PartSpec, is_replaced: Callable[[], bool]) -> None:
        self.spec = spec
        self.file = store / spec.path  # an absolute path stays as it is
        self.prefix = f"{spec.name}/".encode() if spec.name else b""
        self._store = store
        self._own = spec.path == DATA
        self._is_replaced = is_replaced
        self._handle: _handles.Handle | None = None
        self._closed = False

    def check(self) -> None:
        """Compare the file with its pins.

        Raises:
            StoreDamagedError: it is not the file that was sealed.
            StoreChangedError: another store has taken its place.
            StoreNotFoundError: a part that lies elsewhere is not there.
        """
        with _handles.lock:
            _handles.release(self._opened())

    def lend(self) -> _handles.Handle:
        """This process's environment, kept open until `_handles.unexport` is called for it; opened
        now if it is not, or if a fork left it behind.

        Raises:
            StoreClosedError: `close` was called.
            StoreDamagedError, StoreChangedError, StoreNotFoundError: as `check`.
        """
        with _handles.lock:
            handle = self._handle
            if handle is None or not handle.alive:
                if self._closed:
                    raise StoreClosedError(f"the store {self._store} is closed", path=self._store)
                handle = self._handle = self._opened()
            _handles.lend(handle)
            return handle

    def close(self) -> None:
        """Give the environment back; it stays open for what was lent and is still out."""
        with _handles.lock:
            self._closed = True
            handle, self._handle = self._handle, None
        if handle is not None:
            _handles.release(handle)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        handle = self.__dict__.get("_handle")
        if handle is None:
            return
        try:
            _handles.release(handle)
        except (TypeError, AttributeError):
            if not ending():  # then modules may be gone before this
                raise

    def __repr__(self) -> str:
        return f"Part({str(self.file)!r}, {self.spec.count:,} samples)"

    def _opened(self) -> _handles.Handle:
        """The environment, its pins compared: the size first, for LMDB reads past a file's end.

        Called with the lock held: a fork waits, for the child could not close what is being read.
        """
        self.check_file()
        try:
            handle = _handles.acquire(self.file)
        except StoreDamagedError as error:
            raise self._told(error) from None
        try:
            try:
                found, spec = handle.pins(), self.spec
            except StoreDamagedError as error:
                raise self._told(error) from None
            pinned = _handles.Pins(
                spec.size,
                spec.last_page,
                spec.last_transaction,
                spec.count,
                spec.count,
                spec.digest,
            )
            if found != pinned:
                differing = [
                    f"{name} {is_now}, not {was}"
                    for name, is_now, was in zip(found._fields, found, pinned, strict=True)
                    if is_now != was
                ]
                raise self._damaged(f"is not the file that was sealed: {'; '.join(differing)}")
        except BaseException:
            _handles.release(handle)
            raise
        return handle

    def check_file(self) -> None:
        """Compare what is known of the file without opening it.

        Raises:
            StoreDamagedError, StoreChangedError, StoreNotFoundError: as `check`.
        """
        try:
            status = self.file.stat()
        except OSError as error:
            if not self._own and isinstance(error, FileNotFoundError | NotADirectoryError):
                raise StoreNotFoundError(
                    (
                        f"{self._called()} is missing. Restore it to {self.file}, or repeat the"
                        " merge"
                    ),
                    path=self.file,
                ) from None
            raise passing(self.file, error) or self._damaged(
                f"cannot be read: {error.strerror}"
            ) from None
        if not stat.S_ISREG(status.st_mode):
            raise self._damaged("is not a regular file")
        if status.st_size != self.spec.size:
            raise self._damaged(f"has {status.st_size} bytes; its manifest says {self.spec.size}")

    def _called(self) -> str:
        if self._own:
            return str(self.file)
        name = f" {self.spec.name!r}" if self.spec.name else ""
        return f"the part{name} of {self._store}, {self.file},"

    def _told(self, error: StoreDamagedError) -> StoreError:
        """The error for what is wrong inside the file, whose message begins with its name."""
        message = str(error).removesuffix(AGAIN).removeprefix(f"{self.file} ")
        return self._damaged(message)

    def _damaged(self, message: str) -> StoreError:
        if self._is_replaced():
            return StoreChangedError(
                f"the store at {self._store} was replaced since it was opened. Open it again",
                path=self._store,
            )
        if not self._own and self._is_exchanged():
            return StoreChangedError(
                (
                    f"{self._called()} is another store now ({message}): restore the former"
                    " one, or repeat the merge"
                ),
                path=self.file,
            )
        again = AGAIN if self._own else ". Copy it again, or repeat the merge"
        return StoreDamagedError(f"{self._called()} {message}{again}", path=self.file)

    def _is_exchanged(self) -> bool:
        """Whether a whole store of other content lies where this part was."""
        try:
            there = read_manifest(self.file.parent).parts
        except LmdbReidError:
            return False
        return [part.digest for part in there if part.path == self.file.name] != [self.spec.digest]
