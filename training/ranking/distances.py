"""Distances between queries and a gallery, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from lmdb_reid._protocols import Delegating
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows

Features: TypeAlias = npt.NDArray[np.floating[Any]] | torch.Tensor
"""Float [N, D], one row for each picture: float16, bfloat16, float32 or float64."""
Block: TypeAlias = npt.NDArray[np.floating[Any]]
Metric = Literal["euclidean", "cosine"]

BLOCK_BYTES = 256 << 20
"""Memory that a block of distances may take."""
_TILE = 1 << 20  # numbers of float64 that stay in a core's cache while they are worked on
_CHUNK = 1 << 24  # features that are looked at in one go
# Rounding leaves some 1e-14 where a picture is compared with its copy: both are one point.
_SAME = 1e-13
# (2 * norm)**2 must fit into a float32.
_MAX_SQUARE = float(np.finfo(np.float32).max) / 4
_MAX_BLOCK = 4096


@runtime_checkable
class Distances(Protocol, metaclass=Delegating):
    """How far each query is from each gallery entry.

    Laws: `block` gives the same numbers whatever the other rows that are asked for with them; all
    are finite; the array that it returns is the caller's to write into.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and gallery entries."""

    def block(self, queries: Rows, gallery: Rows | None = None) -> Block:
        """The distances of some queries.

        Args:
            queries: int64 [B], rows of the query side.
            gallery: int64 [M], rows of the gallery (default: all).

        Returns:
            float32 or float64 [B, M].
        """


class FeatureDistances:
    """Distances between features, computed when they are asked for.

    They are computed in float64 and rounded to float32 once: float64's own rounding, which depends
    on the place in a block, does not survive that, and a picture and its copy are equally far from
    all others. Features that differ by rounding alone are at distance 0. Memory: the features as
    they are given, and one block.

    Args:
        queries: float [Q, D].
        gallery: float [G, D].
        metric: "euclidean", the length of the difference; or "cosine", 1 minus the cosine of the
            angle: 0 to 2. A row of zeros has the cosine distance 1 from all others.

    Raises:
        UsageError: no rows, other shapes, numbers that are no floats, NaN or infinite (the message
            has the rows), or too large for float32.
    """

    def __init__(
        self, queries: Features, gallery: Features, *, metric: Metric = "euclidean"
    ) -> None:
        if metric not in ("euclidean", "cosine"):
            raise UsageError(f"metric must be 'euclidean' or 'cosine', got {metric!r}")
        self.metric = metric
        self._queries = as_array(queries, "query")
        self._gallery = self._queries if gallery is queries else as_array(gallery, "gallery")
        if self._queries.shape[1] != self._gallery.shape[1]:
            raise UsageError(
                f"query and gallery features must be of one length, got {self._queries.shape[1]}"
                f" and {self._gallery.shape[1]}. Take both from one model."
            )
        self._query_squares = _squares(self._queries, "query")
        self._gallery_squares = (
            self._query_squares
            if self._gallery is self._queries
            else _squares(self._gallery, "gallery")
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and gallery entries."""
        return len(self._queries), len(self._gallery)

    def block(self, queries: Rows, gallery: Rows | None = None) -> npt.NDArray[np.float32]:
        """The distances of some queries: float32 [B, M]; see `Distances`."""
        left, left_squares = self._side(self._queries, self._query_squares, queries)
        count = len(self._gallery) if gallery is None else len(gallery)
        found = np.empty((len(queries), count), np.float32)
        step = max(256, _TILE // max(1, len(queries)))
        for first in range(0, count, step):
            chosen = slice(first, first + step)
            right, right_squares = self._side(
                self._gallery, self._gallery_squares, chosen if gallery is None else gallery[chosen]
            )
            found[:, chosen] = self._finish(
                left @ right.T, left_squares[:, None], right_squares[None, :]
            )
        return found

    def pairs(self, queries: Rows, gallery: Rows) -> npt.NDArray[np.float32]:
        """The distance of each query [P] from the gallery entry [P] beside it: float32 [P]."""
        found = np.empty(len(queries), np.float32)
        step = max(1, _TILE // self._queries.shape[1])
        for first in range(0, len(queries), step):
            chosen = slice(first, first + step)
            left, left_squares = self._side(self._queries, self._query_squares, queries[chosen])
            right, right_squares = self._side(self._gallery, self._gallery_squares, gallery[chosen])
            products = np.einsum("pd,pd->p", left, right)
            found[chosen] = self._finish(products, left_squares, right_squares)
        return found

    def _side(
        self, features: Block, squares: npt.NDArray[np.float64], rows: Rows | slice
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Some rows as float64 [B, D], of length 1 for cosines, and their squared norms [B]."""
        chosen = features[rows].astype(np.float64)
        if self.metric == "cosine":
            norms = np.sqrt(squares[rows])
            chosen /= np.where(norms > 0, norms, 1.0)[:, None]
        return chosen, squares[rows]

    def _finish(
        self,
        products: npt.NDArray[np.float64],
        left_squares: npt.NDArray[np.float64],
        right_squares: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Distances from dot products, in their memory."""
        if self.metric == "cosine":
            np.subtract(1.0, products, out=products)
            products[products < _SAME] = 0.0
            return products
        products *= -2.0
        products += left_squares
        products += right_squares
        products[products < _SAME * (left_squares + right_squares)] = 0.0
        return np.sqrt(products, out=products)


class MatrixDistances:
    """Distances that stand in a matrix: float [Q, G], finite.

    Raises:
        UsageError: no rows or columns, another shape, numbers that are no floats; when a block is
            asked for: NaN or infinite ones.
    """

    def __init__(self, matrix: Features) -> None:
        self._matrix = as_array(matrix, "distance matrix")

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and gallery entries."""
        return self._matrix.shape[0], self._matrix.shape[1]

    def block(self, queries: Rows, gallery: Rows | None = None) -> Block:
        """The distances of some queries: [B, M], a copy; see `Distances`."""
        found = self._matrix[queries] if gallery is None else self._matrix[np.ix_(queries, gallery)]
        _check_finite(found, "distance", queries)
        return found


def as_distances(distances: Distances | Features) -> Distances:
    """A matrix [Q, G] as `MatrixDistances`; what has blocks already, as it is."""
    if isinstance(distances, np.ndarray | torch.Tensor):
        return MatrixDistances(distances)
    return distances


def as_array(features: Features, name: str) -> Block:
    """Features, or a matrix, as numpy has them: [N, D] of floats, N and D 1 or more.

    Raises:
        UsageError: it is something else; `name` stands in the message.
    """
    if isinstance(features, torch.Tensor):
        features = features.detach().cpu()
        # numpy has no bfloat16
        found = (features.float() if features.dtype == torch.bfloat16 else features).numpy()
    else:
        try:
            found = np.asarray(features)
        except ValueError as error:  # rows of different lengths
            raise UsageError(f"{name} must be [rows, numbers]: {error}") from None
    if found.ndim != 2 or not found.size:
        raise UsageError(f"{name} must be [rows, numbers], at least one of each, got {found.shape}")
    if not np.issubdtype(found.dtype, np.floating):
        raise UsageError(f"{name} must be of floats, got {found.dtype}. Use .astype('float32').")
    return found


def block_rows(columns: int) -> int:
    """Queries whose distances from `columns` gallery entries fit into `BLOCK_BYTES`."""
    return max(1, min(_MAX_BLOCK, BLOCK_BYTES // (4 * max(1, columns))))


def check_finite(values: Block, name: str, rows: Rows | None = None) -> None:
    """Refuse features [N, D] that are no finite numbers; they are looked at in pieces.

    Args:
        values: the features.
        name: of one of them, for the message.
        rows: int64 [N], what the message calls them (default: 0 to N-1).

    Raises:
        UsageError: NaN or infinity; the message has `name` and the rows.
    """
    numbers = np.arange(len(values)) if rows is None else rows
    for chunk in _chunks(values):
        _check_finite(values[chunk], name, numbers[chunk])


def _chunks(features: Block) -> Iterator[slice]:
    step = max(1, _CHUNK // features.shape[1])
    for first in range(0, len(features), step):
        yield slice(first, min(first + step, len(features)))


def _squares(features: Block, name: str) -> npt.NDArray[np.float64]:
    """Squared norms [N], checked."""
    found = np.empty(len(features), np.float64)
    for chunk in _chunks(features):
        _check_finite(features[chunk], f"{name} feature", np.arange(chunk.start, chunk.stop))
        wide = features[chunk].astype(np.float64)
        found[chunk] = np.einsum("nd,nd->n", wide, wide)
    large = np.flatnonzero(~(found <= _MAX_SQUARE))
    if len(large):
        raise UsageError(
            f"{name} features must have norms below 1e19, got more in rows {_listed(large)}."
            " Look for a training that has diverged."
        )
    return found


def _check_finite(values: Block, name: str, rows: Rows) -> None:
    bad = rows[~np.isfinite(values).all(axis=1)]
    if len(bad):
        raise UsageError(
            f"{name}s must be finite, got NaN or infinity in rows {_listed(bad)}."
            " Look for a training that has diverged, or float16 that overflowed."
        )


def _listed(rows: Rows) -> str:
    listed = ", ".join(map(str, rows[:5].tolist()))
    return listed if len(rows) <= 5 else f"{listed} and {len(rows) - 5} more"
