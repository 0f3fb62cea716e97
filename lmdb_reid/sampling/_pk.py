"""Batches of P identities with K images each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import UsageError
from lmdb_reid.sampling._pk_cameras import by_camera
from lmdb_reid.sampling._pk_negatives import Negatives
from lmdb_reid.sampling._protocol import check_epoch, is_whole
from lmdb_reid.schema import NO_LABEL, Rows


class Labelled(Protocol):
    """A dataset whose items have labels."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 [N], -1 for an unknown identity or none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What an epoch reads, counted."""

    samples: int
    """Places of the epoch."""
    images: int
    """Images of an identity, that there are."""
    read: int
    """Of these, read at least once."""
    repeats: int
    """Places whose image stands in the same batch before."""
    negatives: int
    """Samples without a label, that there are."""
    negatives_read: int
    """Of these, read at least once; 0 where a batch has none."""

    @property
    def share(self) -> float:
        """Of the images, how many are read: 0 to 1."""
        return self.read / self.images


class PKSampler:
    """Batches of `p` identities with `k` images each, for metric learning; a `Sampler`.

    In an epoch every image of an identity is read at least once. The images of an identity are
    drawn into groups of k; its last group is filled up with further draws. If a batch would have
    fewer than p identities, it gets more groups of others. No image occurs twice in a batch, except
    if its identity has fewer than k images. Samples with label -1 are left out, or are used as
    negatives. `coverage()` counts what an epoch reads.

    It also works with torch's own DataLoader: iterating it yields the positions of an epoch (for
    `sampler=`), and `batches()` yields lists of batch_size positions (for `batch_sampler=`). Each
    pass draws the next epoch, or the one that `set_epoch` sets.

    Args:
        dataset: an object with `labels`, such as a ReIDDataset; or the labels, int64 [N].
        p: identities in a batch.
        k: images of each identity.
        seed: seed of all draws.
        cameras: one whole number for each item, [N], or the name of one of the dataset's `columns`.
            The k images of an identity then have as many different cameras as possible, over all
            its groups. Images of an unknown camera (-1) count as one more camera.
        negatives: the share of samples with label -1 in a batch, at least 0 and below 1. They
            follow the p * k others and make the batch larger. All of them are read equally often,
            if necessary over several epochs.

    Raises:
        UsageError: p or k is below 1, there are fewer than p identities, the dataset has no labels,
            cameras do not fit it, or a share of negatives is set and there are none.
    """

    @known_arguments(
        works={"labels": "dataset", "num_instances": "k"},
        answers={
            "batch_size": "A batch has p * k samples: use p= (identities) and k= (images of each).",
            "data_source": "Use dataset=.",
            "m": "Use k=, the images of each identity.",
            "num_pids_per_batch": "Use p=.",
        },
    )
    def __init__(
        self,
        dataset: Labelled | Rows | Sequence[int],
        p: int = 16,
        k: int = 4,
        *,
        seed: int = 0,
        cameras: npt.ArrayLike | str | None = None,
        negatives: float = 0.0,
    ) -> None:
        labels = np.asarray(getattr(dataset, "labels", _own_labels(dataset)))
        if labels.ndim != 1 or not (np.issubdtype(labels.dtype, np.integer) or not labels.size):
            raise UsageError(
                "PKSampler needs a dataset with labels, such as ReIDDataset, or the labels,"
                f" got {type(dataset).__name__}"
            )
        for name, value, least in (("p", p, 1), ("k", k, 1), ("seed", seed, 0)):
            if not is_whole(value, least):
                raise UsageError(
                    f"PKSampler's {name} must be a whole number, at least {least}, got {value!r}"
                )
        self.p, self.k, self.seed = p, k, seed
        known = np.flatnonzero(labels > NO_LABEL)
        identities, numbers, counts = np.unique(
            labels[known], return_inverse=True, return_counts=True
        )
        if len(identities) < p:
            raise UsageError(
                f"p must be at most the number of identities, {len(identities)}, got p={p}"
                f" with k={k}. Reduce p"
            )
        self._positions = known[np.argsort(numbers, kind="stable")]  # grouped by identity
        self._counts = counts
        self._starts = np.cumsum(counts) - counts
        self._groups = -(-counts // k)
        self._cameras = None if cameras is None else _cameras(dataset, labels, cameras)
        self._negatives = Negatives(
            np.flatnonzero(labels <= NO_LABEL), share=negatives, beside=p * k, seed=seed
        )
        self._next_epoch = 0

    @property
    def batch_size(self) -> int:
        """Samples in a batch: p * k, and the negatives."""
        return self.p * self.k + self._negatives.count

    def __len__(self) -> int:
        """Samples in an epoch: the same in each."""
        rounds = np.bincount(self._groups)[::-1].cumsum()[::-1][1:]  # identities left, each round
        return int((-(-rounds // self.p)).sum()) * self.batch_size

    def positions(self, epoch: int) -> Rows:
        """Dataset positions, int64 [len]: for each batch `p * k`, an identity's k side by side,
        then the negatives.

        Raises:
            UsageError: an epoch that is no whole number from 0 up.
        """
        check_epoch(epoch)
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
                    self._filling(draw, i, groups, first_group)
                    for i in draw.permutation(others)[:lacking]
                ]
                chosen = np.concatenate([chosen, fill])
            batches.append(chosen.reshape(-1, self.p * self.k))
        every = np.concatenate(batches)
        order: Rows = self._positions[every[draw.permutation(len(every))]]
        if self._negatives.count:
            order = np.hstack([order, self._negatives.drawn(epoch, len(order))])
        return order.reshape(-1)

    def coverage(self, epoch: int = 0) -> Coverage:
        """Count what an epoch reads; draws it."""
        positions = self.positions(epoch)
        read = np.unique(positions)
        batches = np.sort(positions.reshape(-1, self.batch_size), axis=1)
        negatives = self._negatives.positions
        negatives_read = int(np.isin(read, negatives, assume_unique=True).sum())
        return Coverage(
            samples=len(positions),
            images=len(self._positions),
            read=len(read) - negatives_read,
            repeats=int((np.diff(batches, axis=1) == 0).sum()),
            negatives=len(negatives),
            negatives_read=negatives_read,
        )

    def _filling(
        self, draw: np.random.Generator, identity: int, groups: Rows, first_group: Rows
    ) -> Rows:
        """A further group of an identity, int64 [k] in grouped order."""
        if self._cameras is not None:
            return groups[first_group[identity] + draw.integers(self._groups[identity])]  # type: ignore[no-any-return]
        shuffled = draw.permutation(self._counts[identity])
        further: Rows = self._starts[identity] + np.resize(shuffled, self.k)
        return further

    def _drawn_groups(
        self, draw: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(groups of k [G, k], each identity's first one [I]): its images in drawn order, the last
        group filled up from the first.
        """
        first_group = np.cumsum(self._groups) - self._groups
        if self._cameras is not None:
            return by_camera(
                draw, self._cameras[self._positions], self._counts, self.k
            ), first_group
        drawn = np.arange(len(self._positions)) - np.repeat(self._starts, self._counts)
        several = self._counts > 1
        ends = (self._starts + self._counts)[several].tolist()
        for start, end in zip(self._starts[several].tolist(), ends, strict=True):
            draw.shuffle(drawn[start:end])
        identity = np.repeat(np.arange(len(self._counts)), self._groups * self.k)
        place = np.arange(len(identity)) - first_group[identity] * self.k
        starts = self._starts[identity]
        within = drawn[starts + place % self._counts[identity]]
        return (starts + within).reshape(-1, self.k), first_group

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration, or `batches()`, draw this epoch."""
        self._next_epoch = epoch

    def __iter__(self) -> Iterator[int]:
        # A generator, as torch's samplers have it: an iterator that nobody reads takes no epoch.
        epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        yield from self.positions(epoch).tolist()

    def batches(self) -> PKBatches:
        """A batch sampler for torch's DataLoader: iterable and sized, lists of batch_size
        positions.
        """
        return PKBatches(self)

    def __repr__(self) -> str:
        options = "" if self._cameras is None else "by camera, "
        if self._negatives.count:
            options += f"{self._negatives.count} negatives in a batch of {self.batch_size}, "
        most = int(self._counts.max())
        note = "" if self.k <= most else f", no identity has more than {most} images"
        return (
            f"PKSampler(p={self.p}, k={self.k}, seed={self.seed}, {options}{len(self):,}"
            f" samples{note})"
        )


def _own_labels(given: object) -> object:
    """Labels themselves. A dataset without labels is none: numpy would read all its items."""
    return given if isinstance(given, Sequence) or hasattr(given, "__array__") else None


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


def _cameras(dataset: object, labels: Rows, cameras: npt.ArrayLike | str) -> Rows:
    """The camera of each item, int64 [N]."""
    if isinstance(cameras, str):
        columns = getattr(dataset, "columns", {})
        if cameras not in columns:
            raise UsageError(
                f"PKSampler's cameras must be a column of the dataset, got {cameras!r}; it has"
                f" {', '.join(columns) or 'none'}: ReIDDataset(..., columns=[{cameras!r}])"
            )
        cameras = columns[cameras]
    found = np.asarray(cameras)
    if found.shape != labels.shape or found.dtype.kind not in "iu":
        raise UsageError(
            f"PKSampler's cameras must be a whole number for each of {len(labels)} items; got"
            f" {found.dtype} {list(found.shape)}"
        )
    return found.astype(np.int64)
