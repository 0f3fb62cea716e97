"""Batches of P identities with K images each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Rows


class Labelled(Protocol):
    """A dataset whose items have labels."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 [N], -1 for nobody."""
        ...


class PKSampler:
    """Batches of `p` identities with `k` images each, as metric learning wants them; a `Sampler`.

    In an epoch every image of an identity is read at least once: an identity's images are drawn
    into groups of k (its last group is filled up by drawing anew), and a batch that would lack
    identities gets groups of others. Samples of label -1 are left out.

    It also serves torch's own DataLoader: iterating it gives the positions of an epoch (for
    `sampler=`), `batches()` lists of p * k of them (for `batch_sampler=`); each pass draws the next
    epoch, or the one that `set_epoch` names.

    Args:
        dataset: whose `labels` tell identities, such as a ReIDDataset.
        p: identities in a batch.
        k: images of each.
        seed: of all draws.

    Raises:
        UsageError: p or k below 1, fewer than p identities, or a dataset without labels.
    """

    def __init__(self, dataset: Labelled, p: int = 16, k: int = 4, *, seed: int = 0) -> None:
        labels = getattr(dataset, "labels", None)
        if labels is None:
            raise UsageError(
                "PKSampler must be given a dataset with labels, such as ReIDDataset; got"
                f" {type(dataset).__name__}"
            )
        labels = np.asarray(labels)
        for name, value, least in (("p", p, 1), ("k", k, 1), ("seed", seed, 0)):
            if not isinstance(value, int | np.integer) or value < least:
                raise UsageError(
                    f"PKSampler's {name} must be a whole number from {least} up; got {value!r}"
                )
        self.p, self.k, self.seed = p, k, seed
        known = np.flatnonzero(labels > NO_LABEL)
        identities, numbers, counts = np.unique(
            labels[known], return_inverse=True, return_counts=True
        )
        if len(identities) < p:
            raise UsageError(
                f"PKSampler(p={p}, k={k}) of {len(identities)} identities: give no more identities"
                " in a batch than there are"
            )
        self._positions = known[np.argsort(numbers, kind="stable")]  # grouped by identity
        self._counts = counts
        self._starts = np.cumsum(counts) - counts
        self._groups = -(-counts // k)
        self._next_epoch = 0

    @property
    def batch_size(self) -> int:
        """Samples in a batch: p * k."""
        return self.p * self.k

    def __len__(self) -> int:
        """Samples in an epoch: the same in each."""
        rounds = np.bincount(self._groups)[::-1].cumsum()[::-1][1:]  # identities left, each round
        return int((-(-rounds // self.p)).sum()) * self.batch_size

    def positions(self, epoch: int) -> Rows:
        """Dataset positions, int64 [len]: `p * k` for each batch, an identity's k side by side."""
        draw = np.random.default_rng([self.seed, epoch])
        groups, first_group = self._drawn_groups(draw)
        batches: list[npt.NDArray[np.int64]] = []  # of each round, [n, p, k] in grouped order
        remaining = np.arange(len(self._counts))
        for number in range(int(self._groups.max())):
            remaining = remaining[self._groups[remaining] > number]
            left = draw.permutation(remaining)
            lacking = -len(left) % self.p
            chosen = groups[first_group[left] + number]
            if lacking:
                is_other = np.ones(len(self._counts), bool)
                is_other[left[lacking - self.p :]] = False
                others = np.flatnonzero(is_other)
                fill = [
                    self._starts[i] + np.resize(draw.permutation(self._counts[i]), self.k)
                    for i in draw.permutation(others)[:lacking]
                ]
                chosen = np.concatenate([chosen, fill])
            batches.append(chosen.reshape(-1, self.batch_size))
        every = np.concatenate(batches)
        order: Rows = self._positions[every[draw.permutation(len(every))]].reshape(-1)
        return order

    def _drawn_groups(
        self, draw: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(groups of k [G, k], each identity's first one [I]): its images in drawn order, the last
        group filled up from the first.
        """
        drawn = np.arange(len(self._positions)) - np.repeat(self._starts, self._counts)
        several = self._counts > 1
        ends = (self._starts + self._counts)[several].tolist()
        for start, end in zip(self._starts[several].tolist(), ends, strict=True):
            draw.shuffle(drawn[start:end])
        first_group = np.cumsum(self._groups) - self._groups
        identity = np.repeat(np.arange(len(self._counts)), self._groups * self.k)
        place = np.arange(len(identity)) - first_group[identity] * self.k
        starts = self._starts[identity]
        within = drawn[starts + place % self._counts[identity]]
        return (starts + within).reshape(-1, self.k), first_group

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration, or `batches()`, draw this epoch."""
        self._next_epoch = epoch

    def __iter__(self) -> Iterator[int]:
        epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        return iter(self.positions(epoch).tolist())

    def batches(self) -> PKBatches:
        """A batch sampler for torch's DataLoader: iterable and sized, lists of p * k positions."""
        return PKBatches(self)

    def __repr__(self) -> str:
        return f"PKSampler(p={self.p}, k={self.k}, seed={self.seed}, {len(self):,} samples)"


class PKBatches:
    """The batches of a PKSampler, as torch's `batch_sampler=` wants them."""

    def __init__(self, sampler: PKSampler) -> None:
        self.sampler = sampler
        self.batch_size = sampler.batch_size

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        positions = list(self.sampler)
        for first in range(0, len(positions), self.batch_size):
            yield positions[first : first + self.batch_size]
