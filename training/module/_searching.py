"""What a model sees of queries and a gallery, and the ranking of that."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch

from lmdb_reid._protocols import Delegating
from lmdb_reid.schema import Rows
from training.ranking import Entries, FeatureDistances, RankScores, rank


@runtime_checkable
class Searched(Protocol, metaclass=Delegating):
    """Data whose validation has loaders of [query, gallery], such as `StoreData`."""

    @property
    def has_search(self) -> bool:
        """Whether it has."""
        ...

    def entries(self, rows: Rows) -> Entries:
        """What a ranking has to know of rows, int64 [N]."""
        ...


def score_search(
    data: Searched, query: tuple[Rows, torch.Tensor], gallery: tuple[Rows, torch.Tensor]
) -> RankScores:
    """Rank the gallery for each query by the angle between features; Market-1501's rules.

    Args:
        data: says who the rows are.
        query: rows, int64 [Q], and features, float [Q, D].
        gallery: likewise, [G] and [G, D].

    Raises:
        UsageError: as `training.ranking.rank`.
    """
    (queries, left), (entries, right) = query, gallery
    distances = FeatureDistances(left, right, metric="cosine")
    return rank(distances, data.entries(queries), data.entries(entries))


def once(rows: torch.Tensor, features: torch.Tensor) -> tuple[Rows, torch.Tensor]:
    """Each row once, ascending: ranks repeat samples to have equally many."""
    found, places = np.unique(rows.numpy(), return_index=True)
    return found, features[torch.from_numpy(places)]
