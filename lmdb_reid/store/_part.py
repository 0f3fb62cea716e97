"""The LMDB file of a store: what is pinned of it, and the environment that this process reads it
by.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmdb_reid.errors import StoreChangedError, StoreClosedError, StoreDamagedError, StoreError
from lmdb_reid.store import _handles
from lmdb_reid.store._column_files import AGAIN
from lmdb_reid.store._format import DATA


class Part:
    """One data file. Its environment is opened when it is first lent, and left behind by a fork.

    Args:
        path: the directory that holds the file.
        pins: what the manifest pins of it.
        is_replaced: whether another store has taken the name since the manifest was read.
    """

    def __init__(
        self, path: Path, pins: Mapping[str, Any], is_replaced: Callable[[], bool]
    ) -> None:
        self.path = path
        self.file = path / DATA
        self._pins = pins
        self._is_replaced = is_replaced
        self._handle: _handles.Handle | None = None
        self._closed = False

    def check(self) -> None:
        """Compare the file with its pins.

        Raises:
            StoreDamagedError: it is not the file that was sealed.
            StoreChangedError: another store has taken its place.
        """
        with _handles.lock:
            _handles.release(self._opened())

    def lend(self) -> _handles.Handle:
        """This process's environment, kept open until `_handles.unexport` is called for it; opened
        now if it is not, or if a fork left it behind.

        Raises:
            StoreClosedError: `close` was called.
            StoreDamagedError, StoreChangedError: as `check`.
        """
        with _handles.lock:
            handle = self._handle
            if handle is None or not handle.alive:
                if self._closed:
                    raise StoreClosedError(f"the store {self.path} is closed")
                handle = self._handle = self._opened()
            handle.exports += 1
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

    def _check_size(self) -> None:
        try:
            size = self.file.stat().st_size
        except OSError as error:
            raise self._damaged(f"{self.file} cannot be read: {error.strerror}") from None
        if size != self._pins["size"]:
            raise self._damaged(
                f"{self.file} has {size} bytes; its manifest says {self._pins['size']}"
            )

    def _opened(self) -> _handles.Handle:
        """The environment, its pins compared: the size first, for LMDB reads past a file's end.

        Called with the lock held: a fork waits, for the child could not close what is being read.
        """
        self._check_size()
        handle = _handles.acquire(self.path)
        try:
            found = handle.pins()
            differing = [
                f"{name} {found[name]}, not {self._pins[name]}"
                for name in self._pins
                if found[name] != self._pins[name]
            ]
            if differing:
                raise self._damaged(
                    f"{self.file} is not the file that was sealed: {'; '.join(differing)}"
                )
        except BaseException:
            _handles.release(handle)
            raise
        return handle

    def _damaged(self, message: str) -> StoreError:
        if self._is_replaced():
            return StoreChangedError(
                f"the store at {self.path} was replaced since it was opened: open it anew"
            )
        return StoreDamagedError(message + AGAIN)
