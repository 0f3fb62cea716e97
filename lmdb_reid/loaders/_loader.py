"""The loader: an order, cut into tasks, made into batches by an engine."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from lmdb_reid.augment import Draws
from lmdb_reid.dataset import Selection
from lmdb_reid.errors import CorruptSampleError, LoaderClosedError, UsageError
from lmdb_reid.loaders._batch import Batch, BatchResult, Damaged
from lmdb_reid.loaders._config import LoaderConfig
from lmdb_reid.loaders._device import Made, Transfer
from lmdb_reid.loaders._engine import Engine
from lmdb_reid.loaders._epochs import BatchSampler
from lmdb_reid.loaders._guesses import LoaderGuesses
from lmdb_reid.loaders._job import Job
from lmdb_reid.loaders._pass import Pass, Turn
from lmdb_reid.loaders._plan import Plan
from lmdb_reid.loaders._state import VERSION, checked_state
from lmdb_reid.loaders._stats import Clock, Moment
from lmdb_reid.sampling import Order, Schedule, Task, check_epoch

_SKIPPED_SHARE, _SKIPPED_LEAST = 0.01, 10  # most damaged samples of a pass that are left out


class Loader(LoaderGuesses):
    """Re-iterable batches; see `make_loader`, which makes one.

    `iter()` begins the next epoch if the last pass gave any batch, finished or not; `set_epoch` and
    `load_state_dict` say otherwise. One pass at a time: a new one ends the old one, whose `next`
    then raises LoaderClosedError. `close`, the end of a `with` block, or the loader's own end stops
    the workers.
    """

    def __init__(
        self,
        dataset: Any,
        selection: Selection,
        engine: Engine,
        order: Order,
        *,
        schedule: Callable[[], Schedule],
        transfer: Transfer,
        config: LoaderConfig,
        job: Job,
        why: str,
    ) -> None:
        self.dataset = dataset
        """What `make_loader` was given."""
        self.batch_size = schedule().batch_size
        """Samples in a whole batch."""
        self._selection = selection
        self._engine: Engine | None = engine
        self._order = order
        self._schedule = schedule  # asked when a pass begins: ranks are known only then
        self._transfer = transfer
        self._config = config
        self._job = job
        self._why = why
        self._at = 0, 0  # (epoch, samples that all ranks together took of it)
        self._next = 0, 0  # where the next pass begins
        self._running: weakref.ref[Pass] | None = None
        self._turn = Turn()
        self._clock = Clock()

    @property
    def epoch(self) -> int:
        """The epoch that the running pass reads, or, after its last batch, the next one."""
        return self._at[0]

    @property
    def batch_sampler(self) -> BatchSampler:
        """Whose `sampler.set_epoch` Lightning calls with its own epoch before each pass."""
        # Not `sampler` itself: Lightning's overfit_batches makes loaders that have one again.
        return BatchSampler(self)

    def __len__(self) -> int:
        """Batches in an epoch of this rank; nothing is drawn for it."""
        return self._schedule().steps(self._order.count(self.epoch))

    def __iter__(self) -> Pass:
        self._open_engine()
        if self._turn.pid != os.getpid():  # in a forked child another thread may have it for ever
            self._turn = Turn()
        running = Pass(self._run, self._turn)
        # Before the older one is waited for, or two threads would begin two passes in its place.
        older, self._running = self._running, weakref.ref(running)
        _end(older, "a newer pass of its loader began")
        self._at = self._next
        return running

    def _run(self) -> Generator[Batch, None, None]:
        engine = self._open_engine()
        schedule, (epoch, start) = self._schedule(), self._next
        tasks = schedule.tasks(
            self._order.positions(epoch), seed=self._config.seed, epoch=epoch, start=start
        )
        if not tasks:
            self._at = self._next = epoch + 1, 0
        source = engine.run(tasks)
        skipped: list[Damaged] = []
        labelled = self._labelled(tasks, source, skipped)
        batches = self._transfer.over(labelled)
        try:
            for step in range(1, len(tasks) + 1):
                asked, ready = self._clock.begin(), self._transfer.ready()
                if ready is None:
                    ready = engine.ready()
                made = next(batches)
                batch = made.batch
                self._clock.end(asked, len(batch.rows), ready, made.timings)
                del made
                # Counted before it is handed out: a state saved in the loop's body holds this batch
                # as taken.
                self._next = epoch + 1, 0
                last = step == len(tasks)
                self._at = self._next if last else (epoch, start + step * schedule.step_samples)
                yield batch
                del batch  # or its buffer could not return while the next is waited for
        finally:
            self._clock.pause()
            batches.close()

    def _labelled(
        self,
        tasks: Iterable[Task],
        source: Generator[BatchResult, None, None],
        skipped: list[Damaged],
    ) -> Generator[Made, None, None]:
        """The engine's images with labels, rows and columns beside them."""
        selection = self._selection
        with closing(source):
            for task, result in zip(tasks, source, strict=True):
                positions = task.positions
                if result.damaged:
                    self._count_skipped(skipped, result.damaged)
                    positions = np.delete(positions, [sample.slot for sample in result.damaged])
                columns = {
                    name: torch.from_numpy(_numbers(values[positions]))
                    for name, values in selection.columns.items()
                }
                batch = Batch(
                    result.images,
                    torch.from_numpy(selection.labels[positions]),
                    torch.from_numpy(selection.rows_of(positions)),
                    columns,
                    (selection.crops.names, positions),
                )
                yield Made(batch, result.timings, self._draws(task, result.damaged), task)
                del result, batch  # or its buffer could not return while the next is waited for

    def _draws(self, task: Task, damaged: list[Damaged]) -> Draws | None:
        """What the device step has to do to the whole samples of a task."""
        recipe, engine = self._job.augment, self._engine
        if recipe is None or engine is None or (engine.places and self._job.erases):
            return None
        draws = self._job.draws(task)
        if not damaged:
            return draws
        return draws.take(np.delete(np.arange(len(draws)), [sample.slot for sample in damaged]))

    def _count_skipped(self, skipped: list[Damaged], damaged: list[Damaged]) -> None:
        skipped += damaged
        self._clock.skipped += len(damaged)
        if len(skipped) > max(_SKIPPED_LEAST, _SKIPPED_SHARE * len(self._selection)):
            names = self._selection.crops.names(
                np.array([sample.position for sample in skipped[-3:]])
            )
            raise CorruptSampleError(
                f"{len(skipped)} samples of this pass are damaged, more than on_error='skip' leaves"
                f" out; the last were {', '.join(names)} (lmdb-reid verify --deep lists all)",
                ids=names,
            )

    def set_epoch(self, epoch: int) -> None:
        """Read this epoch next, from its first batch; from where it stopped, if a state of it was
        just loaded. A pass that reads this epoch already goes on, and the one after it, if it
        begins before the next batch, begins this epoch again.

        Raises:
            UsageError: no whole number from 0 up.
            LoaderClosedError: the loader was closed.
        """
        check_epoch(epoch)
        self._open_engine()
        running = self._running() if self._running is not None else None
        if running is not None and not running.is_over:
            if running.has_begun and epoch == self._at[0]:
                self._next = epoch, 0
                return
            if not running.has_begun:
                self._set_next(epoch)
                return
        self._end_pass(f"set_epoch({epoch}) was called")
        self._set_next(epoch)

    def _set_next(self, epoch: int) -> None:
        if epoch != self._next[0] or not self._next[1]:  # else a state of it was just loaded
            self._next = epoch, 0
        self._at = self._next

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer stands, as plain data: what `load_state_dict` needs to give the same
        rest of the epoch, also to another number of ranks or workers, or another batch size.

        It counts the samples that all ranks took, not those prefetched. After the last batch it is
        the next epoch's start.
        """
        epoch, samples = self._at
        identity = {"version": VERSION, "epoch": epoch, "samples": samples}
        return identity | {"seed": self._config.seed} | self._order.state(epoch)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state. A pass that was not asked for a batch yet begins there.

        Raises:
            UsageError: no state of a loader, one of another version, or one of another order: other
                samples, seed or sampler.
            LoaderClosedError: the loader was closed.
        """
        self._open_engine()
        epoch, samples = checked_state(state, self._config.seed)
        self._order.restore(epoch, state)
        schedule, count = self._schedule(), self._order.count(epoch)
        if schedule.in_batches and samples % schedule.batch_size:
            raise UsageError(
                f"this state took {samples} samples, which are not whole batches of"
                f" {schedule.batch_size}. Resume with the batch size that it was saved with"
            )
        if samples > count * (schedule.world_size if schedule.is_shared else 1):
            raise UsageError(f"this state took {samples} samples of an epoch that has {count}")
        running = self._running() if self._running is not None else None
        if running is None or running.has_begun:
            self._end_pass("a state was loaded")
        self._at = self._next = epoch, samples

    def plan(self) -> Plan:
        """What an epoch takes: steps, batches, buffers and their bytes, engine and why, copies;
        print it.
        """
        schedule, engine = self._schedule(), self._open_engine()
        count = self._order.count(self.epoch)
        samples = schedule.samples(count)
        longest = min(schedule.batch_size, samples)
        footprint = engine.footprint(longest)
        return Plan(
            samples=samples,
            steps=schedule.steps(count),
            batch_size=schedule.batch_size,
            batch_shape=footprint.shape,
            batch_dtype=self._transfer.dtype_name or footprint.dtype,
            engine=engine.name,
            why=self._why,
            num_workers=self._config.num_workers,
            rank=schedule.rank,
            world_size=schedule.world_size,
            buffers=footprint.buffers,
            buffer_bytes=footprint.buffer_bytes,
            copies=(*footprint.copies, *self._transfer.copies),
            device=str(self._transfer.device),
            augment="none" if self._job.augment is None else repr(self._job.augment),
        )

    def stats(self) -> dict[str, Any]:
        """What happened since the loader was made.

        Counts: batches, samples, skipped (damaged samples left out), cached (samples that came
        from the dataset's cache, in whichever process), samples_per_s. Of the last 4,096 batches:
        queue_depth_p50 (whole batches that waited when one was asked for; None where the engine
        does not know) and, in milliseconds, _p50 and _p99 of wait_ms (at next()), gather_ms (from
        the cache), decode_ms and transform_ms (of all workers together) and transfer_ms (to the
        device). ring (batch buffers made) and beyond_ring (batches that got ordinary memory, since
        all buffers were held), of the engines that have a ring; cache, if the dataset has one: the
        counts of this process.
        """
        stats = self._clock.stats()
        buffers = None if self._engine is None else self._engine.buffers()
        if buffers is not None:
            stats |= dict(zip(("ring", "beyond_ring"), buffers, strict=True))
        if self._selection.cache is not None:
            stats["cache"] = self._selection.cache.stats()
        return stats

    def moments(self) -> list[Moment]:
        """The last batches (4,096 at most), each with when it was asked for and what it took."""
        return list(self._clock.moments)

    def close(self) -> None:
        """Stop the workers. The loader cannot be read again."""
        engine, self._engine = self._engine, None
        running = self._running() if self._running is not None else None
        if running is not None:
            running.forbid("its loader was closed")
        if engine is not None:
            engine.close()  # before the pass, so that nothing under way is waited for
        _end(self._running, "its loader was closed", wait=False)

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise LoaderClosedError("this loader was closed")
        return self._engine

    def _end_pass(self, why: str) -> None:
        _end(self._running, why)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        name = "closed" if self._engine is None else self._engine.name
        epoch, samples = self._at
        workers = self._config.num_workers
        return (
            f"Loader({self.dataset!r}, {len(self):,} batches of {self.batch_size}, {name} with"
            f" {workers} worker{'' if workers == 1 else 's'} on {self._transfer.device}, epoch"
            f" {epoch}, {samples:,} samples taken)"
        )


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """int64 of whole numbers, float64 of others."""
    return values.astype(np.int64 if values.dtype.kind in "iub" else np.float64)


def _end(running: weakref.ref[Pass] | None, why: str, *, wait: bool = True) -> None:
    """End a pass, if there is one."""
    if running is not None and (found := running()) is not None:
        found.end(why, wait=wait)
