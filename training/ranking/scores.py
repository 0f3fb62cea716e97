"""CMC, mAP and mINP of a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.ranking._answers import Answers, BlockScores, score_block
from training.ranking.distances import Distances, Features, as_distances, block_rows
from training.ranking.rules import (
    MARKET1501,
    Columns,
    Entries,
    Rules,
    check_sides,
    columns_of,
    compared,
)

RANKS = (1, 5, 10)
"""Of CMC-k, unless others are given."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankScores:
    """What a ranking scores. Means are over the queries that have a right answer."""

    cmc: Mapping[int, float]
    """By rank k: the share of queries with a right answer among their first k."""
    mAP: float
    mINP: float
    queries: int
    """Queries that have a right answer: those that count."""
    left_out: int
    """Queries without any right answer in the gallery, or of unknown people."""
    tied: int
    """Queries with a wrong answer exactly as far away as a right one."""
    gallery: int
    """Gallery entries that are not ignored."""
    same_camera: bool
    """Whether the rule about the query's own camera was applied: not where cameras are missing."""
    rules: Rules
    average_precision: npt.NDArray[np.float64] = field(repr=False)
    """float64 [Q]; NaN for a query that is left out."""
    first_place: Rows = field(repr=False)
    """int64 [Q], where the first right answer stands, from 1; 0 for a query that is left out."""

    def summary(self) -> dict[str, Any]:
        """The scores and counts of all queries together, as JSON takes them."""
        return {
            "cmc": {str(rank): share for rank, share in self.cmc.items()},
            "mAP": self.mAP,
            "mINP": self.mINP,
            "queries": self.queries,
            "left_out": self.left_out,
            "tied": self.tied,
            "gallery": self.gallery,
            "same_camera": self.same_camera,
        }

    def __str__(self) -> str:
        shares = {"mAP": self.mAP, "mINP": self.mINP}
        shares |= {f"CMC-{rank}": share for rank, share in self.cmc.items()}
        scores = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
        notes = f"{self.queries} queries, {self.left_out} left out"
        if self.rules.same_camera and not self.same_camera:
            notes += ", no cameras"
        return f"{scores} ({notes})"


def rank(
    distances: Distances | Features,
    query: Entries,
    gallery: Entries,
    *,
    rules: Rules = MARKET1501,
    ranks: Sequence[int] | None = None,
) -> RankScores:
    """Score how near the right gallery entries are to their queries.

    A query with right answers at the places p_1 < ... < p_n of its list has

        average precision AP = mean of i / p_i;  inverse negative penalty INP = n / p_n

    and counts for CMC-k where p_1 <= k. AP is that of torchreid and BoxMOT (precision at each
    right answer, not the trapezoids of Market-1501's Matlab code). INP: M. Ye et al., Deep Learning
    for Person Re-identification: A Survey and Outlook, TPAMI 2021, section 3.1.

    Ties: of entries that are equally far away, wrong ones come before right ones. So scores do
    not depend on the order of the gallery, and are the lowest that any order of equal entries
    could have. torchreid sorts with numpy's argsort, which leaves the order of equal distances
    open. If no right answer ties with a wrong one, its scores equal these; otherwise they are equal
    or higher (`tied` counts such queries).

    With `rules.single_shot` the CMC uses one entry for each identity; mAP and mINP are those of the
    whole gallery, as in torchreid.

    Args:
        distances: between Q queries and G gallery entries: `FeatureDistances`, `rerank(...)`, or a
            matrix [Q, G].
        query: what is known of the Q queries.
        gallery: what is known of the G gallery entries.
        rules: which entries are right, wrong or left out.
        ranks: the k of CMC-k, in any order (default: 1, 5 and 10, as far as the gallery has so
            many entries).

    Raises:
        UsageError: columns do not fit the distances or each other, a rank is over the number of
            gallery entries, there is only one identity, or no query has a right answer; also as
            `Distances`.
    """
    source = as_distances(distances)
    left = columns_of(query, source.shape[0], "query", rules.ignored)
    right = columns_of(gallery, source.shape[1], "gallery", rules.ignored)
    check_sides(left, right, rules)
    same_camera = rules.same_camera and left.cameras is not None
    size = _gallery_size(right, rules)
    ranks = _ranks(ranks, size)
    if not same_camera:
        left, right = left._replace(cameras=None), right._replace(cameras=None)
    found = _score_queries(source, left, right, rules)
    is_used = found.counts > 0
    if not is_used.any():
        raise UsageError(
            "queries must have right answers in the gallery, got none. Check that labels of both"
            " sides use the same numbering, and check the rule about cameras."
        )
    places = found.first_place[is_used] if rules.single_shot is None else found.shots[:, is_used]
    return RankScores(
        cmc={k: float(np.mean(places <= k)) for k in ranks},
        mAP=float(found.average_precision[is_used].mean()),
        mINP=float(found.inverse_penalty[is_used].mean()),
        queries=int(is_used.sum()),
        left_out=int((~is_used).sum()),
        tied=int(found.tied.sum()),
        gallery=int((~right.is_ignored).sum()),
        same_camera=same_camera,
        rules=rules,
        average_precision=np.where(is_used, found.average_precision, np.nan),
        first_place=found.first_place,
    )


def _score_queries(
    distances: Distances, query: Columns, gallery: Columns, rules: Rules
) -> BlockScores:
    """The scores of all Q queries; zeros for those without a right answer."""
    queries, entries = distances.shape
    numbers = _numbers(rules, entries)
    scores = BlockScores.zeros(queries, len(numbers))
    for rows, columns in compared(query, gallery, within_group=rules.within_group):
        answers = Answers(
            gallery.identities[columns],
            None if gallery.cameras is None else gallery.cameras[columns],
            [number[columns] for number in numbers],
        )
        everything = None if len(columns) == entries else columns
        step = block_rows(len(columns))
        for first in range(0, len(rows), step):
            chosen = rows[first : first + step]
            cameras = None if query.cameras is None else query.cameras[chosen]
            block = distances.block(chosen, everything)
            scores.put(chosen, score_block(block, query.identities[chosen], cameras, answers))
    return scores


def _gallery_size(gallery: Columns, rules: Rules) -> int:
    """How long the longest list is."""
    identities = gallery.identities[~gallery.is_ignored]
    people = np.unique(identities[identities >= 0])
    nobodies = int((identities < 0).sum())
    if not len(people):
        raise UsageError(
            f"the gallery must show people of known identity, got none among {len(identities)}"
            " entries that are not ignored"
        )
    if len(people) + nobodies == 1:
        raise UsageError(
            f"the gallery must have wrong answers, got identity {people[0]} only: every ranking"
            " would be perfect"
        )
    return len(people) + nobodies if rules.single_shot else len(identities)


def _ranks(ranks: Sequence[int] | None, size: int) -> Sequence[int]:
    if ranks is None:
        return [rank for rank in RANKS if rank <= size]
    if not ranks or min(ranks) < 1 or max(ranks) > size:
        raise UsageError(f"ranks must be 1 to {size}, what the gallery has, got {tuple(ranks)}")
    return ranks


def _numbers(rules: Rules, count: int) -> list[npt.NDArray[np.float64]]:
    """A random number for each gallery entry, in each draw of single gallery shot."""
    shot = rules.single_shot
    if shot is None:
        return []
    if shot.repeats < 1 or shot.seed < 0:
        raise UsageError(f"repeats must be 1 or more, the seed 0 or more, got {shot}")
    return [
        np.random.default_rng([shot.seed, repeat]).random(count) for repeat in range(shot.repeats)
    ]
