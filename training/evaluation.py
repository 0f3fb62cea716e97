"""The parts of a split ranked by their features: what `lmdb-reid rank` prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Kind, Rows
from lmdb_reid.store import Store
from training.entries import entry_columns
from training.features import Features
from training.ranking import (
    MARKET1501,
    Distances,
    Entries,
    FeatureDistances,
    OpenSetScores,
    Predictions,
    RankList,
    RankScores,
    Rules,
    extreme_queries,
    nearest,
    rank,
    rank_lists,
    rerank,
    score_open_set,
    tune_open_set,
)
from training.ranking.distances import Metric, check_finite
from training.splits import Split, StoreTable

RANKED = ("query", "gallery")
VALIDATED = ("val", "train")
"""What is ranked where a split has no query and gallery: what is held back, against the rest."""
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """How near the right answers of one part are in another, and what that was judged by."""

    scores: RankScores
    open_set: OpenSetScores | None
    """None where the split has no part unknown, or too few samples on a side."""
    parts: tuple[str, str]
    """The names of the parts that query and gallery are."""
    metric: Metric
    is_reranked: bool
    why_no_cameras: str | None
    """Where the rules have one about cameras that could not be applied."""
    query_rows: Rows = field(repr=False)
    """int64 [Q], rows of the store."""
    gallery_rows: Rows = field(repr=False)
    """int64 [G], likewise."""
    query: Entries = field(repr=False)
    gallery: Entries = field(repr=False)
    distances: Distances = field(repr=False)

    def extremes(self, count: int, *, k: int = 10) -> tuple[list[RankList], list[RankList]]:
        """The lists of the best and of the worst queries, `count` of each, `k` entries long."""
        k = min(k, len(self.gallery_rows))

        def lists(queries: Rows) -> list[RankList]:
            rules = self.scores.rules
            return rank_lists(self.distances, self.query, self.gallery, queries, k=k, rules=rules)

        best, worst = extreme_queries(self.scores, count)
        return lists(best), lists(worst)

    def summary(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        rules, found = self.scores.rules, self.open_set
        return {
            "parts": {
                "query": {"name": self.parts[0], "samples": len(self.query_rows)},
                "gallery": {"name": self.parts[1], "samples": len(self.gallery_rows)},
            },
            "metric": self.metric,
            "reranked": self.is_reranked,
            "rules": {
                "same_camera": self.scores.same_camera,
                "why_no_cameras": self.why_no_cameras,
                "within_group": rules.within_group,
                "single_shot": rules.single_shot is not None,
            },
            **self.scores.summary(),
            "open_set": None
            if found is None
            else {
                name: getattr(found, name)
                for name in ("macro_f1", "baks", "baus", "auc", "threshold", "known", "unknown")
            },
        }


def evaluate(
    store: Store,
    features: Features,
    split: Split,
    *,
    parts: tuple[str, str] | None = None,
    metric: Metric = "euclidean",
    rules: Rules = MARKET1501,
    reranked: bool = False,
) -> Evaluation:
    """Rank one part of a split in another, and score it as an open set where it is one.

    Cameras, groups and identities are what the store's roles say; see `entry_columns`. The open
    set: each sample of the first part and of the part unknown gets the identity of its nearest
    picture of anybody in the second, and the distance to it, negated, as score. The threshold is
    tuned on every second sample and scored on the others; neither cameras nor re-ranking matter to
    it.

    Args:
        store: whose samples the features are of.
        features: of all rows that are ranked.
        split: rows of the store.
        parts: the names of the parts that are query and gallery: query and gallery, or val and
            train where the split has none of these, unless given.
        metric: of distances between features.
        rules: which entries are right, wrong or left out.
        reranked: by k-reciprocal neighbours.

    Raises:
        UsageError: a part that is not there or empty; as `rank`, `rerank` and `FeatureDistances`.
        FeaturesError: a sample of a part has no features.
    """
    names = _parts(split, parts)
    query_rows, gallery_rows = (_part(split, name) for name in names)
    query_features, gallery_features = features.of(query_rows), features.of(gallery_rows)
    for found, rows in ((query_features, query_rows), (gallery_features, gallery_rows)):
        check_finite(found, "feature", rows)  # by rows of the store, not of a part
    known = entry_columns(
        StoreTable(store),
        store.roles,
        np.concatenate([query_rows, gallery_rows]),
        within_group=rules.within_group,
    )
    entries = known.of(query_rows), known.of(gallery_rows)
    distances: Distances
    if reranked:
        k1 = min(20, len(query_rows) + len(gallery_rows) - 1)
        distances = rerank(query_features, gallery_features, k1=k1, k2=min(6, k1), metric=metric)
    else:
        distances = FeatureDistances(query_features, gallery_features, metric=metric)
    return Evaluation(
        scores=rank(distances, *entries, rules=rules),
        open_set=_open_set(
            store, features, query_rows, gallery_rows, split[UNKNOWN], metric=metric
        ),
        parts=names,
        metric=metric,
        is_reranked=reranked,
        why_no_cameras=known.why_no_cameras if rules.same_camera else None,
        query_rows=query_rows,
        gallery_rows=gallery_rows,
        query=entries[0],
        gallery=entries[1],
        distances=distances,
    )


def _parts(split: Split, given: tuple[str, str] | None) -> tuple[str, str]:
    if given is not None:
        return given
    for names in (RANKED, VALIDATED):
        if all(name in split for name in names):
            return names
    there = ", ".join(split.parts) or "none"
    raise UsageError(
        f"a split must have the parts query and gallery, or val and train, to be ranked; it has"
        f" {there}. Choose the two parts to rank with --parts QUERY GALLERY (parts=)"
    )


def _part(split: Split, name: str) -> Rows:
    if name not in split:
        there = ", ".join(split.parts) or "none"
        raise UsageError(f"no part {name!r} in the split; there are: {there}")
    rows = split[name]
    if not len(rows):
        raise UsageError(f"the part {name!r} of the split must have samples, got none")
    return rows


def _open_set(
    store: Store,
    features: Features,
    query: Rows,
    gallery: Rows,
    unknown: Rows,
    *,
    metric: Metric,
) -> OpenSetScores | None:
    labels, kinds = store.columns[store.roles.identity], store.columns["kind"]
    known_gallery = gallery[(kinds[gallery] == Kind.PERSON) & (labels[gallery] > NO_LABEL)]
    known = np.unique(labels[known_gallery])
    asked = np.concatenate([query, unknown])
    people = np.where(kinds[asked] == Kind.PERSON, labels[asked], NO_LABEL)
    is_known = np.isin(people, known)
    if not len(unknown) or min(is_known.sum(), (~is_known).sum()) < 2:
        return None
    found = nearest(
        FeatureDistances(features.of(asked), features.of(known_gallery), metric=metric), 1
    )
    best, scores = labels[known_gallery][found.rows[:, 0]], -found.distances[:, 0]
    is_tuned = np.zeros(len(asked), bool)
    for side in (is_known, ~is_known):  # so that both halves have some of each
        order = np.flatnonzero(side)
        is_tuned[order[np.lexsort((asked[order], people[order]))][::2]] = True
    halves = [
        Predictions(best=best[half], scores=scores[half], labels=people[half])
        for half in (is_tuned, ~is_tuned)
    ]
    threshold = tune_open_set(halves[0], known.tolist()).threshold
    return score_open_set(halves[1], known.tolist(), threshold=threshold)
