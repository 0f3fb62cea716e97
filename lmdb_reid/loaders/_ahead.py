"""A generator that a thread runs ahead of its consumer."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Generator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE = 5.0  # seconds that a thread is given to end with the interpreter


def run_ahead(
    items: Generator[T, None, None], count: int, *, name: str
) -> Generator[T, None, None]:
    """The items of a generator, in their order, up to `count` of them made before they are asked
    for.

    The first is made in the calling thread, so that whatever begins with it (processes, handlers
    of signals) begins there; the others in a thread of its own. What the generator raises is raised
    here, in its place. When this one ends, read out or not, that thread has ended, and the
    generator is closed.

    Where an item waits, to get it lets nothing else run in between: no lock is waited for, and the
    interpreter's is kept.
    """
    pid = os.getpid()
    try:
        item = next(items)
    except StopIteration:
        return
    worker = _Worker(items, count, name)
    try:
        while True:
            yield item
            del item  # or its memory could not go while the next is waited for
            item = worker.take()
    except StopIteration:
        return
    finally:
        if os.getpid() == pid:  # a forked child has no such thread
            worker.end()


class _Worker(Generic[T]):
    """The thread, and what passes between it and the consumer."""

    def __init__(self, items: Generator[T, None, None], count: int, name: str) -> None:
        self._order = _Order()
        self._found: SimpleQueue[tuple[T] | BaseException] = SimpleQueue()
        for _ in range(count):
            self._order.wanted.put(None)
        self._thread = threading.Thread(
            target=_work, args=(items, self._order, self._found), name=name, daemon=True
        )
        _ORDERS[self._thread] = self._order
        self._thread.start()

    def take(self) -> T:
        """The next item, waited for; raises what the generator raised, StopIteration at its end."""
        found = self._found.get()
        if isinstance(found, BaseException):
            try:
                raise found
            finally:
                del found  # or it would refer to itself, through this frame
        self._order.wanted.put(None)
        return found[0]

    def end(self) -> None:
        """Stop the thread, and wait for it."""
        self._order.stop()
        # The collector of cycles may drop a pass in this very thread, which then ends by itself.
        if threading.current_thread() is not self._thread:
            self._thread.join()
            self._forget()

    def _forget(self) -> None:
        """Let go of what was not taken: an error refers to all that was under way."""
        try:
            while True:
                self._found.get_nowait()
        except Empty:
            return


class _Order:
    """How many items are wanted, and whether any still is."""

    def __init__(self) -> None:
        self.wanted: SimpleQueue[None] = SimpleQueue()  # an entry for each
        self.is_stopped = False

    def stop(self) -> None:
        """Let the thread end."""
        self.is_stopped = True
        self.wanted.put(None)


_ORDERS: weakref.WeakKeyDictionary[threading.Thread, _Order] = weakref.WeakKeyDictionary()


def _work(
    items: Generator[T, None, None],
    order: _Order,
    found: SimpleQueue[tuple[T] | BaseException],
) -> None:
    """The thread's life. Holds no reference to what the consumer has."""
    try:
        while True:
            order.wanted.get()
            if order.is_stopped:
                return
            found.put((next(items),))
    except BaseException as error:  # whatever it is belongs to the consumer; the end, too
        found.put(error)
    finally:
        items.close()


@atexit.register
def _end_all() -> None:
    """End the threads before the interpreter does: one that waits inside C++ when it does would
    abort the process.
    """
    running = [thread for thread in _ORDERS if thread.is_alive()]
    for thread in running:
        _ORDERS[thread].stop()
    for thread in running:
        thread.join(_PATIENCE)
