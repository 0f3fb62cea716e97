"""k-reciprocal re-ranking, sparse and in blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.ranking._reciprocal import Sparse, reciprocal_sets, row_means
from training.ranking.distances import FeatureDistances, Features, Metric, as_array, block_rows
from training.ranking.neighbours import smallest


class RerankedDistances:
    """Distances after re-ranking; `rerank` makes them. They obey the laws of `Distances`."""

    def __init__(
        self,
        distances: FeatureDistances,
        scales: npt.NDArray[np.float32],
        weights: Sparse,
        *,
        queries: int,
        share: float,
    ) -> None:
        self._distances = distances  # of all from all, the queries first
        self._scales = scales
        self._weights = weights
        self._inverted = weights.transposed()
        self._queries = queries
        self._share = np.float32(share)

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and gallery entries."""
        return self._queries, self._distances.shape[0] - self._queries

    def block(self, queries: Rows, gallery: Rows | None = None) -> npt.NDArray[np.float32]:
        """The distances of some queries: float32 [B, M]; see `Distances`."""
        columns = self._queries + (np.arange(self.shape[1]) if gallery is None else gallery)
        found = self._distances.block(queries, columns)
        np.square(found, out=found)
        found *= (self._share * self._scales[queries])[:, None]
        for slot, query in enumerate(queries.tolist()):
            shared = self._shared(query)[columns]
            # The weights of a picture sum up to 1, so the maxima sum up to 2 less the minima.
            found[slot] += (1 - self._share) * (1 - shared / (2 - shared))
        return found

    def _shared(self, query: int) -> npt.NDArray[np.float64]:
        """Of each picture [N], the sum of the smaller of its weights and the query's."""
        mine = slice(self._weights.starts[query], self._weights.starts[query + 1])
        members, places = self._inverted.entries(self._weights.columns[mine])
        smaller = np.minimum(self._weights.values[mine][members], self._inverted.values[places])
        sums = np.bincount(self._inverted.columns[places], smaller, self._distances.shape[0])
        return sums.astype(np.float64)


def rerank(
    queries: Features,
    gallery: Features,
    *,
    k1: int = 20,
    k2: int = 6,
    share: float = 0.3,
    metric: Metric = "euclidean",
) -> RerankedDistances:
    """Re-rank by k-reciprocal neighbours.

    Z. Zhong, L. Zheng, D. Cao, S. Li: Re-ranking Person Re-identification with k-reciprocal
    Encoding, CVPR 2017. With d the distance, squared and divided by the row's greatest, and V_i
    the weights e^-d of the members of R*(i, k1), divided by their sum, averaged over the k2
    nearest of i:

        share * d(q, g) + (1 - share) * (1 - sum min(V_q, V_g) / sum max(V_q, V_g))

    as in the authors' Python code. Memory goes with the number of weights, tens to hundreds
    for each picture, not with the square of the pictures.

    Args:
        queries: float [Q, D].
        gallery: float [G, D].
        k1: neighbours among which reciprocal ones are sought, 1 to Q + G - 1.
        k2: neighbours whose weights are averaged, 1 (none) to k1 + 1.
        share: of the distance itself, 0 to 1; lambda in the paper.
        metric: as in `FeatureDistances`; squared, whichever it is.

    Raises:
        UsageError: a number out of range; as `FeatureDistances`.
    """
    # Each side is checked by itself, so that a message counts its rows.
    checked = FeatureDistances(queries, gallery, metric=metric)
    size = sum(checked.shape)
    if not 1 <= k1 < size:
        raise UsageError(f"k1 must be 1 to {size - 1}, the other pictures, got {k1}")
    if not 1 <= k2 <= k1 + 1:
        raise UsageError(f"k2 must be 1 to {k1 + 1}, k1 and the picture itself, got {k2}")
    if not 0 <= share <= 1:
        raise UsageError(f"share must be 0 to 1, got {share}")
    together = np.concatenate([as_array(queries, "query"), as_array(gallery, "gallery")])
    distances = FeatureDistances(together, together, metric=metric)
    neighbours, scales = _surroundings(distances, k1 + 1)
    rows, members = reciprocal_sets(neighbours, k1)
    near = np.square(distances.pairs(rows, members)) * scales[rows]
    values = np.exp(-near)
    values /= np.bincount(rows, values, size).astype(np.float32)[rows]
    weights = Sparse.of(rows, members, values, size)
    if k2 > 1:
        weights = row_means(weights, neighbours[:, :k2])
    return RerankedDistances(distances, scales, weights, queries=checked.shape[0], share=share)


def _surroundings(distances: FeatureDistances, k: int) -> tuple[Rows, npt.NDArray[np.float32]]:
    """The k nearest of each row, itself first: [N, k]; and 1 over its greatest squared distance."""
    size = distances.shape[0]
    neighbours = np.empty((size, k), np.int64)
    scales = np.empty(size, np.float32)
    step = max(1, block_rows(size) // 3)
    for first in range(0, size, step):
        rows = np.arange(first, min(size, first + step))
        block = distances.block(rows)
        greatest = np.square(block.max(axis=1))
        scales[rows] = 1 / np.where(greatest > 0, greatest, 1)
        block[rows - first, rows] = -1.0  # also where a copy stands before it
        neighbours[rows] = smallest(block, k)[0]
    return neighbours, scales
