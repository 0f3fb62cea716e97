"""How a data module reads: the guide's words for `make_loader`, and a loader as Lightning drives
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, get_args

import torch

from lmdb_reid.dataset import ReIDDataset, Selection
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import Batch, Loader, make_loader
from lmdb_reid.machine import available_cores

EngineName = Literal["auto", "threads", "processes", "dataloader"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Settings of loaders, named as torch's DataLoader names them, which gets them unchanged under
    engine="dataloader". Other engines take `num_workers` as workers and `prefetch_factor` as
    batches made ahead; theirs always persist.

    Raises:
        UsageError: a value that cannot be meant.
    """

    batch_size: int = 64
    num_workers: int | None = None
    """0 decodes in the caller's thread; None is 4, or as many as there are cores."""
    prefetch_factor: int | None = 2
    """None is 2; without workers it is not used."""
    persistent_workers: bool = True
    """Without workers it is not used."""
    pin_memory: bool | None = None
    """None: where there is a GPU."""
    engine: EngineName = "auto"
    seed: int = 0
    """Of the order, and of what is random about an image."""
    with_rows: bool = False
    """Batches are (images, labels, rows), and images without a transform uint8; else (images,
    labels), and such images float32 in 0..1."""

    def __post_init__(self) -> None:
        for name in ("num_workers", "prefetch_factor", "batch_size"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, int):
                raise UsageError(f"{name}={value!r}: give a whole number")
        if self.engine not in get_args(EngineName):
            raise UsageError(
                f"engine={self.engine!r}: give one of {', '.join(get_args(EngineName))}"
            )
        if self.num_workers is not None and self.num_workers < 0:
            raise UsageError(f"num_workers={self.num_workers}: give 0 or more")
        if self.prefetch_factor is not None and self.prefetch_factor < 1:
            raise UsageError(f"prefetch_factor={self.prefetch_factor}: give 1 or more")
        if self.batch_size < 1:
            raise UsageError(f"batch_size={self.batch_size}: give 1 or more")

    def loader(
        self, dataset: ReIDDataset | Selection, *, shuffle: bool, device: torch.device | None
    ) -> EpochLoader:
        """A loader over `dataset`, whose batches go to `device`; None leaves them in memory."""
        scaled = not self.with_rows and dataset.transform is None
        num_workers = min(4, available_cores()) if self.num_workers is None else self.num_workers
        loader = make_loader(
            dataset,
            self.batch_size,
            shuffle=shuffle,
            engine=self.engine,
            num_workers=num_workers,
            prefetch=self.prefetch_factor or 2,
            device=device,
            dtype=torch.float32 if scaled else None,
            seed=self.seed,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent_workers,
        )
        return EpochLoader(loader, with_rows=self.with_rows)


class EpochLoader:
    """A `Loader` whose epoch is the trainer's.

    Lightning counts the epochs itself, also after a resume, and tells the number to
    `batch_sampler.sampler`; where in an epoch to go on it asks of `state_dict` and tells
    `load_state_dict`. It begins a pass before it tells the number, so a pass decides at its first
    batch what it reads.
    """

    def __init__(self, loader: Loader, *, with_rows: bool = True) -> None:
        self.loader = loader
        """What it drives."""
        self._with_rows = with_rows

    @property
    def dataset(self) -> Any:
        """What is read."""
        return self.loader.dataset

    @property
    def batch_size(self) -> int:
        """Samples in a whole batch."""
        return self.loader.batch_size

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Whose `sampler.set_epoch` Lightning calls."""
        # Not `sampler` itself: Lightning's overfit_batches makes loaders that have one anew, as
        # torch's.
        return SimpleNamespace(sampler=self)

    def set_epoch(self, epoch: int) -> None:
        """Read this epoch next; where it is being read, go on with it."""
        if epoch != self.loader.epoch:
            self.loader.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch | tuple[Any, torch.Tensor]]:
        for batch in self.loader:
            yield batch if self._with_rows else (batch.images, batch.labels)
            del batch  # or its buffer could not return while the next is waited for

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer stands; see `Loader.state_dict`."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on from a saved state; see `Loader.load_state_dict`."""
        self.loader.load_state_dict(state)

    def close(self) -> None:
        """Stop the workers."""
        self.loader.close()

    def __repr__(self) -> str:
        return f"EpochLoader({self.loader!r})"
