"""Open-set folds: identities that are trained on, and identities that stay strangers."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits._candidates import Candidates
from training.splits._split import Split
from training.splits._table import of_stores

SEED = 42
TRAIN_RATIO = 0.8


class Labels(NamedTuple):
    """The identities of an open set; known and unknown are sorted."""

    known: list[int]
    """Trained on."""
    unknown: list[int]
    """Held out: to a model they are strangers."""
    drawn: list[int]
    """The same in the order in which they were drawn."""


@known_arguments()
@of_stores
def open_set(
    candidates: Candidates,
    *,
    n_folds: int = 5,
    fold: int = 0,
    unknown_per_fold: int = 2,
    train_ratio: float = TRAIN_RATIO,
    seed: int = SEED,
) -> Split:
    """The guide's rule: a fold holds some identities out (`fold_labels`), and of each other one a
    share of its samples (`split_samples`).

    Args:
        candidates: all samples; a Store, or the path of one, stands for all its rows but junk.
        n_folds: how many folds there are.
        fold: which of them, 0 to n_folds - 1.
        unknown_per_fold: identities that each holds out.
        train_ratio: the share of a known identity's samples to train on.
        seed: of all draws.

    Returns:
        Parts train, val (known identities, held back) and unknown (held-out identities, and every
        sample with a label below 0).

    Raises:
        UsageError: as those two.
    """
    found = fold_labels(
        candidates.identities,
        n_folds=n_folds,
        fold=fold,
        unknown_per_fold=unknown_per_fold,
        seed=seed,
    )
    train, val = split_samples(candidates, found.known, train_ratio=train_ratio, seed=seed)
    unknown = unknown_rows(candidates.labels, found.unknown)
    return Split(parts={"train": train, "val": val, "unknown": unknown}, labels=found.known)


def fold_labels(
    identities: Sequence[int],
    *,
    n_folds: int = 5,
    fold: int = 0,
    unknown_per_fold: int = 2,
    seed: int = SEED,
) -> Labels:
    """Which identities a fold holds out.

    They are shuffled by `random.Random(seed)`; fold i holds out those from place i *
    unknown_per_fold to (i + 1) * unknown_per_fold.

    Args:
        identities: distinct labels, sorted.
        n_folds: how many folds there are.
        fold: which of them, 0 to n_folds - 1.
        unknown_per_fold: identities that each holds out, at least 1.
        seed: the same for all folds of a run.

    Raises:
        UsageError: numbers out of range, or more to hold out than there are identities.
    """
    shuffled = shuffle(identities, seed)
    if n_folds < 1 or unknown_per_fold < 1:
        raise UsageError(
            f"n_folds and unknown_per_fold must be 1 or more; got {n_folds} and {unknown_per_fold}"
        )
    check_fold(fold, n_folds)
    if n_folds * unknown_per_fold > len(shuffled):
        raise UsageError(
            f"{n_folds} folds of {unknown_per_fold} unknown labels need"
            f" {n_folds * unknown_per_fold}, and there are {len(shuffled)}. Reduce either number"
        )
    return _held_out(shuffled, fold * unknown_per_fold, unknown_per_fold)


def ratio_labels(
    identities: Sequence[int], *, unknown_ratio: float = 0.2, seed: int = SEED
) -> Labels:
    """Hold out a share of the identities once: as fold 0 whose `unknown_per_fold` is that share,
    rounded down and at least 1 (0 of a share of 0).

    Raises:
        UsageError: a ratio that is not from 0 to under 1, or that leaves no known label.
    """
    if not 0 <= unknown_ratio < 1:
        raise UsageError(f"unknown_ratio must be from 0 to under 1; got {unknown_ratio!r}")
    shuffled = shuffle(identities, seed)
    count = max(1, int(len(shuffled) * unknown_ratio)) if unknown_ratio else 0
    return _held_out(shuffled, 0, count)


def split_samples(
    candidates: Candidates,
    known: Sequence[int] | None = None,
    *,
    train_ratio: float = TRAIN_RATIO,
    seed: int | None = SEED,
) -> tuple[Rows, Rows]:
    """Split the samples of each known identity into two parts.

    One `random.Random(seed)` shuffles the samples of each label, label after label as they first
    appear in the source's order; the first int(n * train_ratio) of a label's n are for training.

    Args:
        candidates: all samples.
        known: the identities (default: all). The rows of others are in neither part.
        train_ratio: above 0, at most 1.
        seed: of the shuffling; None does not shuffle.

    Returns:
        (train, val).

    Raises:
        UsageError: a ratio out of range.
    """
    if not 0 < train_ratio <= 1:
        raise UsageError(f"train_ratio must be above 0 and at most 1; got {train_ratio!r}")
    wanted = set(candidates.identities if known is None else known)
    labels = candidates.labels.tolist()
    rows_by_label: dict[int, list[int]] = defaultdict(list)
    for row in candidates.in_order:
        rows_by_label[labels[row]].append(row)
    rng = None if seed is None else random.Random(seed)
    train: list[int] = []
    val: list[int] = []
    for label, rows in rows_by_label.items():
        if label in wanted:
            if rng is not None:
                rng.shuffle(rows)
            cut = int(len(rows) * train_ratio)
            train += rows[:cut]
            val += rows[cut:]
    return np.array(train, np.int64), np.array(val, np.int64)


def rows_with(labels: Rows, wanted: Sequence[int]) -> Rows:
    """The rows that have one of the wanted labels, ascending."""
    return np.flatnonzero(np.isin(labels, np.asarray(wanted, np.int64))).astype(np.int64)


def unknown_rows(labels: Rows, unknown: Sequence[int]) -> Rows:
    """The rows of held-out labels and those with a label below 0, ascending."""
    return np.flatnonzero((labels < 0) | np.isin(labels, unknown)).astype(np.int64)


def shuffle(values: Sequence[int], seed: int) -> list[int]:
    """A list of the same values, shuffled by `random.Random(seed)`."""
    shuffled = list(values)
    random.Random(seed).shuffle(shuffled)
    return shuffled


def check_fold(fold: int, n_folds: int) -> None:
    """Refuse a fold that is none of `n_folds`."""
    if not 0 <= fold < n_folds:
        raise UsageError(f"fold must be 0 to {n_folds - 1}, one of {n_folds} folds, got {fold}.")


def _held_out(shuffled: list[int], start: int, count: int) -> Labels:
    unknown = shuffled[start : start + count]
    known = shuffled[:start] + shuffled[start + count :]
    if not known:
        raise UsageError(f"all {len(unknown)} labels would be held out, none is left to train on")
    return Labels(sorted(known), sorted(unknown), unknown)
