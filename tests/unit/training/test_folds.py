from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import SourceError, SourceNotFoundError, UsageError
from lmdb_reid.schema import Rows
from training.folds import (
    fold_labels,
    group_codes,
    load_fold,
    open_set_fold,
    ratio_labels,
    save_fold,
    split_groups,
    split_known,
    unknown_rows,
    with_labels,
)

ELEVEN = np.arange(11, dtype=np.int64)


def ints(*values: int) -> Rows:
    return np.array(values, np.int64)


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
    held = [fold_labels(labels, n_folds=3, fold=fold, seed=7).unknown for fold in range(3)]
    assert sorted(label for labels in held for label in labels) == [3, 5, 7, 9, 11, 100]


def test_labels_below_zero_make_no_folds() -> None:
    labels = ints(-1, 0, -1, 1, 2, -1)
    fold = fold_labels(labels, n_folds=1, unknown_per_fold=1)
    assert sorted(fold.known + fold.unknown) == [0, 1, 2]


def test_neither_order_nor_number_of_samples_moves_a_label() -> None:
    once = fold_labels(ELEVEN, fold=3)
    assert fold_labels(np.repeat(ELEVEN[::-1], 7), fold=3) == once
    assert fold_labels(ELEVEN, fold=3, seed=1) != once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_folds": 6}, "6 folds of 2 unknown labels need 12, and there are 11"),
        ({"n_folds": 4, "unknown_per_fold": 3}, "need 12, and there are 11"),
        ({"n_folds": 0}, "n_folds=0"),
        ({"unknown_per_fold": 0}, "unknown_per_fold=0"),
        ({"fold": 5}, "fold 5 of 5: give 0 to 4"),
        ({"fold": -1}, "fold -1 of 5"),
        ({"n_folds": 1, "unknown_per_fold": 11}, "none is left to train on"),
    ],
)
def test_folds_that_cannot_be_meant(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fold_labels(ELEVEN, **options)


def test_as_many_folds_as_labels_allow() -> None:
    labels = np.arange(10, dtype=np.int64)
    assert len(fold_labels(labels, n_folds=5, fold=4).unknown) == 2


@pytest.mark.parametrize(
    ("ratio", "count"), [(0, 0), (0.01, 1), (0.2, 2), (0.28, 3), (0.5, 5), (0.95, 10)]
)
def test_a_share_of_the_labels(ratio: float, count: int) -> None:
    held = ratio_labels(ELEVEN, unknown_ratio=ratio)
    assert len(held.unknown) == count
    assert sorted(held.known + held.unknown) == ELEVEN.tolist()
    if count:
        assert held == fold_labels(ELEVEN, n_folds=1, unknown_per_fold=count)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_a_share_that_cannot_be_meant(ratio: float) -> None:
    with pytest.raises(UsageError, match="unknown_ratio"):
        ratio_labels(ELEVEN, unknown_ratio=ratio)


@pytest.mark.parametrize("labels", [ints(), ints(-1, -1), ints(4, 4)])
def test_too_few_labels_for_a_share(labels: Rows) -> None:
    with pytest.raises(UsageError, match="none is left to train on"):
        ratio_labels(labels)


# rows


def test_rows_by_label() -> None:
    labels = ints(3, -1, 5, 3, 7, -1)
    assert with_labels(labels, [3, 7]).tolist() == [0, 3, 4]
    assert unknown_rows(labels, [5]).tolist() == [1, 2, 5]
    assert with_labels(labels, []).tolist() == []
    assert unknown_rows(labels, []).tolist() == [1, 5]
    assert {with_labels(labels, []).dtype, unknown_rows(labels, [5]).dtype} == {np.dtype("int64")}


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
    train, val = split_known(labels, sorted(known), train_ratio=ratio, seed=seed)
    assert (set(train.tolist()), set(val.tolist())) == guides_split(
        labels.tolist(), known, ratio, seed
    )
    for rows in (train, val):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


def test_all_labels_from_zero_up_are_known_unless_told() -> None:
    labels = ints(-1, 0, 0, 0, 0, 0, 5, 5, 5, 5, 5)
    train, val = split_known(labels)
    assert [int((labels[train] == label).sum()) for label in (-1, 0, 5)] == [0, 4, 4]
    assert [int((labels[val] == label).sum()) for label in (-1, 0, 5)] == [0, 1, 1]


def test_a_single_sample_is_held_back() -> None:
    train, val = split_known(ints(3))
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
    train, val = split_known(stored, order=np.array(places, np.int64))
    expected_train, expected_val = split_known(labels)
    assert train.tolist() == sorted(places[row] for row in expected_train)
    assert val.tolist() == sorted(places[row] for row in expected_val)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, float("nan")])
def test_a_train_ratio_that_cannot_be_meant(ratio: float) -> None:
    with pytest.raises(UsageError, match="train_ratio"):
        split_known(ELEVEN, train_ratio=ratio)


@settings(deadline=None)
@given(many_labels, st.integers(0, 1), st.integers(0, 99))
def test_an_open_set_fold_has_every_row_once(labels: Rows, fold: int, seed: int) -> None:
    options: Any = {"n_folds": 2, "fold": fold, "unknown_per_fold": 1, "seed": seed}
    if len(set(labels[labels >= 0].tolist())) < 2:
        with pytest.raises(UsageError):
            open_set_fold(labels, **options)
        return
    found = open_set_fold(labels, **options, train_ratio=0.5)
    rows = np.concatenate([found.train, found.val, found.unknown])
    assert sorted(rows.tolist()) == list(range(len(labels)))
    assert set(labels[found.unknown].tolist()) - {-1} == set(found.unknown_labels)
    assert set(labels[np.concatenate([found.train, found.val])].tolist()) == set(found.known_labels)
    assert not set(found.known_labels) & set(found.unknown_labels)
    again, _ = split_known(labels, found.known_labels, train_ratio=0.5, seed=seed)
    assert found.train.tolist() == again.tolist()
    assert fold_labels(labels, **options) == (found.known_labels, found.unknown_labels)


# groups


@settings(deadline=None)
@given(
    st.lists(st.integers(-1, 9), min_size=2, max_size=60).map(lambda v: ints(*v)),
    st.integers(0, 99),
)
def test_no_group_is_torn_and_each_is_held_back_once(groups: Rows, seed: int) -> None:
    names = set(groups[groups >= 0].tolist())
    for n_folds in range(2, len(names) + 1):
        held: list[int] = []
        for fold in range(n_folds):
            train, val = split_groups(groups, n_folds=n_folds, fold=fold, seed=seed)
            in_train, in_val = set(groups[train].tolist()), set(groups[val].tolist())
            assert not in_train & in_val
            assert in_train | in_val == names
            assert in_val
            assert sorted([*train, *val]) == np.flatnonzero(groups >= 0).tolist()
            held += in_val
        assert sorted(held) == sorted(names)


def test_group_folds_are_of_even_size() -> None:
    groups = np.repeat(np.arange(5), [20, 30, 50, 30, 20]).astype(np.int64)
    sizes = [len(split_groups(groups, n_folds=3, fold=fold)[1]) for fold in range(3)]
    assert sorted(sizes) == [50, 50, 50]


def test_seeds_make_other_group_folds() -> None:
    groups = np.arange(12, dtype=np.int64)
    folds = {tuple(split_groups(groups, n_folds=4, seed=seed)[1]) for seed in range(9)}
    assert len(folds) > 5
    first, again = (split_groups(groups, n_folds=4)[1].tolist() for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("n_folds", "fold", "message"),
    [(1, 0, "give 2 to 3"), (4, 0, "give 2 to 3"), (2, 2, "fold 2 of 2"), (2, -1, "fold -1")],
)
def test_group_folds_that_cannot_be_meant(n_folds: int, fold: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split_groups(ints(0, 1, 2, 2, -1), n_folds=n_folds, fold=fold)


def test_a_session_is_a_number_within_its_quarter() -> None:
    quarter = np.array(["Q1", "Q1", "Q2", "Q2", "Q1"])
    session = ints(0, 1, 0, 1, 0)
    codes = group_codes(quarter, session)
    assert codes.dtype == np.int64
    assert codes[0] == codes[4]
    assert len(set(codes.tolist())) == 4
    assert group_codes(quarter).tolist() == [0, 0, 1, 1, 0]
    assert codes.min() >= 0


# the csv of a fold


def test_a_fold_comes_back_from_its_csv(tmp_path: Path) -> None:
    labels = ints(0, 0, 0, 1, 1, 1, 2, 2, -1, 3)
    ids = [f"Zürich__{row}#000" for row in range(10)]
    fold = open_set_fold(labels, n_folds=2, unknown_per_fold=1, train_ratio=0.7)
    path = tmp_path / "made" / "fold.csv"
    save_fold(path, fold, ids, labels)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "id,part,label_id"
    assert [line.split(",")[0] for line in lines[1:]] == ids
    assert lines[9] == "Zürich__8#000,unknown,-1"

    back = load_fold(path, ids)
    for part in ("train", "val", "unknown"):
        assert getattr(back, part).tolist() == getattr(fold, part).tolist(), part
        assert getattr(back, part).dtype == np.int64
    assert (back.known_labels, back.unknown_labels) == (fold.known_labels, fold.unknown_labels)


def test_a_fold_is_found_again_among_more_samples_in_another_order(tmp_path: Path) -> None:
    labels = ints(0, 0, 1, 1, 2, -1)
    ids = list("abcdef")
    fold = open_set_fold(labels, n_folds=2, unknown_per_fold=1, train_ratio=0.5)
    save_fold(tmp_path / "fold.csv", fold, ids, labels)
    others = ["new", *reversed(ids)]
    back = load_fold(tmp_path / "fold.csv", others)
    for part in ("train", "val", "unknown"):
        rows = getattr(back, part).tolist()
        assert {others[row] for row in rows} == {ids[row] for row in getattr(fold, part)}
        assert rows == sorted(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a fold"),
        ("id,part\na,train\n", "id,part,label_id is wanted, it has id,part"),
        ("id,part,label_id\na,train\n", "line 2 has other cells"),
        ("id,part,label_id\na,train,1\nb,test,1\n", "line 3: 'test', '1' are no part"),
        ("id,part,label_id\na,train,one\n", "line 2: 'train', 'one'"),
        ("id,part,label_id\na,train,1\nx,val,1\n", "line 3: 'x' is not among the 2 samples"),
        ("id,part,label_id\na,train,1\na,val,1\n", "line 3: 'a' .* second time"),
    ],
)
def test_a_csv_that_is_no_fold_of_these(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fold.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=message) as caught:
        load_fold(path, ["a", "b"])
    assert str(path) in str(caught.value)


def test_no_fold_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"no fold at .*fold\.csv"):
        load_fold(tmp_path / "fold.csv", [])
