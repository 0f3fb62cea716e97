"""How a trainer tells a loader which epoch comes."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class _Epochs(Protocol):
    def set_epoch(self, epoch: int) -> None: ...


class EpochSampler:
    """Stands where Lightning looks for a sampler, whose `set_epoch` it calls before each pass."""

    def __init__(self, loader: _Epochs) -> None:
        self._loader = loader

    def set_epoch(self, epoch: int) -> None:
        """Read this epoch next; under Lightning's overfit_batches the first one, over and over."""
        loop = _calling_loop()
        _load_states(loop)
        self._loader.set_epoch(0 if _wants_the_same_rows(loop) else epoch)


class BatchSampler:
    """Has that sampler, under the name that Lightning knows."""

    def __init__(self, loader: _Epochs) -> None:
        self.sampler = EpochSampler(loader)


def _calling_loop() -> Any:
    """The loop of a trainer whose call of a function led to `set_epoch`; None where there is none.

    Lightning asks nothing of a loader that is not torch's, and tells it the epoch alone. Its loops
    know their trainer and what a checkpoint said.
    """
    return sys._getframe(3).f_locals.get("self")


def _wants_the_same_rows(loop: Any) -> bool:
    """Whether the trainer overfits: Lightning turns the shuffling of torch's DataLoader off by
    making it again; to any other loader, overfit_batches looks like limit_train_batches.
    """
    return bool(getattr(getattr(loop, "trainer", None), "overfit_batches", 0))


def _load_states(loop: Any) -> None:
    """Load the states of a checkpoint that Lightning left unloaded: it loads them where it makes
    the loaders, and `trainer.estimated_stepping_batches`, which OneCycleLR wants to know, makes
    them before the checkpoint is read.
    """
    load = getattr(loop, "_load_combined_loader_states", None)
    if callable(load):
        load()  # nothing where they were loaded, or the run is none that goes on
