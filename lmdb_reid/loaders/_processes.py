"""The engine that decodes in processes of its own, for transforms that need one.

Workers live as long as the engine and write whole batches into slots of one shared buffer; only
slot numbers travel. The buffer is anonymous memory handed over by its descriptor: it has no name
that could be left behind, and takes nothing from /dev/shm.
"""

from __future__ import annotations

import contextlib
import errno
import math
import multiprocessing
import os
import pickle
import select
import signal
import weakref
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from lmdb_reid.errors import ResourceError, UsageError, WorkerDiedError
from lmdb_reid.loaders._batch import BatchResult
from lmdb_reid.loaders._config import StartMethod
from lmdb_reid.loaders._engine import CPU
from lmdb_reid.loaders._job import Job, collate
from lmdb_reid.loaders._plan import Footprint
from lmdb_reid.loaders._sending import check_sendable
from lmdb_reid.loaders._shared import SharedBuffer, check_memory
from lmdb_reid.loaders._worker import Answer, Order, send, work
from lmdb_reid.sampling import Task

_SPARE = 6  # slots that a consumer may hold before batches are copied out
_PATIENCE = 5.0  # seconds that a worker is given to end


class ProcessesEngine:
    """Decoder processes; see `Engine`.

    Args:
        job: what to read, with any transform; it is pickled to the workers.
        num_workers: processes.
        prefetch: batches made or being made ahead of the consumer, beside one for each worker.
        start_method: how workers begin. Under forkserver (the default) and spawn, a script's own
            code must stand under `if __name__ == "__main__":`.

    Raises:
        UsageError: the system has no anonymous shared memory, not enough memory for the slots, or
            no way to send the transform to its workers.
    """

    name = "processes"
    device = CPU
    places = True

    def __init__(
        self,
        job: Job,
        *,
        num_workers: int,
        prefetch: int,
        start_method: StartMethod = "forkserver",
    ) -> None:
        if not hasattr(os, "memfd_create"):
            raise UsageError("engine='processes' needs Linux. Use 'threads' or 'dataloader'")
        self.beyond = 0
        """Batches that were copied out of the buffer, since the consumer held too many slots."""
        self._job = job
        self._workers = num_workers
        self._ahead = prefetch + num_workers
        self._method = start_method
        self._crew: _Crew | None = None

    def run(self, tasks: Sequence[Task]) -> Generator[BatchResult, None, None]:
        """One pass; see `Engine`."""
        if not tasks:
            return
        crew = self._started(tasks[0])  # the first batch is the longest
        waiting: deque[tuple[int, Task]] = deque()
        begun = 0
        try:
            while begun < len(tasks) or waiting:
                while begun < len(tasks) and len(waiting) < self._ahead and crew.has_room(waiting):
                    task = tasks[begun]
                    waiting.append((crew.order(task), task))
                    begun += 1
                number, task = waiting.popleft()
                yield self._result(crew, crew.answer_to(number), task)
        except WorkerDiedError:
            self.close()
            raise
        finally:
            crew.forget()

    def footprint(self, batch_size: int) -> Footprint:
        """See `Engine`."""
        shape, dtype, nbytes = self._job.batch_layout(batch_size)
        slots = self._ahead + _SPARE
        if self._job.transform is None:
            return Footprint(shape, dtype, slots, slots * nbytes)
        last = "into the shared slot" if nbytes else "to the consumer, by torch's own sharing"
        copies = ("stack the transformed images", last)
        return Footprint(shape, dtype, slots if nbytes else 0, slots * nbytes, copies)

    def ready(self) -> int:
        """See `Engine`."""
        return 0 if self._crew is None else self._crew.answered()

    def buffers(self) -> tuple[int, int]:
        """See `Engine`."""
        return 0 if self._crew is None else self._ahead + _SPARE, self.beyond

    def close(self) -> None:
        """End the workers and wait for them."""
        if self._crew is not None:
            self._crew = None
            self._end()  # which held the workers' pipes and the memory of all slots

    def _started(self, longest: Task) -> _Crew:
        crew, count = self._crew, len(longest.positions)
        if crew is not None and crew.pid == os.getpid():
            if count <= crew.longest:
                return crew
            self.close()
        if self._method != "fork":
            check_sendable(self._job)
        slots = self._ahead + _SPARE
        output = self._job.example(int(longest.positions[0]))
        slot_bytes = output.nbytes * count if isinstance(output, torch.Tensor) else 1
        check_memory(slots * slot_bytes)
        try:
            crew = _Crew(
                self._job,
                self._workers,
                SharedBuffer(slots, slot_bytes),
                slots,
                longest=count,
                method=self._method,
            )
        except ChildProcessError as error:  # of multiprocessing, which looks for its own child
            raise UsageError(
                "start_method='forkserver' does not work in a forked child whose parent used"
                " it. Use start_method='spawn' or 'fork', or engine='threads'"
            ) from error
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            raise ResourceError(
                f"too many open files to start {self._workers} worker processes: reduce"
                " num_workers, or allow more files with `ulimit -n 4096` (lmdb-reid doctor prints"
                " the limit)"
            ) from error
        self._end = weakref.finalize(self, crew.stop)
        self._crew = crew
        return crew

    def _result(self, crew: _Crew, answer: Answer, task: Task) -> BatchResult:
        if answer.error is not None:
            crew.free.append(answer.slot)
            error = pickle.loads(answer.error)  # our own worker made it
            error.add_note(f"in a worker process:\n{answer.trace}")
            raise error
        if answer.images is not None:
            crew.free.append(answer.slot)
            return BatchResult(answer.images, answer.damaged, answer.timings)
        shape = answer.shape or (len(task.positions), *self._job.crops.size, 3)
        itemsize = 1 if answer.dtype is None else answer.dtype.itemsize
        lent = crew.buffer.slot(answer.slot, math.prod(shape) * itemsize)
        if crew.lent() >= _SPARE:
            self.beyond += 1
            crew.free.append(answer.slot)
            lent = lent.copy()
        else:
            weakref.finalize(lent, crew.free.append, answer.slot).atexit = False
        if answer.dtype is None:
            return collate(lent.reshape(shape), answer.damaged, answer.timings)
        images = torch.from_numpy(lent).view(answer.dtype).view(shape)
        return BatchResult(images, answer.damaged, answer.timings)


class _Crew:
    """The workers, their pipes, and which slots are free. Knows nothing of the engine."""

    def __init__(
        self,
        job: Job,
        num_workers: int,
        buffer: SharedBuffer,
        slots: int,
        *,
        longest: int,
        method: StartMethod,
    ) -> None:
        self.pid = os.getpid()
        self.longest = longest  # batch that a slot holds
        self.buffer = buffer
        self.free: deque[int] = deque(range(slots))
        self._slots = slots
        self._answers: dict[int, Answer] = {}
        self._unanswered: set[int] = set()
        self._stale: set[int] = set()  # of passes that were ended: answers that nobody wants
        self._numbers = 0
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._loads: list[int] = [0] * num_workers  # orders that a worker has not answered
        self._stopped = False
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload([work.__module__])
        for number in range(num_workers):
            ours, theirs = context.Pipe()
            inherited = [*self._pipes, ours] if method == "fork" else []
            process = context.Process(
                target=work,
                args=(theirs, job, buffer, inherited),
                name=f"lmdb_reid-decode-{number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self._poll = select.poll()
        for descriptor in (pipe.fileno() for pipe in self._pipes):
            self._poll.register(descriptor, select.POLLIN)
        for descriptor in (process.sentinel for process in self._processes):
            self._poll.register(descriptor, select.POLLIN)

    def lent(self) -> int:
        """Slots that the consumer holds."""
        under_way = len(self._unanswered) + len(self._stale) + len(self._answers)
        return self._slots - len(self.free) - under_way - 1

    def answered(self) -> int:
        """Batches that are whole."""
        poll = select.poll()  # of its own: another thread may ask while the consumer waits
        for pipe in self._pipes:
            poll.register(pipe.fileno(), select.POLLIN)
        return len(self._answers) + len(poll.poll(0))

    def has_room(self, waiting: Sequence[Any]) -> bool:
        """Whether a slot is free; where nothing of this pass is under way, one is waited for."""
        while not self.free and not waiting and self._stale:
            self._receive()
        return bool(self.free)

    def order(self, task: Task) -> int:
        """Give a batch to the worker with the fewest; returns its number."""
        self._numbers += 1
        worker = self._loads.index(min(self._loads))
        try:
            order = Order(self._numbers, self.free.popleft(), task.positions.tobytes(), *task[1:])
            send(self._pipes[worker], order)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death(worker) from None
        self._loads[worker] += 1
        self._unanswered.add(self._numbers)
        return self._numbers

    def answer_to(self, number: int) -> Answer:
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
        """Take the answers that are there; at least one is waited for."""
        ready = {descriptor for descriptor, _ in self._poll.poll()}
        answered = [at for at, pipe in enumerate(self._pipes) if pipe.fileno() in ready]
        for worker in answered:
            pipe = self._pipes[worker]
            try:
                answer = Answer(*pipe.recv())
            except (EOFError, ConnectionResetError):
                raise self._death(worker) from None
            self._loads[worker] -= 1
            if answer.number in self._stale:
                self._stale.remove(answer.number)
                self.free.append(answer.slot)
            else:
                self._unanswered.discard(answer.number)
                self._answers[answer.number] = answer
        for worker, process in enumerate(self._processes):
            if process.sentinel in ready and not answered:
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
