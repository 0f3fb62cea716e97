"""Sets of k-reciprocal neighbours, and their weights, as index lists."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.schema import Rows

_BLOCK = 512  # rows whose candidates are compared at a time


class Sparse(NamedTuple):
    """The entries of an [N, N] matrix that are not 0, row by row, columns ascending."""

    starts: Rows
    """int64 [N + 1]: row i has the entries starts[i] to starts[i + 1]."""
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls,
        rows: Rows,
        columns: npt.NDArray[np.integer],
        values: npt.NDArray[np.float32],
        size: int,
    ) -> Sparse:
        """From entries that are sorted by row, then column."""
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=size))])
        return cls(starts, columns.astype(np.int32), values)

    def entries(self, rows: npt.NDArray[np.integer]) -> tuple[Rows, Rows]:
        """The entries of some rows [R], one row after another: their slot in `rows`, and place."""
        starts = self.starts[rows]
        counts = self.starts[rows + 1] - starts
        ends = np.cumsum(counts)
        slots = np.repeat(np.arange(len(rows)), counts)
        return slots, np.arange(len(slots)) + (starts - (ends - counts))[slots]

    def transposed(self) -> Sparse:
        """Rows for columns."""
        size = len(self.starts) - 1
        rows = np.repeat(np.arange(size, dtype=np.int32), np.diff(self.starts))
        order = np.argsort(self.columns, kind="stable")
        return Sparse.of(
            self.columns[order].astype(np.int64), rows[order], self.values[order], size
        )


def reciprocal_sets(neighbours: Rows, k: int) -> tuple[Rows, Rows]:
    """Pairs (row, member) of the sets R*(i, k), sorted.

    R(i, k) has those of the k + 1 nearest of i that have i among theirs. Each member's own
    R(j, round(k / 2)) joins where more than two thirds of it are in R(i, k) (Zhong et al., section
    3.2, equations 2 and 3; the published code takes "more than" for the paper's "at least").

    Args:
        neighbours: int [N, k + 1 or more], the nearest of each row, itself first.
        k: k1 of the paper.
    """
    size = len(neighbours)
    near, half = neighbours[:, : k + 1], neighbours[:, : round(k / 2) + 1]
    is_mutual, is_half_mutual = _mutual(near), _mutual(half)
    pairs = []
    for first in range(0, size, _BLOCK):
        rows = np.arange(first, min(size, first + _BLOCK))
        members = np.where(is_mutual[rows], near[rows], -1)
        joining = np.where(is_half_mutual[near[rows]], half[near[rows]], -2)  # [B, k + 1, half]
        shared = np.zeros(joining.shape, bool)
        for member in members.T:
            shared |= joining == member[:, None, None]
        sizes = (joining >= 0).sum(2)
        joins = (shared.sum(2) > 2 / 3 * sizes) & (members >= 0)
        joining[~joins] = -2
        found = np.concatenate([members, joining.reshape(len(rows), -1)], axis=1)
        slots, places = np.nonzero(found >= 0)
        pairs.append(np.unique(rows[slots] * size + found[slots, places]))
    return np.divmod(np.concatenate(pairs), size)


def row_means(weights: Sparse, neighbours: Rows) -> Sparse:
    """Of each row the mean of the rows of its neighbours [N, k2]: local query expansion."""
    size, k = neighbours.shape
    keys, values = [], []
    for first in range(0, size, _BLOCK):
        rows = np.arange(first, min(size, first + _BLOCK))
        slots, places = weights.entries(neighbours[rows].ravel())
        found, where = np.unique(
            rows[slots // k] * size + weights.columns[places], return_inverse=True
        )
        keys.append(found)
        values.append(np.bincount(where, weights.values[places]).astype(np.float32) / np.float32(k))
    rows, columns = np.divmod(np.concatenate(keys), size)
    return Sparse.of(rows, columns, np.concatenate(values), size)


def _mutual(neighbours: Rows) -> npt.NDArray[np.bool_]:
    """Of each neighbour [N, K], whether the row is among that one's neighbours."""
    found = np.empty(neighbours.shape, bool)
    for first in range(0, len(neighbours), _BLOCK):
        rows = np.arange(first, min(len(neighbours), first + _BLOCK))
        found[rows] = (neighbours[neighbours[rows]] == rows[:, None, None]).any(2)
    return found
