"""Samplers that know nothing of identities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass

import numpy as np

from lmdb_reid.errors import UsageError
from lmdb_reid.sampling._protocol import check_epoch
from lmdb_reid.schema import Rows


@dataclass(frozen=True, slots=True)
class Sequential:
    """Every sample once, in dataset order."""

    count: int

    @property
    def batch_size(self) -> None:
        """See `Sampler`."""
        return None

    def __len__(self) -> int:
        return self.count

    def positions(self, epoch: int) -> Rows:  # the order is the same in every epoch
        """0..count-1, int64 [N].

        Raises:
            UsageError: an epoch that is no whole number from 0 up.
        """
        check_epoch(epoch)
        return np.arange(self.count, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Every sample once, in an order drawn again for each epoch (NumPy's PCG64, seeded with seed
    and epoch).
    """

    count: int
    seed: int = 0

    @property
    def batch_size(self) -> None:
        """See `Sampler`."""
        return None

    def __len__(self) -> int:
        return self.count

    def positions(self, epoch: int) -> Rows:
        """A permutation of 0..count-1, int64 [N].

        Raises:
            UsageError: an epoch that is no whole number from 0 up.
        """
        check_epoch(epoch)
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)


class TorchSampler:
    """A torch sampler (any iterable of dataset positions) as a `Sampler`.

    Most torch samplers draw from a generator that moves on, so `positions` is not pure: `Order`
    asks once for each epoch, and a loader's state holds the order itself.

    Args:
        sampler: the torch sampler, or a list of positions.

    Raises:
        UsageError: no iterable, or an iterator, which has one epoch in it.
    """

    def __init__(self, sampler: Iterable[int]) -> None:
        if not isinstance(sampler, Iterable):
            raise UsageError(
                f"sampler must be an object with positions(epoch), or a torch sampler; got"
                f" {sampler!r}"
            )
        if isinstance(sampler, Iterator):
            raise UsageError(
                "sampler must be iterable once for each epoch; an iterator has one epoch in"
                " it. Use a list, a torch sampler, or an object with positions(epoch)"
            )
        self._sampler = sampler
        self.is_shared = hasattr(sampler, "num_replicas")
        """Whether it gives each rank its own part, as torch's DistributedSampler does."""
        self.is_in_order = isinstance(sampler, Sequence) or (
            type(sampler).__name__ == "SequentialSampler"
        )
        """Whether it gives the same order each time: a list, or torch's SequentialSampler."""

    @property
    def batch_size(self) -> int | None:
        """Of samplers that have one, such as MPerClassSampler."""
        size = getattr(self._sampler, "batch_size", None)
        return size if isinstance(size, int) and size > 0 else None

    def __len__(self) -> int:
        """What the torch sampler says; where it does not, an epoch is drawn and counted."""
        if isinstance(self._sampler, Sized):
            return len(self._sampler)
        return len(self.positions(0))

    def positions(self, epoch: int) -> Rows:
        """The order that it gives now, int64 [N]; `set_epoch` is called first, where it has one.

        Raises:
            UsageError: it gives no positions.
        """
        set_epoch = getattr(self._sampler, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)
        try:
            return np.fromiter(self._sampler, np.int64)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"sampler must yield positions in the dataset, one by one ({error}). For a"
                " batch sampler, pass its inner sampler and batch_size="
            ) from None

    def __repr__(self) -> str:
        return f"TorchSampler({type(self._sampler).__name__})"
