"""The loader: an order, cut into tasks, made into batches by an engine."""

from __future__ import annotations

import contextlib
import weakref
import zlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import CorruptSampleError, UsageError
from lmdb_reid.loaders._device import Transfer
from lmdb_reid.loaders._engine import Batch, Corrupt, Engine, Task
from lmdb_reid.loaders._stats import Clock, Moment
from lmdb_reid.sampling import FromTorch, Sampler, checked_order, rank_share

_SKIPPED_SHARE, _SKIPPED_LEAST = 0.01, 10  # most damaged samples of a pass that are left out


class Loader:
    """Re-iterable batches; see `make_loader`, which makes one.

    A finished pass moves on to the next epoch by itself. One pass at a time: a new `iter()` ends
    the old one. `close`, the end of a `with` block, or the loader's own end stops the workers.
    """

    def __init__(
        self,
        dataset: ReIDDataset,
        engine: Engine,
        sampler: Sampler,
        *,
        transfer: Transfer,
        batch_size: int,
        drop_last: bool,
        seed: int,
        ranks: tuple[int, int],
        why: str,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.epoch = 0
        """The epoch that the next pass reads, or the running one does."""
        self._engine: Engine | None = engine
        self._sampler = sampler
        self._transfer = transfer
        self._drop_last = drop_last
        self._seed = seed
        self._rank, self._world_size = ranks
        self._taken = 0  # batches of this epoch that the consumer took
        self._resume_at = 0  # where the next pass begins: not 0 after load_state_dict only
        self._pass = 0
        self._running: weakref.ref[Generator[Batch, None, None]] | None = None
        self._drawn: tuple[int, npt.NDArray[np.int64]] | None = None  # an epoch's order
        self._why = why
        self._clock = Clock()

    def __len__(self) -> int:
        """Batches in an epoch of this rank."""
        return len(self._tasks(self.epoch))

    def __iter__(self) -> Iterator[Batch]:
        if self._engine is None:
            raise UsageError("this loader was closed")
        self._end_pass()
        self._taken = self._resume_at
        running = self._run(self._engine, self._pass)
        self._running = weakref.ref(running)
        return running

    def _run(self, engine: Engine, number: int) -> Generator[Batch, None, None]:
        epoch, start = self.epoch, self._taken
        tasks = self._tasks(epoch, start)
        if not tasks:
            self.epoch, self._taken = epoch + 1, 0
        source = engine.run(tasks)
        batches = self._transfer.over(source)
        skipped: list[Corrupt] = []
        try:
            for taken in range(start + 1, start + len(tasks) + 1):
                asked, ready = self._clock.begin(), engine.ready()
                batch, corrupt, spent = next(batches)
                self._resume_at = 0  # now that the position is used, and not before
                self._count_skipped(skipped, corrupt)
                self._clock.end(asked, batch.labels.size(0), ready, spent)
                # Counted before it is handed out: a state saved in the loop's body holds this batch
                # as taken.
                last = taken == start + len(tasks)
                self.epoch, self._taken = (epoch + 1, 0) if last else (epoch, taken)
                yield batch
                del batch  # or its buffer could not return while the next is waited for
                if number != self._pass:  # a newer pass took over, or the loader was closed
                    return
        finally:
            self._clock.pause()
            for generator in (batches, source):
                generator.close()

    def _count_skipped(self, skipped: list[Corrupt], corrupt: list[Corrupt]) -> None:
        if not corrupt:
            return
        skipped += corrupt
        self._clock.skipped += len(corrupt)
        if len(skipped) > max(_SKIPPED_LEAST, _SKIPPED_SHARE * len(self.dataset)):
            rows = self.dataset.store_rows(np.array([sample.item for sample in skipped[-3:]]))
            told = ", ".join(self.dataset.store.ids[row] for row in rows)
            raise CorruptSampleError(
                f"{len(skipped)} samples of this pass are damaged, more than on_error='skip' leaves"
                f" out; the last were {told} (lmdb-reid verify --deep lists all)"
            )

    def set_epoch(self, epoch: int) -> None:
        """Read this epoch next, from its first batch; from where it stopped, if a state of it was
        just loaded.
        """
        if epoch < 0:
            raise UsageError(f"epoch {epoch}: epochs are counted from 0")
        if epoch == self.epoch and self._resume_at:  # `for epoch in range(start, n)` after a resume
            return
        self._end_pass()
        self.epoch, self._taken, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer stands: what `load_state_dict` needs to give the same rest of the
        epoch.

        It counts the batches that were taken, not those prefetched. After the last batch it is the
        next epoch's start.
        """
        state: dict[str, Any] = {"epoch": self.epoch, "batches": self._taken, **self._identity()}
        if isinstance(self._sampler, FromTorch):
            state["order"] = self._sampler.rows(self.epoch).tolist()
        else:
            state["crc32"] = self._order_crc(self.epoch)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, with any number of workers.

        Raises:
            UsageError: no state of a loader, or one of another order: other samples, batch size,
                seed, sampler or number of ranks.
        """
        epoch, batches = state.get("epoch"), state.get("batches")
        if not (isinstance(epoch, int) and isinstance(batches, int) and min(epoch, batches) >= 0):
            raise UsageError(f"this is no state of a loader: epoch {epoch!r}, batches {batches!r}")
        wanted = self._identity()
        if isinstance(self._sampler, FromTorch):
            order = checked_order(state.get("order", [None]), len(self.dataset))
        else:
            wanted["crc32"] = self._order_crc(epoch)
        differing = {
            name: (state.get(name), now) for name, now in wanted.items() if state.get(name) != now
        }
        if differing:
            told = "; ".join(
                f"{name} was {was}, is {now}" for name, (was, now) in differing.items()
            )
            raise UsageError(f"this state belongs to another order of batches: {told}")
        if isinstance(self._sampler, FromTorch):
            self._sampler.restore(epoch, order)
            self._drawn = None
        if batches > len(self._tasks(epoch)):
            raise UsageError(f"this state took {batches} batches of an epoch that has fewer")
        self._end_pass()
        self.epoch, self._taken, self._resume_at = epoch, batches, batches

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
        if self.dataset.cache is not None:
            stats["cache"] = self.dataset.cache.stats()
        return stats

    def moments(self) -> list[Moment]:
        """The last batches (4,096 at most), each with when it was asked for and what it took."""
        return list(self._clock.moments)

    def explain(self) -> str:
        """Which engine makes the batches, and why."""
        return f"{type(self._engine).__name__}: {self._why}"

    def close(self) -> None:
        """Stop the workers. The loader cannot be read again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()  # first, so that nothing under way is waited for
        self._end_pass()

    def _end_pass(self) -> None:
        self._pass += 1
        running = self._running() if self._running is not None else None
        if running is not None:
            with contextlib.suppress(ValueError):  # it is running now: it ends by itself
                running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Loader({self.dataset!r}, batches of {self.batch_size}, epoch {self.epoch},"
            f" {self._taken} taken)"
        )

    def _identity(self) -> dict[str, Any]:
        return {
            "samples": len(self.dataset),
            "batch_size": self.batch_size,
            "seed": self._seed,
            "world_size": self._world_size,
            "drop_last": self._drop_last,
            "sampler": type(self._sampler).__name__,
        }

    def _order_crc(self, epoch: int) -> int:
        """Of the store's rows in the order of an epoch: tells one order from another."""
        order = self._order(epoch)
        return zlib.crc32(np.ascontiguousarray(self.dataset.store_rows(order)).data)

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The order of an epoch, drawn once: ten million samples take half a second."""
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = None  # the one before need not stay while the next is drawn
            self._drawn = epoch, checked_order(self._sampler.rows(epoch), len(self.dataset))
        return self._drawn[1]

    def _tasks(self, epoch: int, start: int = 0) -> _Tasks:
        """The tasks of an epoch from batch `start` on."""
        order = self._order(epoch)
        rank, ranks, drop_last = self._rank, self._world_size, self._drop_last
        if isinstance(self._sampler, FromTorch) and self._sampler.is_shared:
            plain = Task(order, self._seed, epoch, rank, ranks)
        elif ranks > 1 and hasattr(self._sampler, "batch_size"):
            # Its batches stay whole, batch b goes to rank b % ranks.
            size = self.batch_size
            order = rank_share(order, rank, ranks, drop_last=drop_last, together=size)
            plain = Task(order, self._seed, epoch, rank * size)
            return _Tasks(plain, size, start, drop_last=drop_last, apart=ranks * size)
        else:
            order = rank_share(order, rank, ranks, drop_last=drop_last)
            plain = Task(order, self._seed, epoch, rank, ranks)
        apart = self.batch_size * plain.stride
        return _Tasks(plain, self.batch_size, start, drop_last=drop_last, apart=apart)


class _Tasks(Sequence[Task]):
    """An epoch cut into batches, each as it is asked for: no Python object stands for a sample."""

    def __init__(
        self, epoch: Task, batch_size: int, start: int, *, drop_last: bool, apart: int
    ) -> None:
        self._epoch = epoch
        self._apart = apart  # positions from one batch's first sample to the next one's
        self._batch_size = batch_size
        self._start = start
        whole, rest = divmod(len(epoch.indices), batch_size)
        self._end = whole + bool(rest and not drop_last)

    def __len__(self) -> int:
        return max(0, self._end - self._start)

    def __getitem__(self, at: Any) -> Any:
        if not 0 <= at < len(self):
            raise IndexError(at)
        number = self._start + at
        first = number * self._batch_size
        return self._epoch._replace(
            indices=self._epoch.indices[first : first + self._batch_size],
            first=self._epoch.first + number * self._apart,
        )
