from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from training.ranking import FeatureDistances, nearest


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 9), st.data())
def test_the_nearest_come_in_order_and_ties_as_the_gallery_has_them(
    queries: int, gallery: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, gallery))
    matrix = np.random.default_rng(seed).integers(-2, 3, (queries, gallery)).astype(np.float32)
    matrix[:, ::2][matrix[:, ::2] == 0] = -0.0  # as near as 0.0
    found = nearest(matrix, k)
    order = np.argsort(matrix, axis=1, kind="stable")[:, :k]
    assert np.array_equal(found.rows, order)
    assert np.array_equal(found.distances, np.take_along_axis(matrix, order, 1))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).standard_normal((30, 8))
    whole = nearest(FeatureDistances(features, features), 4)
    monkeypatch.setattr("training.ranking.distances.BLOCK_BYTES", 1)
    again = nearest(FeatureDistances(features, features), 4)
    assert np.array_equal(whole.rows, again.rows)
    assert whole.rows[:, 0].tolist() == list(range(30))


@pytest.mark.parametrize("k", [0, 4])
def test_more_than_the_gallery_has_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match=f"k must be 1 to 3, the size of the gallery, got {k}"):
        nearest(np.ones((2, 3)), k)
