"""The nearest gallery entries of each query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.ranking.distances import Block, Distances, Features, as_distances, block_rows


class Neighbours(NamedTuple):
    """Gallery entries, the nearest first; equally far ones in the order of the gallery."""

    rows: Rows
    """int64 [Q, K], rows of the gallery."""
    distances: npt.NDArray[np.float32]
    """float32 [Q, K]."""


def nearest(distances: Distances | Features, k: int) -> Neighbours:
    """The `k` nearest gallery entries of every query.

    Args:
        distances: of Q queries and G gallery entries; a matrix [Q, G] will do.
        k: 1 to G.

    Raises:
        UsageError: k out of range; as `Distances`.
    """
    source = as_distances(distances)
    queries, gallery = source.shape
    if not 1 <= k <= gallery:
        raise UsageError(f"k must be 1 to {gallery}, the size of the gallery, got {k}")
    found = Neighbours(np.empty((queries, k), np.int64), np.empty((queries, k), np.float32))
    # Sorting takes 8 bytes for each distance beside its 4.
    step = max(1, block_rows(gallery) // 3)
    for first in range(0, queries, step):
        rows = np.arange(first, min(queries, first + step))
        found.rows[rows], found.distances[rows] = smallest(source.block(rows), k)
    return found


def smallest(block: Block, k: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    """Columns and values [B, k] of the `k` smallest of each row of [B, M], ascending.

    Equal values are taken in the order of their columns. Both stand in one number, the value's
    bits above its column, which sorts as the pair would.
    """
    bits = np.add(block, 0.0, dtype=np.float32).view(np.uint32)  # -0.0 becomes 0.0
    # A float's bits sort as the float does once the sign is flipped, and for a negative the rest.
    negative = (bits >> np.uint32(31)).astype(bool)
    keys = np.where(negative, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(block.shape[1], dtype=np.uint64)
    if k < keys.shape[1]:
        keys.partition(k - 1, axis=1)
    chosen = keys[:, :k].copy()
    chosen.sort(axis=1)
    columns = (chosen & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return columns, np.take_along_axis(block, columns.astype(np.int64), 1).astype(np.float32)
