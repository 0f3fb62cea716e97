"""How a data module reads: the guide's words for `make_loader`, and a loader as Lightning drives
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import Batch, Loader, make_loader

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
    num_workers: int = 4
    """0 decodes in the caller's thread."""
    prefetch_factor: int | None = 2
    """None is 2; without workers it is not used."""
    persistent_workers: bool = True
    """Without workers it is not used."""
    pin_memory: bool | None = None
    """None: where there is a GPU."""
    engine: EngineName = "auto"
    seed: int = 0
    """Of the order, and of what is random about an image."""

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise UsageError(f"num_workers={self.num_workers}: give 0 or more")
        if self.prefetch_factor is not None and self.prefetch_factor < 1:
            raise UsageError(f"prefetch_factor={self.prefetch_factor}: give 1 or more")
        if self.batch_size < 1:
            raise UsageError(f"batch_size={self.batch_size}: give 1 or more")

    def loader(
        self, dataset: ReIDDataset, *, shuffle: bool, device: torch.device | None
    ) -> EpochLoader:
        """A loader over `dataset`, whose batches go to `device`; None leaves them in memory."""
        return EpochLoader(
            make_loader(
                dataset,
                self.batch_size,
                shuffle=shuffle,
                engine=self.engine,
                workers=self.num_workers,
                prefetch=self.prefetch_factor or 2,
                device=device,
                seed=self.seed,
                pin_memory=self.pin_memory,
                persistent_workers=self.persistent_workers,
            )
        )


class EpochLoader:
    """A `Loader` whose epoch is the trainer's.

    Lightning counts the epochs itself, also after a resume, and tells the number to
    `batch_sampler.sampler`; where in an epoch to go on it asks of `state_dict` and tells
    `load_state_dict`. It begins a pass before it tells the number, so a pass decides at its first
    batch what it reads.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        """What it drives."""

    @property
    def dataset(self) -> ReIDDataset:
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

    def __iter__(self) -> Iterator[Batch]:
        yield from self.loader

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
