"""Batches as the guide's code has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from lmdb_reid.loaders import Loader


class PairLoader:
    """A loader of (images, labels): what it drives gives rows too.

    Args:
        loader: what gives the batches.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    @property
    def dataset(self) -> Any:
        """What is read."""
        return self.loader.dataset

    @property
    def batch_size(self) -> int:
        """Samples in a whole batch."""
        return self.loader.batch_size

    @property
    def batch_sampler(self) -> Any:
        """Whose `sampler.set_epoch` a trainer calls."""
        return self.loader.batch_sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Any, torch.Tensor]]:
        return _Pairs(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """See `Loader.set_epoch`."""
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """See `Loader.state_dict`."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Loader.load_state_dict`."""
        self.loader.load_state_dict(state)

    def close(self) -> None:
        """Stop the workers."""
        self.loader.close()

    def __repr__(self) -> str:
        return f"PairLoader({self.loader!r})"


class _Pairs(Iterator[tuple[Any, torch.Tensor]]):
    """One pass, begun when it is made."""

    def __init__(self, loader: Loader) -> None:
        self._batches = iter(loader)

    def __next__(self) -> tuple[Any, torch.Tensor]:
        images, labels, _ = next(self._batches)
        return images, labels
