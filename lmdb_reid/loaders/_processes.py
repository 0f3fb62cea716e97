"""The engine that decodes in processes of its own, for transforms that need one.

Workers live as long as the engine and write whole batches into slots of one shared buffer; only
slot numbers travel. The buffer is anonymous memory handed over by its descriptor: it has no name
that could be left behind, and takes nothing from /dev/shm.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import signal
import traceback
import weakref
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import numpy as np
import torch

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import UsageError, WorkerDiedError
from lmdb_reid.loaders._engine import (
    Batch,
    Corrupt,
    Made,
    Spent,
    Task,
    make_batch,
    sample_output,
)
from lmdb_reid.loaders._shared import SharedBuffer, check_memory

StartMethod = Literal["forkserver", "fork", "spawn"]

_SPARE = 6  # slots that a consumer may hold before batches are copied out
_PATIENCE = 5.0  # seconds that a worker is given to end


@dataclass(frozen=True, slots=True)
class _Order:
    """One batch to make, for a worker."""

    number: int
    slot: int
    task: Task


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of it: the images lie in the slot, unless they are no plain tensor."""

    number: int
    slot: int
    labels: Any
    rows: Any
    corrupt: list[Corrupt]
    spent: Spent
    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    images: Any = None
    error: bytes | None = None
    trace: str = ""


class ProcessesEngine:
    """Decoder processes; see `Engine`.

    Args:
        dataset: what to read, with any transform; it is pickled to the workers.
        workers: processes.
        prefetch: batches made or being made ahead of the consumer, beside one for each worker.
        skip: leave damaged samples out instead of raising.
        start_method: how workers begin. Under forkserver (the default) and spawn, a script's own
            code must stand under `if __name__ == "__main__":`.

    Raises:
        UsageError: the system has no anonymous shared memory, or not enough memory for the slots.
    """

    def __init__(
        self,
        dataset: ReIDDataset,
        *,
        workers: int,
        prefetch: int,
        skip: bool,
        start_method: StartMethod = "forkserver",
    ) -> None:
        if not hasattr(os, "memfd_create"):
            raise UsageError("engine='processes' needs Linux: take 'threads' or 'dataloader'")
        self.beyond = 0
        """Batches that were copied out of the buffer, since the consumer held too many slots."""
        self._dataset = dataset
        self._workers = workers
        self._ahead = prefetch + workers
        self._skip = skip
        self._method = start_method
        self._crew: _Crew | None = None

    def run(self, tasks: Sequence[Task]) -> Generator[Made, None, None]:
        """One pass; see `Engine`."""
        if not tasks:
            return
        crew = self._started(tasks[0])  # the first batch is the longest
        waiting: deque[int] = deque()
        begun = 0
        try:
            while begun < len(tasks) or waiting:
                while begun < len(tasks) and len(waiting) < self._ahead and crew.has_room(waiting):
                    waiting.append(crew.order(tasks[begun]))
                    begun += 1
                yield self._made(crew, crew.answer_to(waiting.popleft()))
        except WorkerDiedError:
            self.close()
            raise
        finally:
            crew.forget()

    def ready(self) -> int:
        """See `Engine`."""
        return 0 if self._crew is None else self._crew.answered()

    def buffers(self) -> tuple[int, int]:
        """See `Engine`."""
        return 0 if self._crew is None else self._ahead + _SPARE, self.beyond

    def close(self) -> None:
        """End the workers and wait for them."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.stop()

    def _started(self, longest: Task) -> _Crew:
        crew, count = self._crew, len(longest.indices)
        if crew is not None and crew.pid == os.getpid():
            if count <= crew.longest:
                return crew
            self.close()
        slots = self._ahead + _SPARE
        output = sample_output(self._dataset, int(longest.indices[0]))
        slot_bytes = output.nbytes * count if isinstance(output, torch.Tensor) else 1
        check_memory(slots * slot_bytes)
        try:
            crew = _Crew(
                self._dataset,
                self._workers,
                SharedBuffer(slots, slot_bytes),
                slots,
                longest=count,
                skip=self._skip,
                method=self._method,
            )
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            raise UsageError(
                f"too many open files to start {self._workers} worker processes: reduce workers"
                " (num_workers), or allow more files with `ulimit -n 4096` (lmdb-reid doctor tells"
                " the limit)"
            ) from error
        weakref.finalize(self, crew.stop)
        self._crew = crew
        return crew

    def _made(self, crew: _Crew, answer: _Answer) -> Made:
        if answer.error is not None:
            crew.free.append(answer.slot)
            error = pickle.loads(answer.error)  # our own worker made it
            error.add_note(f"in a worker process:\n{answer.trace}")
            raise error
        labels, rows = torch.from_numpy(answer.labels), torch.from_numpy(answer.rows)
        if answer.shape is None or answer.dtype is None:
            crew.free.append(answer.slot)
            return Made(Batch(answer.images, labels, rows), answer.corrupt, answer.spent)
        count = int(np.prod(answer.shape)) * answer.dtype.itemsize
        lent = crew.buffer.slot(answer.slot, count)
        if crew.lent() >= _SPARE:
            self.beyond += 1
            crew.free.append(answer.slot)
            lent = lent.copy()
        else:
            weakref.finalize(lent, crew.free.append, answer.slot).atexit = False
        images = torch.from_numpy(lent).view(answer.dtype).view(answer.shape)
        if images.dtype == torch.uint8 and self._dataset.transform is None:
            images = images.permute(0, 3, 1, 2)
        return Made(Batch(images, labels, rows), answer.corrupt, answer.spent)


class _Crew:
    """The workers, their pipes, and which slots are free. Knows nothing of the engine."""

    def __init__(
        self,
        dataset: ReIDDataset,
        workers: int,
        buffer: SharedBuffer,
        slots: int,
        *,
        longest: int,
        skip: bool,
        method: StartMethod,
    ) -> None:
        self.pid = os.getpid()
        self.longest = longest  # batch that a slot holds
        self.buffer = buffer
        self.free: deque[int] = deque(range(slots))
        self._slots = slots
        self._answers: dict[int, _Answer] = {}
        self._unanswered: set[int] = set()
        self._stale: set[int] = set()  # of passes that were ended: answers that nobody wants
        self._numbers = 0
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._loads: list[int] = [0] * workers  # orders that a worker has not answered
        self._stopped = False
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload([__name__])
        for number in range(workers):
            ours, theirs = context.Pipe()
            inherited = [*self._pipes, ours] if method == "fork" else []
            process = context.Process(
                target=_work,
                args=(theirs, dataset, buffer, skip, inherited),
                name=f"lmdb_reid-decode-{number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def lent(self) -> int:
        """Slots that the consumer holds."""
        under_way = len(self._unanswered) + len(self._stale) + len(self._answers)
        return self._slots - len(self.free) - under_way - 1

    def answered(self) -> int:
        """Batches that are whole."""
        return len(self._answers) + sum(pipe.poll() for pipe in self._pipes)

    def has_room(self, waiting: Sequence[int]) -> bool:
        """Whether a slot is free; where nothing of this pass is under way, one is waited for."""
        while not self.free and not waiting and self._stale:
            self._receive()
        return bool(self.free)

    def order(self, task: Task) -> int:
        """Give a batch to the worker with the fewest; returns its number."""
        self._numbers += 1
        worker = self._loads.index(min(self._loads))
        try:
            self._pipes[worker].send(_Order(self._numbers, self.free.popleft(), task))
        except (BrokenPipeError, ConnectionResetError):
            raise self._death(worker) from None
        self._loads[worker] += 1
        self._unanswered.add(self._numbers)
        return self._numbers

    def answer_to(self, number: int) -> _Answer:
        """The answer to an order, waited for.

        Raises:
            WorkerDiedError: a worker ended instead.
        """
        while number not in self._answers:
            self._receive()
        return self._answers.pop(number)

    def forget(self) -> None:
        """Let go what an ended pass still has under way: its slots are free when it is done."""
        if self.pid != os.getpid():  # the pipes are the parent's
            return
        self._stale |= self._unanswered
        self._unanswered.clear()
        for answer in self._answers.values():
            self.free.append(answer.slot)
        self._answers.clear()

    def stop(self) -> None:
        """Ask the workers to end, and see that they do."""
        if self._stopped or self.pid != os.getpid():
            return
        self._stopped = True
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # it may be gone already
                pipe.send(None)
            pipe.close()
        for process in self._processes:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()

    def _receive(self) -> None:
        sentinels = [process.sentinel for process in self._processes]
        ready = wait([*self._pipes, *sentinels])
        for worker, pipe in enumerate(self._pipes):
            if pipe not in ready:
                continue
            try:
                answer: _Answer = pipe.recv()
            except (EOFError, ConnectionResetError):
                raise self._death(worker) from None
            self._loads[worker] -= 1
            if answer.number in self._stale:
                self._stale.remove(answer.number)
                self.free.append(answer.slot)
            else:
                self._unanswered.discard(answer.number)
                self._answers[answer.number] = answer
            return
        for worker, sentinel in enumerate(sentinels):
            if sentinel in ready:
                raise self._death(worker)

    def _death(self, worker: int) -> WorkerDiedError:
        process = self._processes[worker]
        process.join(_PATIENCE)
        code = process.exitcode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name
        hint = {
            "SIGKILL": "; the system kills processes when memory runs out: fewer workers need less",
            "SIGBUS": "; a store file was cut, or its disk failed, while it was mapped",
        }.get(how, "")
        return WorkerDiedError(f"{process.name} (pid {process.pid}) ended with {how}{hint}")


def _work(
    pipe: Connection,
    dataset: ReIDDataset,
    buffer: SharedBuffer,
    skip: bool,
    inherited: list[Connection],
) -> None:
    """A worker's life: until it is told to end, or the consumer's end of its pipe is gone."""
    for ours in inherited:  # a forked worker would keep its siblings' pipes open
        ours.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the consumer's
    torch.set_num_threads(1)
    while True:
        try:
            order: _Order | None = pipe.recv()
        except (EOFError, OSError):
            return
        if order is None:
            return
        try:
            answer = _answered(order, dataset, buffer, skip=skip)
        except BaseException as error:  # whatever it is belongs to the consumer
            answer = _failed(order, error)
        pipe.send(answer)


def _answered(order: _Order, dataset: ReIDDataset, buffer: SharedBuffer, *, skip: bool) -> _Answer:
    size = len(order.task.indices) * dataset.size[0] * dataset.size[1] * 3
    into = None
    if dataset.transform is None:
        into = buffer.slot(order.slot, size).reshape(-1, *dataset.size, 3)
    (images, labels, rows), corrupt, spent = make_batch(
        dataset, order.task, skip=skip, seed_globals=True, pixels=into
    )
    known = order.number, order.slot, labels.numpy(), rows.numpy(), corrupt, spent
    if into is not None:
        if corrupt:  # the batch without them is a copy
            kept = images.permute(0, 2, 3, 1).numpy()
            into[: len(kept)] = kept
        return _Answer(*known, (len(labels), *dataset.size, 3), torch.uint8)
    if isinstance(images, torch.Tensor) and images.nbytes <= buffer.slot_bytes:
        flat = torch.from_numpy(buffer.slot(order.slot, images.nbytes)).view(images.dtype)
        flat.view(images.shape).copy_(images)
        return _Answer(*known, tuple(images.shape), images.dtype)
    return _Answer(*known, None, None, images)


def _failed(order: _Order, error: BaseException) -> _Answer:
    trace = traceback.format_exc()
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)  # some exceptions pickle and cannot be made again
    except Exception:
        packed = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    nothing = None, None, [], Spent(), None, None, None  # type: ignore[var-annotated]  # of its list
    return _Answer(order.number, order.slot, *nothing, packed, trace)
