"""The order of samples: a pure function of (seed, epoch, position).

A sampler is any object with `rows(epoch)`; it keeps no state between epochs. What it gives are
positions in the dataset.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UnknownRowError, UsageError
from lmdb_reid.schema import NO_LABEL

Rows = npt.NDArray[np.int64]


@runtime_checkable
class Sampler(Protocol):
    """Gives an epoch's order; pure, so that a resumed run and every rank see the same."""

    def rows(self, epoch: int) -> Rows:
        """Positions in the dataset, int64, in the order they are to be read."""
        ...


@dataclass(frozen=True, slots=True)
class Sequential:
    """Every sample once, in dataset order."""

    count: int

    def rows(self, epoch: int) -> Rows:  # the order is the same in every epoch
        """0..count-1."""
        return np.arange(self.count, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Every sample once, in an order drawn anew for each epoch (NumPy's PCG64, seeded with seed
    and epoch).
    """

    count: int
    seed: int = 0

    def rows(self, epoch: int) -> Rows:
        """A permutation of 0..count-1."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)


class PKSampler:
    """Batches of `p` identities with `k` images each, as metric learning wants them.

    In an epoch every image of an identity is read at least once: an identity's images are drawn
    into groups of k (its last group is filled up by drawing anew), and a batch that would lack
    identities gets groups of others. Samples of label -1 are left out.

    Args:
        labels: of each item of the dataset, int64 [N].
        p: identities in a batch.
        k: images of each.
        seed: of all draws.

    Raises:
        UsageError: p or k below 1, or fewer than p identities.
    """

    def __init__(self, labels: Rows, p: int = 16, k: int = 4, *, seed: int = 0) -> None:
        self.p, self.k, self.seed = p, k, seed
        self.batch_size = p * k
        known = np.flatnonzero(labels > NO_LABEL)
        identities, numbers, counts = np.unique(
            labels[known], return_inverse=True, return_counts=True
        )
        if p < 1 or k < 1 or len(identities) < p:
            raise UsageError(
                f"PKSampler(p={p}, k={k}) of {len(identities)} identities: give p and k from 1 up,"
                " and no more identities in a batch than there are"
            )
        self._rows = known[np.argsort(numbers, kind="stable")]  # grouped by identity
        self._counts = counts
        self._starts = np.cumsum(counts) - counts
        self._groups = -(-counts // k)

    def __len__(self) -> int:
        """Rows in an epoch: the same in each."""
        rounds = np.bincount(self._groups)[::-1].cumsum()[::-1][1:]  # identities left, each round
        return int((-(-rounds // self.p)).sum()) * self.batch_size

    def rows(self, epoch: int) -> Rows:
        """Dataset positions, `p * k` for each batch, an identity's k side by side."""
        draw = np.random.default_rng([self.seed, epoch])
        order = [
            np.resize(start + draw.permutation(count), groups * self.k)
            for start, count, groups in zip(self._starts, self._counts, self._groups, strict=True)
        ]
        batches = []
        for number in range(int(self._groups.max())):
            left = draw.permutation(np.flatnonzero(self._groups > number))
            for first in range(0, len(left), self.p):
                chosen = left[first : first + self.p]
                groups = [order[i][number * self.k : (number + 1) * self.k] for i in chosen]
                if len(chosen) < self.p:  # once in a round
                    others = np.setdiff1d(np.arange(len(order)), chosen)
                    for i in draw.permutation(others)[: self.p - len(chosen)]:
                        some = draw.permutation(self._counts[i])
                        groups.append(self._starts[i] + np.resize(some, self.k))
                batches.append(np.concatenate(groups))
        shuffled = draw.permutation(len(batches))
        rows: Rows = self._rows[np.concatenate([batches[i] for i in shuffled])]
        return rows


class FromTorch:
    """A torch sampler (any iterable of dataset positions): its own order, drawn once for each
    epoch and kept.
    """

    def __init__(self, sampler: Iterable[int]) -> None:
        if not isinstance(sampler, Iterable):
            raise UsageError(
                f"sampler={sampler!r}: give an object with rows(epoch), or a torch sampler"
            )
        if isinstance(sampler, Iterator):
            raise UsageError(
                "this sampler is an iterator, which has one epoch in it: give a list, a torch"
                " sampler, or an object with rows(epoch)"
            )
        self.is_shared = hasattr(sampler, "num_replicas")
        """Whether it gives each rank its own part, as torch's DistributedSampler does."""
        self._sampler = sampler
        self._drawn: tuple[int, Rows] | None = None

    def rows(self, epoch: int) -> Rows:
        """The order that the sampler gave when this epoch was first asked for."""
        if self._drawn is None or self._drawn[0] != epoch:
            set_epoch = getattr(self._sampler, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(epoch)
            try:
                self._drawn = epoch, np.fromiter(self._sampler, np.int64)
            except (TypeError, ValueError) as error:
                raise UsageError(
                    f"the sampler gives no positions in the dataset ({error}): a batch sampler's"
                    " place is taken by batch_size"
                ) from None
        return self._drawn[1]

    def restore(self, epoch: int, rows: Rows) -> None:
        """Take an order from a saved state instead of drawing one."""
        self._drawn = epoch, rows


def checked_order(rows: object, count: int) -> Rows:
    """What a sampler gave, int64 [N].

    Raises:
        UsageError: something else than whole numbers.
        UnknownRowError: no positions in a dataset of `count`.
    """
    order = np.asarray(rows)
    if order.ndim != 1 or (len(order) and not np.issubdtype(order.dtype, np.integer)):
        raise UsageError(
            f"rows(epoch) of the sampler gave {order.dtype} of shape {order.shape}: it has to give"
            " whole numbers, one for each sample"
        )
    if len(order) and (order.min() < 0 or order.max() >= count):
        raise UnknownRowError(
            f"rows(epoch) of the sampler gave {order.min()} to {order.max()}: not all are items of"
            f" a dataset of {count}"
        )
    return order.astype(np.int64, copy=False)


def position_seed(seed: int, epoch: int, position: int) -> int:
    """The 63-bit seed of everything random about one position of one epoch (BLAKE2b of the three
    numbers).
    """
    text = struct.pack("<qqq", seed, epoch, position)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def rank_share(
    rows: Rows, rank: int, world_size: int, *, drop_last: bool, together: int = 1
) -> Rows:
    """Every world_size-th row, from `rank` on; all ranks get equally many.

    Rows that do not divide evenly are left out under `drop_last`, else the first ones are repeated.
    Of a sampler that makes batches, `together` is their size, and whole batches are shared so.

    Raises:
        UsageError: no such rank.
    """
    if not 0 <= rank < world_size:
        raise UsageError(f"rank {rank} of world size {world_size}: ranks are 0..{world_size - 1}")
    over = len(rows) % (world_size * together)
    if over and drop_last:
        rows = rows[: len(rows) - over]
    elif over:
        rows = np.resize(rows, len(rows) + world_size * together - over)
    return rows.reshape(-1, world_size, together)[:, rank].reshape(-1)
