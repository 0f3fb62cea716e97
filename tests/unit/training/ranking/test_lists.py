from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Kind
from training.ranking import (
    SOCCERNET,
    Entries,
    FeatureDistances,
    extreme_queries,
    rank,
    rank_lists,
)


def test_lists_and_scores_go_by_the_same_rules(case: Any) -> None:
    kinds = np.zeros(60, np.int64)
    kinds[::7] = Kind.JUNK
    kinds[1::7] = Kind.DISTRACTOR
    gallery = dataclasses.replace(case.gallery, kinds=kinds)
    distances = FeatureDistances(case.query_features, case.gallery_features)
    for rules in (SOCCERNET, dataclasses.replace(SOCCERNET, within_group=False, same_camera=True)):
        scores = rank(distances, case.query, gallery, rules=rules)
        lists = rank_lists(distances, case.query, gallery, range(12), k=60, rules=rules)
        firsts = [1 + int(one.is_right.argmax()) if one.is_right.any() else 0 for one in lists]
        assert firsts == scores.first_place.tolist()
        assert all((np.diff(one.distances) >= 0).all() for one in lists)
        assert not any(set(one.rows.tolist()) & set(range(0, 60, 7)) for one in lists)


def test_of_equally_far_entries_the_wrong_ones_come_first() -> None:
    query, gallery = Entries(labels=np.array([4])), Entries(labels=np.array([4, 5, 4, 6]))
    (found,) = rank_lists(np.zeros((1, 4)), query, gallery, [0], k=3)
    assert found.rows.tolist() == [1, 3, 0]
    assert found.is_right.tolist() == [False, False, True]
    assert found.query == 0


def test_a_list_is_shorter_where_few_entries_remain(case: Any) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features)
    (found,) = rank_lists(distances, case.query, case.gallery, [3], k=60, rules=SOCCERNET)
    assert sorted(found.rows.tolist()) == list(range(20))


def test_extreme_queries_are_those_of_the_highest_and_lowest_precision(case: Any) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features)
    scores = rank(distances, case.query, case.gallery)
    best, worst = extreme_queries(scores, 3)
    order = np.argsort(scores.average_precision[:11]).tolist()
    assert worst.tolist() == order[:3]
    assert best.tolist() == order[::-1][:3]
    best, worst = extreme_queries(scores, 7)
    assert sorted([*best.tolist(), *worst.tolist()]) == list(range(11))


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        ([0], 61, "k must be 1 to 60, the size of the gallery, got 61"),
        ([0], 0, "k must be 1 to 60"),
        ([12], 5, "queries must be rows 0 to 11, got 12"),
        ([-1], 5, "queries must be rows 0 to 11, got -1"),
    ],
)
def test_rows_and_lengths_out_of_range_are_refused(
    case: Any, queries: list[int], k: int, message: str
) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features)
    with pytest.raises(UsageError, match=message):
        rank_lists(distances, case.query, case.gallery, queries, k=k)
