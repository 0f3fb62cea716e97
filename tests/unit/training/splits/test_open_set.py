from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits import (
    Candidates,
    Labels,
    fold_labels,
    open_set,
    ratio_labels,
    rows_with,
    split_samples,
    unknown_rows,
)

ELEVEN = list(range(11))


def ints(*values: int) -> Rows:
    return np.array(values, np.int64)


def of(labels: Rows, order: Rows | None = None) -> Candidates:
    return Candidates(labels=labels, order=order)


def held_out(labels: Rows, **options: int) -> Labels:
    return fold_labels(of(labels).identities, **options)


many_labels = st.lists(st.integers(-1, 6), min_size=1, max_size=80).map(lambda v: ints(*v))


# which identities a fold holds out


def test_golden_folds_of_eleven_labels() -> None:
    # random.Random(42).shuffle of 0..10 gives 7, 3, 2, 8, 5, 6, 9, 4, 0, 1, 10.
    folds = [fold_labels(ELEVEN, n_folds=5, fold=fold) for fold in range(5)]
    assert [fold.unknown for fold in folds] == [[3, 7], [2, 8], [5, 6], [4, 9], [0, 1]]
    for fold in folds:
        assert fold.known == sorted(set(range(11)) - set(fold.unknown))


def test_folds_hold_out_each_label_once_at_most_and_all_where_they_fit() -> None:
    labels = ints(5, 3, 3, 100, 7, 5, -1, 9, 11)
    held = [held_out(labels, n_folds=3, fold=fold, seed=7).unknown for fold in range(3)]
    assert sorted(label for labels in held for label in labels) == [3, 5, 7, 9, 11, 100]


def test_labels_below_zero_make_no_folds() -> None:
    labels = ints(-1, 0, -1, 1, 2, -1)
    fold = held_out(labels, n_folds=1, unknown_per_fold=1)
    assert sorted(fold.known + fold.unknown) == [0, 1, 2]


def test_neither_order_nor_number_of_samples_moves_a_label() -> None:
    once = fold_labels(ELEVEN, fold=3)
    assert held_out(np.repeat(ints(*ELEVEN[::-1]), 7), fold=3) == once
    assert fold_labels(ELEVEN, fold=3, seed=1) != once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_folds": 6}, "6 folds of 2 unknown labels need 12, and there are 11"),
        ({"n_folds": 4, "unknown_per_fold": 3}, "need 12, and there are 11"),
        ({"n_folds": 0}, "n_folds and unknown_per_fold must be 1 or more; got 0 and 2"),
        ({"unknown_per_fold": 0}, "must be 1 or more; got 5 and 0"),
        ({"fold": 5}, "fold must be 0 to 4, one of 5 folds, got 5."),
        ({"fold": -1}, "one of 5 folds, got -1"),
        ({"n_folds": 1, "unknown_per_fold": 11}, "none is left to train on"),
    ],
)
def test_folds_that_cannot_be_meant(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fold_labels(ELEVEN, **options)


def test_as_many_folds_as_labels_allow() -> None:
    assert len(fold_labels(ELEVEN[:10], n_folds=5, fold=4).unknown) == 2


@pytest.mark.parametrize(
    ("ratio", "count"), [(0, 0), (0.01, 1), (0.2, 2), (0.28, 3), (0.5, 5), (0.95, 10)]
)
def test_a_share_of_the_labels(ratio: float, count: int) -> None:
    held = ratio_labels(ELEVEN, unknown_ratio=ratio)
    assert len(held.unknown) == count
    assert sorted(held.known + held.unknown) == ELEVEN
    if count:
        assert held == fold_labels(ELEVEN, n_folds=1, unknown_per_fold=count)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_a_share_that_cannot_be_meant(ratio: float) -> None:
    with pytest.raises(UsageError, match="unknown_ratio"):
        ratio_labels(ELEVEN, unknown_ratio=ratio)


@pytest.mark.parametrize("labels", [ints(), ints(-1, -1), ints(4, 4)])
def test_too_few_labels_for_a_share(labels: Rows) -> None:
    with pytest.raises(UsageError, match="none is left to train on"):
        ratio_labels(of(labels).identities)


# rows


def test_rows_by_label() -> None:
    labels = ints(3, -1, 5, 3, 7, -1)
    assert rows_with(labels, [3, 7]).tolist() == [0, 3, 4]
    assert unknown_rows(labels, [5]).tolist() == [1, 2, 5]
    assert rows_with(labels, []).tolist() == []
    assert unknown_rows(labels, []).tolist() == [1, 5]
    assert {rows_with(labels, []).dtype, unknown_rows(labels, [5]).dtype} == {np.dtype("int64")}


# the samples of known identities


def guides_split(
    labels: list[int], known: set[int], ratio: float, seed: int
) -> tuple[set[int], set[int]]:
    """As the guide's code does it, written down a second time."""
    rng = random.Random(seed)
    train: set[int] = set()
    val: set[int] = set()
    for label in dict.fromkeys(labels):
        if label in known:
            rows = [row for row, other in enumerate(labels) if other == label]
            rng.shuffle(rows)
            train |= set(rows[: int(len(rows) * ratio)])
            val |= set(rows[int(len(rows) * ratio) :])
    return train, val


@settings(deadline=None)
@given(many_labels, st.sets(st.integers(0, 6)), st.floats(0.05, 1), st.integers(0, 99))
def test_known_samples_are_split_as_the_guide_does(
    labels: Rows, known: set[int], ratio: float, seed: int
) -> None:
    train, val = split_samples(of(labels), sorted(known), train_ratio=ratio, seed=seed)
    assert (set(train.tolist()), set(val.tolist())) == guides_split(
        labels.tolist(), known, ratio, seed
    )
    for rows in (train, val):
        assert rows.dtype == np.int64


def test_all_labels_from_zero_up_are_known_unless_told() -> None:
    labels = ints(-1, 0, 0, 0, 0, 0, 5, 5, 5, 5, 5)
    train, val = split_samples(of(labels))
    assert [int((labels[train] == label).sum()) for label in (-1, 0, 5)] == [0, 4, 4]
    assert [int((labels[val] == label).sum()) for label in (-1, 0, 5)] == [0, 1, 1]


def test_a_single_sample_is_held_back() -> None:
    train, val = split_samples(of(ints(3)))
    assert (train.tolist(), val.tolist()) == ([], [0])


@settings(deadline=None)
@given(many_labels, st.randoms(use_true_random=False))
def test_samples_that_stand_in_another_order_are_split_alike_by_their_source_order(
    labels: Rows, shuffle: random.Random
) -> None:
    places = list(range(len(labels)))
    shuffle.shuffle(places)  # places[i] is where sample i of the source stands
    stored = np.empty_like(labels)
    stored[places] = labels
    train, val = split_samples(of(stored, np.array(places, np.int64)))
    expected_train, expected_val = split_samples(of(labels))
    assert train.tolist() == [places[row] for row in expected_train]
    assert val.tolist() == [places[row] for row in expected_val]


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, float("nan")])
def test_a_train_ratio_that_cannot_be_meant(ratio: float) -> None:
    with pytest.raises(UsageError, match="train_ratio"):
        split_samples(of(ints(*ELEVEN)), train_ratio=ratio)


@settings(deadline=None)
@given(many_labels, st.integers(0, 1), st.integers(0, 99))
def test_an_open_set_has_every_row_once(labels: Rows, fold: int, seed: int) -> None:
    options: Any = {"n_folds": 2, "fold": fold, "unknown_per_fold": 1, "seed": seed}
    if len(set(labels[labels >= 0].tolist())) < 2:
        with pytest.raises(UsageError):
            open_set(of(labels), **options)
        return
    found = open_set(of(labels), **options, train_ratio=0.5)
    assert list(found.parts) == ["train", "val", "unknown"]
    assert found.rows("train", "val", "unknown").tolist() == list(range(len(labels)))
    held = held_out(labels, **options)
    assert found.labels == held.known
    assert set(labels[found["unknown"]].tolist()) - {-1} == set(held.unknown)
    assert set(labels[found.rows("train", "val")].tolist()) == set(held.known)
    again, _ = split_samples(of(labels), held.known, train_ratio=0.5, seed=seed)
    assert found["train"].tolist() == sorted(again.tolist())


def test_without_a_seed_the_first_samples_are_trained_on() -> None:
    labels = ints(0, 1, 0, 1, 0, 1, 0, 1)
    train, val = split_samples(of(labels, ints(*range(7, -1, -1))), train_ratio=0.5, seed=None)
    assert (train.tolist(), val.tolist()) == ([7, 5, 6, 4], [3, 1, 2, 0])
