"""Open-set folds: identities that are trained on, and identities that stay strangers."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows

SEED = 42
TRAIN_RATIO = 0.8


class Labels(NamedTuple):
    """The identities of an open set, each list sorted."""

    known: list[int]
    """Trained on."""
    unknown: list[int]
    """Held out: to a model they are strangers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """One fold of an open set: rows int64, ascending, each in one part at most."""

    train: Rows
    """Known identities, to train on."""
    val: Rows
    """Known identities, held back."""
    unknown: Rows
    """Held-out identities, and every sample that is nobody's."""
    known_labels: list[int]
    unknown_labels: list[int]


def fold_labels(
    labels: Rows, *, n_folds: int = 5, fold: int = 0, unknown_per_fold: int = 2, seed: int = SEED
) -> Labels:
    """Which identities a fold holds out.

    The sorted labels are shuffled by `random.Random(seed)`; fold i holds out those from place
    i * unknown_per_fold to (i + 1) * unknown_per_fold.

    Args:
        labels: [N], of all samples.
        n_folds: how many folds there are.
        fold: which of them, 0 to n_folds - 1.
        unknown_per_fold: identities that each holds out, at least 1.
        seed: the same for all folds of a run.

    Raises:
        UsageError: numbers out of range, or more to hold out than there are labels.
    """
    shuffled = shuffled_by(_distinct(labels), seed)
    if n_folds < 1 or unknown_per_fold < 1:
        raise UsageError(
            f"n_folds={n_folds}, unknown_per_fold={unknown_per_fold}: each must be 1 or more"
        )
    check_fold(fold, n_folds)
    if n_folds * unknown_per_fold > len(shuffled):
        raise UsageError(
            f"{n_folds} folds of {unknown_per_fold} unknown labels need"
            f" {n_folds * unknown_per_fold}, and there are {len(shuffled)}: take fewer of either"
        )
    return _held_out(shuffled, fold * unknown_per_fold, unknown_per_fold)


def ratio_labels(labels: Rows, *, unknown_ratio: float = 0.2, seed: int = SEED) -> Labels:
    """Hold out a share of the identities once: as fold 0 whose `unknown_per_fold` is that share,
    rounded down and at least 1 (0 of a share of 0).

    Raises:
        UsageError: a ratio that is not from 0 to under 1, or that leaves no known label.
    """
    if not 0 <= unknown_ratio < 1:
        raise UsageError(f"unknown_ratio {unknown_ratio!r}: give a share from 0 to under 1")
    shuffled = shuffled_by(_distinct(labels), seed)
    count = max(1, int(len(shuffled) * unknown_ratio)) if unknown_ratio else 0
    return _held_out(shuffled, 0, count)


def with_labels(labels: Rows, wanted: Sequence[int]) -> Rows:
    """The rows that have one of the wanted labels, ascending."""
    return np.flatnonzero(np.isin(labels, np.asarray(wanted, np.int64))).astype(np.int64)


def unknown_rows(labels: Rows, unknown: Sequence[int]) -> Rows:
    """The rows of held-out labels and those with a label below 0, ascending."""
    return np.flatnonzero((labels < 0) | np.isin(labels, unknown)).astype(np.int64)


def split_known(
    labels: Rows,
    known: Sequence[int] | None = None,
    *,
    train_ratio: float = TRAIN_RATIO,
    seed: int = SEED,
    order: Rows | None = None,
) -> tuple[Rows, Rows]:
    """Split the samples of each known identity into two parts.

    One `random.Random(seed)` shuffles the samples of each label, label after label as they first
    appear; the first int(n * train_ratio) of a label's n are for training.

    Args:
        labels: [N].
        known: the identities; all unless given. The rows of others are in neither part.
        train_ratio: above 0, at most 1.
        seed: of the shuffling.
        order: the rows in the order in which they are gone through, as a csv has them; ascending
            unless given.

    Returns:
        (train, val), each ascending.

    Raises:
        UsageError: a ratio out of range.
    """
    if not 0 < train_ratio <= 1:
        raise UsageError(f"train_ratio {train_ratio!r}: give a share above 0 and at most 1")
    wanted = set(_distinct(labels) if known is None else known)
    rows_by_label: dict[int, list[int]] = defaultdict(list)
    for row in range(len(labels)) if order is None else order.tolist():
        rows_by_label[int(labels[row])].append(row)
    rng = random.Random(seed)
    train: list[int] = []
    val: list[int] = []
    for label, rows in rows_by_label.items():
        if label in wanted:
            rng.shuffle(rows)
            cut = int(len(rows) * train_ratio)
            train += rows[:cut]
            val += rows[cut:]
    return ascending(train), ascending(val)


def open_set_fold(
    labels: Rows,
    *,
    n_folds: int = 5,
    fold: int = 0,
    unknown_per_fold: int = 2,
    train_ratio: float = TRAIN_RATIO,
    seed: int = SEED,
    order: Rows | None = None,
) -> Fold:
    """A fold by `fold_labels`, its known samples split by `split_known`.

    Every row with a label below 0 is in `unknown`: leave out of `labels` what should not be.

    Raises:
        UsageError: as those two.
    """
    parts = fold_labels(
        labels, n_folds=n_folds, fold=fold, unknown_per_fold=unknown_per_fold, seed=seed
    )
    train, val = split_known(labels, parts.known, train_ratio=train_ratio, seed=seed, order=order)
    return Fold(
        train=train,
        val=val,
        unknown=unknown_rows(labels, parts.unknown),
        known_labels=parts.known,
        unknown_labels=parts.unknown,
    )


def _distinct(labels: Rows) -> list[int]:
    distinct: list[int] = np.unique(labels[labels >= 0]).tolist()
    return distinct


def shuffled_by(values: list[int], seed: int) -> list[int]:
    """A list of the same values, shuffled by `random.Random(seed)`."""
    values = list(values)
    random.Random(seed).shuffle(values)
    return values


def _held_out(shuffled: list[int], start: int, count: int) -> Labels:
    unknown = shuffled[start : start + count]
    known = shuffled[:start] + shuffled[start + count :]
    if not known:
        raise UsageError(f"all {len(unknown)} labels would be held out, none is left to train on")
    return Labels(sorted(known), sorted(unknown))


def check_fold(fold: int, n_folds: int) -> None:
    """Refuse a fold that is none of `n_folds`."""
    if not 0 <= fold < n_folds:
        raise UsageError(f"fold {fold} of {n_folds}: give 0 to {n_folds - 1}")


def ascending(rows: list[int]) -> Rows:
    """The rows sorted, int64."""
    return np.array(sorted(rows), np.int64)
