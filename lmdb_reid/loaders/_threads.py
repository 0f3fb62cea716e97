"""The engine that decodes in threads of the consumer's process, straight into the batches.

Threads live as long as the engine. Each claims a span of a batch, decodes it (libjpeg-turbo, the
checksum and the resizer release the GIL) and goes on with the next, across the borders of batches;
whoever finishes a batch's last span wakes the consumer. So the lock is taken twice for some thirty
samples, and no sample is copied.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from lmdb_reid.errors import LoaderClosedError
from lmdb_reid.loaders._batch import BatchResult, Damaged, Timings
from lmdb_reid.loaders._engine import CPU
from lmdb_reid.loaders._job import Job, collate
from lmdb_reid.loaders._plan import Footprint
from lmdb_reid.loaders._ring import Ring
from lmdb_reid.sampling import Task
from lmdb_reid.schema import Pixels

# Samples claimed at once, within these. Each claim costs some 0.2 ms of Python that the decoder has
# driven out of the caches, and may wait for another thread to wake.
_LEAST_SPAN, _MOST_SPAN = 32, 128
_SPARE = 6  # buffers that a consumer may hold before the ring is out


class ThreadsEngine:
    """Decoder threads in this process; see `Engine`.

    Args:
        job: what to read; a transform must take a `generator`, since threads share the global
            ones.
        num_workers: threads.
        prefetch: batches made or being made ahead of the consumer.
        pin: page-locked batches, for a GPU.
    """

    name = "threads"
    device = CPU
    places = True

    def __init__(self, job: Job, *, num_workers: int, prefetch: int, pin: bool) -> None:
        self._ring: Ring | None = None
        self._pin = pin
        self._job = job
        self._workers = num_workers
        self._prefetch = prefetch
        self._board: _Board | None = None
        self._pid = 0

    def run(self, tasks: Sequence[Task]) -> Generator[BatchResult, None, None]:
        """One pass; see `Engine`."""
        if not tasks:
            return
        board, pid = self._started(), os.getpid()
        longest = len(tasks[0].positions)
        ring = self._ring_for(longest)
        spans = _span(longest, 1, self._workers), _span(longest, self._prefetch - 1, self._workers)
        work = _Pass(self._job, tasks, ring, self._prefetch, spans=spans)
        board.post(work)
        try:
            for _ in range(len(tasks)):
                yield board.take(work)
        finally:
            if os.getpid() == pid:  # in a forked child another thread may hold the board for ever
                board.withdraw(work)

    def footprint(self, batch_size: int) -> Footprint:
        """See `Engine`."""
        shape, dtype, _ = self._job.batch_layout(batch_size)
        height, width = self._job.crops.size
        buffers = self._prefetch + _SPARE
        copies = () if self._job.transform is None else ("stack the transformed images",)
        return Footprint(shape, dtype, buffers, buffers * batch_size * height * width * 3, copies)

    def ready(self) -> int:
        """See `Engine`."""
        return 0 if self._board is None else self._board.whole()

    def buffers(self) -> tuple[int, int]:
        """See `Engine`."""
        return (0, 0) if self._ring is None else (self._ring.made, self._ring.beyond)

    def close(self) -> None:
        """End the threads and wait for them."""
        board, self._board = self._board, None
        if board is not None and self._pid == os.getpid():
            board.stop()
            for thread in board.threads:
                thread.join()

    def _started(self) -> _Board:
        """The threads' board; they are started at the first pass, and again in a forked child,
        which has none.
        """
        if self._board is None or self._pid != os.getpid():
            self._board, self._pid, self._ring = _Board(), os.getpid(), None
            for number in range(self._workers):
                name = f"lmdb_reid-decode-{number}"
                thread = threading.Thread(target=_work, args=(self._board,), name=name, daemon=True)
                self._board.threads.append(thread)
                thread.start()
            weakref.finalize(self, self._board.stop).atexit = False
        return self._board

    def _ring_for(self, longest: int) -> Ring:
        """Buffers that hold a batch of so many samples."""
        if self._ring is None or self._ring.longest < longest:
            shape = (longest, *self._job.crops.size, 3)
            self._ring = Ring(shape, limit=self._prefetch + _SPARE, pin=self._pin)
        return self._ring


def _span(batch: int, batches: int, num_workers: int) -> int:
    """How many samples a thread claims at once: an even part of a batch, so large that each thread
    still finds one among so many batches.
    """
    share = batch * batches // max(1, num_workers)
    share = min(max(share, _LEAST_SPAN), _MOST_SPAN)
    parts = -(-batch // share)
    return -(-batch // parts)


class _Making:
    """One batch while it is made."""

    __slots__ = (
        "damaged",
        "drawing",
        "error",
        "images",
        "left",
        "next",
        "pixels",
        "task",
        "timings",
    )

    def __init__(self, task: Task, pixels: Pixels, *, transformed: bool) -> None:
        self.task = task
        self.pixels = pixels[: len(task.positions)]
        self.images: list[Any] | None = [None] * len(task.positions) if transformed else None
        self.next = 0  # first sample that nobody claimed
        self.left = len(task.positions)  # samples not finished
        self.damaged: list[Damaged] = []
        self.error: BaseException | None = None
        self.timings = Timings()
        self.drawing = threading.Lock()


class _Pass:
    """The tasks of one pass, and how far they are."""

    def __init__(
        self,
        job: Job,
        tasks: Sequence[Task],
        ring: Ring,
        prefetch: int,
        *,
        spans: tuple[int, int],
    ) -> None:
        self._job = job
        self.making: deque[_Making] = deque()  # in order; the first is the consumer's next
        self.failed: BaseException | None = None  # why no further batch can be begun
        self._tasks = tasks
        self._ring = ring
        self._prefetch = prefetch
        # Of the first batch, which is waited for while nothing else is: all threads share it. Of
        # the others.
        self._spans = spans
        self._begun = 0

    def claim(self) -> tuple[_Making, int, int] | None:
        """(batch, start, stop) to decode now, or None while enough is ahead. Called under the
        board's lock.
        """
        last = self.making[-1] if self.making else None
        if last is None or last.next == len(last.task.positions):
            full = self._begun == len(self._tasks) or len(self.making) >= self._prefetch
            if full or self.failed is not None:
                return None
            task = self._tasks[self._begun]
            try:
                buffer = self._ring.lend()
            except Exception as error:  # no memory, page-locked or other
                self.failed = error
                return None
            self._begun += 1
            last = _Making(task, buffer, transformed=self._job.transform is not None)
            self.making.append(last)
        start = last.next
        span = self._spans[0 if self._begun == 1 else 1]
        last.next = min(start + span, len(last.task.positions))
        return last, start, last.next

    def decode(self, batch: _Making, start: int, stop: int) -> Timings:
        """Fill samples start..stop of a batch."""
        task, pixels = batch.task, batch.pixels[start:stop]
        if self._job.augment is not None:
            with batch.drawing:  # by one thread: the others find them made
                self._job.draws(task)
        damaged, timings = self._job.read(task, pixels, start)
        batch.damaged += damaged
        if batch.images is None:
            return timings
        images, seconds = self._job.transformed(task, pixels, damaged, first=start)
        batch.images[start:stop] = images
        return timings._replace(transform=seconds)


class _Board:
    """Where work is posted, claimed and handed over. Holds no reference to the engine, so that an
    engine that is simply dropped still ends its threads.
    """

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        # A finalizer may run, and stop the board, in a thread that holds it.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)  # something can be claimed
        self._ready = threading.Condition(self._lock)  # a batch is whole
        self._work: _Pass | None = None
        self._stopped = False

    def post(self, work: _Pass) -> None:
        """Give the threads a pass; an earlier one ends."""
        with self._lock:
            self._work = work
            self._room.notify_all()
            self._ready.notify_all()

    def withdraw(self, work: _Pass) -> None:
        """End a pass, if it is still the posted one."""
        with self._lock:
            if self._work is work:
                self._work = None

    def stop(self) -> None:
        """Let the threads end when they have finished their span."""
        with self._lock:
            self._stopped = True
            self._work = None
            self._room.notify_all()
            self._ready.notify_all()

    def take(self, work: _Pass) -> BatchResult:
        """The next batch, waited for."""
        with self._lock:
            while self._work is work and not (work.making and work.making[0].left == 0):
                if work.making and work.making[0].error is not None:
                    break
                if not work.making and work.failed is not None:
                    raise work.failed
                self._ready.wait()
            if self._work is not work:
                raise LoaderClosedError(
                    "this pass was ended by a newer one, or its loader was closed"
                )
            batch = work.making.popleft()
            self._room.notify_all()
        if batch.error is not None:
            raise batch.error
        images = batch.pixels if batch.images is None else batch.images
        return collate(images, batch.damaged, batch.timings)

    def whole(self) -> int:
        """Batches that wait for the consumer."""
        with self._lock:
            making = self._work.making if self._work is not None else ()
            return sum(batch.left == 0 for batch in making)

    def claim(self) -> tuple[_Pass, _Making, int, int] | None:
        """A span to decode, waited for; None when the threads should end."""
        with self._lock:
            while not self._stopped:
                span = self._work.claim() if self._work is not None else None
                if span is not None and self._work is not None:
                    return self._work, *span
                if self._work is not None and self._work.failed is not None:
                    self._ready.notify_all()
                self._room.wait()
            return None

    def finish(
        self, batch: _Making, count: int, timings: Timings, error: BaseException | None
    ) -> None:
        """Count samples of a batch as done."""
        with self._lock:
            batch.left -= count
            batch.timings = batch.timings.plus(timings)
            batch.error = batch.error or error
            if batch.left == 0 or error is not None:
                self._ready.notify_all()


def _work(board: _Board) -> None:
    """A thread's life."""
    while (span := board.claim()) is not None:
        work, batch, start, stop = span
        error: BaseException | None = None
        timings = Timings()
        try:
            timings = work.decode(batch, start, stop)
        except BaseException as raised:  # whatever it is belongs to the consumer
            error = raised
        board.finish(batch, stop - start, timings, error)
        del span, work, batch, error  # or a waiting thread would keep a batch from its ring
