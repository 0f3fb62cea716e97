"""The engine that is torch's own DataLoader: persistent workers, prefetching, pinned memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._engine import Made, Task, make_batch


class DataLoaderEngine:
    """torch.utils.data.DataLoader over the same dataset; each of its items is a whole batch.

    Args:
        dataset: what to read.
        num_workers: processes; 0 works in the caller's thread.
        prefetch: batches ready ahead for each worker.
        pin: page-locked memory, for a GPU.
        persistent: keep the processes from one pass to the next.
        skip: leave damaged samples out instead of raising.
    """

    def __init__(
        self,
        dataset: ReIDDataset,
        *,
        num_workers: int,
        prefetch: int,
        pin: bool,
        persistent: bool = True,
        skip: bool,
    ) -> None:
        self._tasks = _Tasks()
        self._loader: DataLoader[Made] = DataLoader(
            _Batches(dataset, skip=skip),
            batch_size=None,
            sampler=self._tasks,
            num_workers=num_workers,
            persistent_workers=persistent and num_workers > 0,
            prefetch_factor=prefetch if num_workers else None,
            pin_memory=pin,
        )

    def run(self, tasks: Sequence[Task]) -> Generator[Made, None, None]:
        """One pass; see `Engine`."""
        self._tasks.current = tasks
        try:
            yield from self._loader
        except (OSError, RuntimeError) as error:
            if "Too many open files" not in str(error):
                raise
            raise UsageError(
                f"too many open files with {self._loader.num_workers} worker processes: reduce"
                " workers (num_workers), allow more files with `ulimit -n 4096`, or take"
                " engine='processes', whose batches need none (lmdb-reid doctor tells the limit)"
            ) from error

    def ready(self) -> None:
        """See `Engine`: torch does not tell."""
        return None

    def buffers(self) -> None:
        """See `Engine`: torch makes each batch anew."""
        return None

    def close(self) -> None:
        """End the worker processes."""
        del self._loader  # its iterator stops the workers when it goes


class _Tasks(Sampler[Task]):
    """The tasks of the pass at hand; read in the consumer's process."""

    def __init__(self) -> None:
        self.current: Sequence[Task] = ()

    def __iter__(self) -> Iterator[Task]:
        return iter(self.current)

    def __len__(self) -> int:
        return len(self.current)


class _Batches(Dataset[Made]):
    """Indexed by task: makes that batch, in whichever process it is asked."""

    def __init__(self, dataset: ReIDDataset, *, skip: bool) -> None:
        self._dataset = dataset
        self._skip = skip

    def __getitem__(self, task: Task) -> Made:
        in_worker = torch.utils.data.get_worker_info() is not None
        return make_batch(self._dataset, task, skip=self._skip, seed_globals=in_worker)
