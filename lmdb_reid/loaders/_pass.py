"""One pass over a loader's batches."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Self

from lmdb_reid.errors import LoaderClosedError, UsageError
from lmdb_reid.loaders._batch import Batch


class Turn:
    """The reentrant lock that all passes of a loader share: an engine has one consumer. A copy, as
    of a loader that is sent to another process, has one of its own.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Turn], tuple[()]]:
        return Turn, ()


class Pass(Iterator[Batch]):
    """What `iter(loader)` gives. It begins at its first `next`, and never ends early in silence:
    once a newer pass, `set_epoch`, a loaded state or `close` ended it, `next` raises.

    Nothing that `begin` gives may refer to the pass: one that is dropped ends at once, not when
    Python next looks for cycles.
    """

    def __init__(self, begin: Callable[[], Generator[Batch, None, None]], turn: Turn) -> None:
        self._begin = begin
        self._turn = turn
        self._batches: Generator[Batch, None, None] | None = None
        self._ended = ""  # why, where something ended it
        self._is_done = False  # read to its end
        self._is_taking = False  # a batch, in its turn
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def has_begun(self) -> bool:
        """Whether a batch was asked for."""
        return self._batches is not None

    @property
    def is_over(self) -> bool:
        """Whether it was read to its end, or something ended it."""
        return self._is_done or bool(self._ended)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        if self._pid != os.getpid():
            raise LoaderClosedError(
                "this pass was begun in another process, before a fork: begin one with"
                " iter(loader) here"
            )
        if not self._lock.acquire(blocking=False):
            raise UsageError(
                "another thread is reading this pass: one pass must be read by one thread at a time"
            )
        self._reader = threading.get_ident()
        try:
            with self._turn:
                self._is_taking = True
                try:
                    return self._take()
                finally:
                    self._is_taking = False
        finally:
            self._lock.release()

    def _take(self) -> Batch:
        try:
            if self._is_done:
                raise StopIteration
            if self._ended:
                if self._batches is not None:  # ended while this thread waited for its turn
                    self._batches.close()
                raise LoaderClosedError(f"this pass is over: {self._ended}")
            if self._batches is None:
                self._batches = self._begin()
            return next(self._batches)
        except StopIteration:
            if self._ended:  # by another thread, or in the loop's own body
                raise LoaderClosedError(f"this pass is over: {self._ended}") from None
            self._is_done = True
            raise
        except LoaderClosedError:
            raise
        except BaseException as error:
            if self._ended and isinstance(error, Exception):  # its workers were taken from it
                raise LoaderClosedError(f"this pass is over: {self._ended}") from error
            self._ended = f"it failed with {type(error).__name__}"
            raise

    def forbid(self, why: str) -> None:
        """Let `next` say `why`, from now on, and of what fails from now on."""
        if not self._is_done:
            self._ended = self._ended or why

    def end(self, why: str, *, wait: bool = True) -> None:
        """Let nothing more be read; `why` is what `next` then says.

        A batch that another thread is asking for is waited for, unless `wait` is false.
        """
        self.forbid(why)
        if self._is_done:
            return
        # In a forked child whoever has the parent's turn is gone.
        if wait and self._pid == os.getpid():
            with self._turn:
                if self._batches is not None and not self._is_taking:
                    self._batches.close()
        elif self._lock.acquire(blocking=False):
            try:
                if self._batches is not None:
                    self._batches.close()
            finally:
                self._lock.release()
