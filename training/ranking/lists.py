"""The gallery entries of single queries, in order: for people to look at, and for judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.ranking.distances import Distances, Features, as_distances
from training.ranking.rules import MARKET1501, Entries, Rules, check_sides, columns_of
from training.ranking.scores import RankScores


class RankList(NamedTuple):
    """The first entries that a query finds; L of them."""

    query: int
    """Row of the query side."""
    rows: Rows
    """int64 [L], rows of the gallery, the nearest first."""
    distances: npt.NDArray[np.floating]
    """[L]."""
    is_right: npt.NDArray[np.bool_]
    """[L]."""


def rank_lists(
    distances: Distances | Features,
    query: Entries,
    gallery: Entries,
    queries: Sequence[int] | Rows,
    *,
    k: int = 10,
    rules: Rules = MARKET1501,
) -> list[RankList]:
    """The first `k` entries of some queries, as `rank` scores them: without what it leaves out,
    and of equally far ones the wrong ones first, then as the gallery has them.

    Args:
        distances: of Q queries and G gallery entries.
        query: of the Q queries.
        gallery: of the G gallery entries.
        queries: rows of the queries to list.
        k: 1 to G; a list is shorter where too few entries remain.
        rules: as given to `rank`; single gallery shot changes no list.

    Raises:
        UsageError: k or a row out of range; as `rank`.
    """
    source = as_distances(distances)
    left = columns_of(query, source.shape[0], "query", rules.ignored)
    right = columns_of(gallery, source.shape[1], "gallery", rules.ignored)
    check_sides(left, right, rules)
    if not 1 <= k <= source.shape[1]:
        raise UsageError(f"k must be 1 to {source.shape[1]}, the size of the gallery, got {k}")
    lists = []
    for row in queries:
        if not 0 <= row < source.shape[0]:
            raise UsageError(f"queries must be rows 0 to {source.shape[0] - 1}, got {row}")
        is_own = (right.identities == left.identities[row]) & (right.identities >= 0)
        is_kept = ~right.is_ignored
        if rules.same_camera and left.cameras is not None:
            is_kept &= ~(is_own & (right.cameras == left.cameras[row]))
        if rules.within_group and left.groups is not None:
            is_kept &= right.groups == left.groups[row]
        entries = np.flatnonzero(is_kept)
        found = source.block(np.array([row]), entries)[0]
        order = np.lexsort((is_own[entries], found))[:k]
        lists.append(RankList(int(row), entries[order], found[order], is_own[entries[order]]))
    return lists


def extreme_queries(scores: RankScores, count: int) -> tuple[Rows, Rows]:
    """The queries of the highest and of the lowest average precision, the most extreme first.

    No query is in both, and none that is left out.
    """
    used = np.flatnonzero(scores.first_place > 0)
    order = used[np.argsort(scores.average_precision[used], kind="stable")]
    worst = order[:count]
    return order[len(worst) :][::-1][:count], worst
