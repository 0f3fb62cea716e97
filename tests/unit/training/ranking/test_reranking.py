from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from training.ranking import Distances, FeatureDistances, rank, rerank


def directly(features: Any, queries: int, k1: int, k2: int, share: float) -> Any:
    """The paper's formulas with sets and whole matrices."""
    count = len(features)
    every = np.arange(count)
    distances = FeatureDistances(features, features).block(every).astype(np.float64) ** 2
    distances /= np.maximum(distances.max(axis=1), 1e-30)[:, None]
    order = np.argsort(distances - 2 * np.eye(count), axis=1, kind="stable")

    def mutual(row: int, k: int) -> set[int]:
        return {j for j in order[row, : k + 1].tolist() if row in order[j, : k + 1]}

    weights = np.zeros((count, count))
    for row in range(count):
        members = mutual(row, k1)
        for member in mutual(row, k1):
            other = mutual(member, round(k1 / 2))
            if len(other & mutual(row, k1)) > 2 / 3 * len(other):
                members |= other
        listed = sorted(members)
        weights[row, listed] = np.exp(-distances[row, listed])
    weights /= weights.sum(1, keepdims=True)
    if k2 > 1:
        weights = weights[order[:, :k2]].mean(1)
    smaller = np.minimum(weights[:queries, None], weights[None, queries:]).sum(2)
    larger = np.maximum(weights[:queries, None], weights[None, queries:]).sum(2)
    return share * distances[:queries, queries:] + (1 - share) * (1 - smaller / larger)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 999), st.integers(1, 12), st.sampled_from([0.5, 0.0]), st.data())
def test_distances_are_those_of_the_formulas(
    seed: int, k1: int, spread: float, data: st.DataObject
) -> None:
    k2 = data.draw(st.integers(1, k1 + 1))
    random = np.random.default_rng(seed)
    centres = random.standard_normal((5, 6))
    features = centres[random.integers(0, 5, 30)] + spread * random.standard_normal((30, 6))
    found = rerank(features[:10], features[10:], k1=k1, k2=k2).block(np.arange(10))
    np.testing.assert_allclose(found, directly(features, 10, k1, k2, 0.3), atol=2e-6)


# Of the authors' code (github.com/zhunzhong07/person-re-ranking, commit 278f2c70,
# python-version/re_ranking_ranklist.py), given Euclidean distances of `case`; numpy 2.4.6.
PLACES = [(0, 0), (3, 17), (7, 41), (11, 59), (5, 30), (9, 2)]
USUAL = [
    0.5157220959663391,
    0.7173669338226318,
    0.7357333898544312,
    0.5900412797927856,
    0.8404120206832886,
    0.4582790434360504,
]
OTHER = [
    0.8699336647987366,
    0.944458544254303,
    0.9640753269195557,
    0.927863597869873,
    0.9636425971984863,
    0.6665180921554565,
]


@pytest.mark.parametrize(
    ("options", "mean", "some"),
    [
        ({}, 0.6327090586716723, USUAL),
        ({"k1": 7, "k2": 3, "share": 0.1}, 0.8735531431583998, OTHER),
    ],
)
def test_distances_equal_those_of_the_authors_code(
    case: Any, options: dict[str, Any], mean: float, some: list[float]
) -> None:
    distances = rerank(case.query_features, case.gallery_features, **options)
    found = distances.block(np.arange(12))
    assert found.dtype == np.float32
    assert found.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-6)
    assert [found[place] for place in PLACES] == pytest.approx(some, abs=1e-6)


def test_scores_after_re_ranking_equal_torchreid_s_of_the_authors_distances(case: Any) -> None:
    # both codes as above and in test_scores.py
    scores = rank(rerank(case.query_features, case.gallery_features), case.query, case.gallery)
    assert scores.cmc == pytest.approx({1: 7 / 11, 5: 10 / 11, 10: 1.0}, abs=1e-6)
    assert scores.mAP == pytest.approx(0.5870445140540834, abs=1e-6)


def test_blocks_change_nothing(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rerank(case.query_features, case.gallery_features)
    assert isinstance(whole, Distances)
    assert whole.shape == (12, 60)
    every = whole.block(np.arange(12))
    monkeypatch.setattr("training.ranking.distances.BLOCK_BYTES", 1)
    monkeypatch.setattr("training.ranking._reciprocal._BLOCK", 5)
    single = rerank(case.query_features, case.gallery_features)
    rows, columns = np.array([7, 2]), np.array([59, 0, 13])
    assert np.array_equal(single.block(rows, columns), every[np.ix_(rows, columns)])


def test_tensors_do_as_well_as_arrays(case: Any) -> None:
    tensors = torch.from_numpy(case.query_features), torch.from_numpy(case.gallery_features)
    plain = rerank(case.query_features, case.gallery_features).block(np.arange(12))
    assert np.array_equal(rerank(*tensors).block(np.arange(12)), plain)
    half = rerank(tensors[0].bfloat16(), case.gallery_features).block(np.arange(12))
    assert np.allclose(half, plain, atol=0.1)


def test_pictures_that_are_all_alike_stay_so() -> None:
    found = rerank(np.ones((3, 4)), np.ones((40, 4)), k1=5, k2=2).block(np.arange(3))
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 72}, "k1 must be 1 to 71, the other pictures, got 72"),
        ({"k1": 0}, "k1 must be 1 to 71"),
        ({"k2": 22}, "k2 must be 1 to 21, .* got 22"),
        ({"k2": 0}, "k2 must be 1 to 21"),
        ({"share": 1.5}, "share must be 0 to 1, got 1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(case: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rerank(case.query_features, case.gallery_features, **options)


def test_a_row_that_is_no_number_is_named_by_its_place_on_its_side(case: Any) -> None:
    bad = case.gallery_features.copy()
    bad[3, 1] = np.nan
    with pytest.raises(UsageError, match=r"gallery features must be finite, .* rows 3"):
        rerank(case.query_features, bad)
