from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from training.ranking import Distances, FeatureDistances, MatrixDistances


def drawn(rows: int, numbers: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((rows, numbers))


def directly(queries: Any, gallery: Any, metric: str) -> Any:
    left, right = queries.astype(np.float64)[:, None], gallery.astype(np.float64)[None]
    if metric == "euclidean":
        return np.sqrt(((left - right) ** 2).sum(2))
    norms = np.linalg.norm(left, axis=2) * np.linalg.norm(right, axis=2)
    return 1 - (left * right).sum(2) / norms


@settings(deadline=None, derandomize=True)
@given(
    st.integers(1, 7),
    st.integers(1, 600),
    st.integers(1, 9),
    st.sampled_from(["euclidean", "cosine"]),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_distances_are_those_of_the_formula(
    queries: int, gallery: int, numbers: int, metric: Any, dtype: Any
) -> None:
    left, right = drawn(queries, numbers).astype(dtype), drawn(gallery, numbers, 1).astype(dtype)
    distances = FeatureDistances(left, right, metric=metric)
    assert distances.shape == (queries, gallery)
    found = distances.block(np.arange(queries))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, directly(left, right, metric), rtol=1e-6, atol=1e-6)
    rows, columns = np.arange(queries)[::-1], np.arange(0, gallery, 2)
    assert np.array_equal(distances.block(rows, columns), found[np.ix_(rows, columns)])
    pairs = np.repeat(np.arange(queries), gallery), np.tile(np.arange(gallery), queries)
    np.testing.assert_allclose(distances.pairs(*pairs), found.ravel(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_copies_are_equally_far_wherever_they_stand(metric: Any) -> None:
    gallery = np.tile(drawn(7, 512).astype(np.float32), (99, 1))
    found = FeatureDistances(drawn(5, 512, 1), gallery, metric=metric).block(np.arange(5))
    assert np.array_equal(found, np.tile(found[:, :7], 99))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_picture_is_at_distance_0_from_itself(metric: Any) -> None:
    features = (drawn(50, 2048) * 1000).astype(np.float32)
    found = FeatureDistances(features, features.copy(), metric=metric).block(np.arange(50))
    assert not found.diagonal().any()
    assert (found + np.eye(50) > 0.1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_do_as_well_as_arrays(dtype: torch.dtype) -> None:
    features = torch.from_numpy(drawn(4, 5)).to(dtype).requires_grad_()
    found = FeatureDistances(features, features).block(np.arange(4))
    plain = features.detach().float().numpy()
    assert np.allclose(found, directly(plain, plain, "euclidean"), atol=1e-6)


def test_a_row_of_zeros_is_at_cosine_distance_1() -> None:
    distances = FeatureDistances(np.zeros((1, 3)), np.eye(3), metric="cosine")
    assert distances.block(np.array([0])).tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("queries", "gallery", "message"),
    [
        (np.ones((0, 3)), np.ones((2, 3)), r"query must be .* got \(0, 3\)"),
        (np.ones((2, 3)), np.ones((0, 3)), r"gallery must be .* got \(0, 3\)"),
        (np.ones(3), np.ones((2, 3)), r"query must be .* got \(3,\)"),
        (np.ones((2, 3)), np.ones((2, 4)), "of one length, got 3 and 4"),
        (np.ones((2, 3), np.int64), np.ones((2, 3)), "query must be of floats, got int64"),
        (np.ones((2, 3)), np.full((7, 3), np.nan), "gallery features .* rows 0, 1, 2, 3, 4 and 2"),
        (np.array([[1.0], [np.inf], [-np.inf]]), np.ones((2, 1)), "query features .* rows 1, 2"),
        (torch.tensor([[0.0], [torch.nan]]), np.ones((2, 1)), "query features .* rows 1"),
        (np.ones((2, 3)), np.array([[0, 0, 1e30]]), "norms below 1e19, got more in rows 0"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(
    queries: Any, gallery: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        FeatureDistances(queries, gallery)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UsageError, match="metric must be 'euclidean' or 'cosine', got 'l1'"):
        FeatureDistances(np.ones((1, 1)), np.ones((1, 1)), metric="l1")  # type: ignore[arg-type]


def test_a_matrix_gives_blocks_that_may_be_written_into() -> None:
    matrix = drawn(4, 6)
    distances = MatrixDistances(matrix)
    assert isinstance(distances, Distances)
    block = distances.block(np.array([2, 0]), np.array([5, 1]))
    assert np.array_equal(block, matrix[[2, 0]][:, [5, 1]])
    before = matrix.copy()
    block[:] = 0
    distances.block(np.arange(4))[:] = 0
    assert np.array_equal(matrix, before)


def test_a_block_takes_little_more_memory_than_itself() -> None:
    gallery = drawn(20_000, 32).astype(np.float32)
    distances = FeatureDistances(gallery[:500], gallery)
    tracemalloc.start()
    try:
        block = distances.block(np.arange(500))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < block.nbytes + (24 << 20)
