"""Folds that tear no group of samples apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.folds._open_set import SEED, check_fold, shuffled_by


def group_codes(*columns: npt.NDArray[np.generic]) -> Rows:
    """One number for each row, the same where the columns [N] all agree: the groups of
    `split_groups`, such as sessions by (quarter, session).
    """
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        _, found = np.unique(column, return_inverse=True)
        _, codes = np.unique(codes * (found.max(initial=0) + 1) + found, return_inverse=True)
    return codes.astype(np.int64)


def split_groups(
    groups: Rows, *, n_folds: int = 5, fold: int = 0, seed: int = SEED
) -> tuple[Rows, Rows]:
    """Folds that tear no group apart: neighbouring frames of a quarter or session, or the samples
    of an identity, stay on one side.

    The groups are shuffled by `random.Random(seed)`, then dealt, the largest first, each to the
    fold with the fewest samples so far. Every group is held back in exactly one fold.

    Args:
        groups: [N], the group of each row: `group_codes` of a column, or labels. Rows below 0
            belong to no group and are in neither part.
        n_folds: 2 or more, at most as many as there are groups.
        fold: which part is held back, 0 to n_folds - 1.
        seed: the same for all folds of a run.

    Returns:
        (train, val), each ascending.

    Raises:
        UsageError: numbers out of range.
    """
    sizes = Counter(groups[groups >= 0].tolist())
    if not 2 <= n_folds <= len(sizes):
        raise UsageError(f"n_folds={n_folds}: give 2 to {len(sizes)}, the number of groups")
    check_fold(fold, n_folds)
    filled = [0] * n_folds
    held_back = []
    for group in sorted(shuffled_by(sorted(sizes), seed), key=lambda group: -sizes[group]):
        emptiest = filled.index(min(filled))
        filled[emptiest] += sizes[group]
        if emptiest == fold:
            held_back.append(group)
    is_val = np.isin(groups, held_back)
    train = np.flatnonzero((groups >= 0) & ~is_val).astype(np.int64)
    return train, np.flatnonzero(is_val).astype(np.int64)
