from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given as example
from hypothesis import settings
from hypothesis import strategies as st

from lmdb_reid.errors import UnknownColumnError, UsageError
from lmdb_reid.schema import Rows
from training.splits import Candidates, by_group, by_identity, given, stratified


def ints(*values: int) -> Rows:
    return np.array(values, np.int64)


def grouped(groups: Rows, labels: Rows | None = None) -> Candidates:
    labels = np.zeros(len(groups), np.int64) if labels is None else labels
    return Candidates(labels=labels, columns={"group": groups})


labels_and_cameras = st.lists(
    st.tuples(st.integers(-1, 6), st.integers(0, 2)), min_size=2, max_size=60
)


@settings(deadline=None)
@example(labels_and_cameras, st.integers(1, 2), st.integers(0, 9))
def test_by_identity_nobody_is_on_both_sides(
    pairs: list[tuple[int, int]], queries: int, seed: int
) -> None:
    labels, cameras = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    candidates = Candidates(labels=labels, columns={"camera": cameras})
    if len(candidates.identities) < 2:
        with pytest.raises(UsageError, match="two identities"):
            by_identity(candidates, seed=seed)
        return
    split = by_identity(candidates, queries=queries, seed=seed)
    assert split.rows("train", "query", "gallery").tolist() == list(range(len(labels)))
    trained = set(labels[split["train"]].tolist())
    searched = set(labels[split.rows("query", "gallery")].tolist()) - {-1}
    assert not trained & searched
    assert split.labels == sorted(trained)
    for row in split["query"].tolist():
        assert labels[row] in labels[split["gallery"]]
        same = (labels == labels[row]) & (cameras == cameras[row])
        assert np.isin(np.flatnonzero(same), split["query"]).sum() <= queries


def test_by_identity_searches_for_one_sample_of_each_camera() -> None:
    labels = np.repeat(np.arange(4), 12).astype(np.int64)
    cameras = np.tile(np.array(["a", "b", "c"]), 16)
    split = by_identity(Candidates(labels=labels, columns={"angle": cameras}), camera="angle")
    assert len(split.labels) == 2
    assert len(split["query"]) == 2 * 3
    assert sorted(cameras[split["query"]].tolist()) == ["a", "a", "b", "b", "c", "c"]
    assert len(split["gallery"]) == 2 * 12 - 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_ratio": 0.0}, "test_ratio must be above 0"),
        ({"test_ratio": 1.0}, "below 1"),
        ({"queries": 0}, "queries 1 or more"),
    ],
)
def test_by_identity_refuses_numbers_out_of_range(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        by_identity(Candidates(labels=ints(0, 1)), **options)


@settings(deadline=None)
@example(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 3)), min_size=2, max_size=60),
    st.integers(0, 99),
)
def test_no_group_is_torn_and_each_is_held_back_once(
    pairs: list[tuple[int, int]], seed: int
) -> None:
    groups, labels = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    names = set(groups.tolist())
    for n_folds in range(2, len(names) + 1):
        held: list[int] = []
        for fold in range(n_folds):
            split = by_group(
                grouped(groups, labels), group="group", n_folds=n_folds, fold=fold, seed=seed
            )
            back = split.rows("val", "unknown")
            assert not set(groups[split["train"]].tolist()) & set(groups[back].tolist())
            assert set(labels[split["val"]].tolist()) <= set(split.labels)
            assert not set(labels[split["unknown"]].tolist()) & set(split.labels)
            rest = set(range(len(groups))) - {*split["train"].tolist(), *back.tolist()}
            assert {int(labels[row]) for row in rest} <= {-1}
            held += sorted(set(groups[back].tolist()))
        assert sorted(held) == sorted(names)


def test_group_folds_are_of_even_size() -> None:
    groups = np.repeat(np.arange(5), [20, 30, 50, 30, 20]).astype(np.int64)
    splits = [by_group(grouped(groups), group="group", n_folds=3, fold=fold) for fold in range(3)]
    assert [len(split["val"]) for split in splits] == [50, 50, 50]


def test_several_columns_make_a_group_together() -> None:
    columns: dict[str, Any] = {
        "quarter": np.array(["Q1", "Q1", "Q2", "Q2", "Q1"]),
        "session": ints(0, 1, 0, 1, 0),
    }
    candidates = Candidates(labels=ints(0, 0, 0, 0, 0), columns=columns)
    codes = candidates.codes("quarter", "session")
    assert codes[0] == codes[4] and len(set(codes.tolist())) == 4
    split = by_group(candidates, group=("quarter", "session"), n_folds=4)
    assert split["val"].tolist() == [0, 4]  # the largest is dealt first


@pytest.mark.parametrize(
    ("n_folds", "fold", "message"),
    [
        (1, 0, "2 to 3"),
        (4, 0, "2 to 3"),
        (2, 2, "0 to 1, one of 2 folds, got 2"),
        (2, -1, "got -1"),
    ],
)
def test_group_folds_out_of_range_are_refused(n_folds: int, fold: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        by_group(grouped(ints(0, 1, 2, 2)), group="group", n_folds=n_folds, fold=fold)


def test_a_column_that_is_missing_is_named_beside_those_that_are_there() -> None:
    with pytest.raises(UnknownColumnError, match=r"'nosuch'.*There are: group"):
        by_group(grouped(ints(0, 1)), group="nosuch")
    with pytest.raises(UnknownColumnError, match="There are: none"):
        given(Candidates(labels=ints(0)))


def test_stratified_has_everybody_on_both_sides() -> None:
    split = stratified(Candidates(labels=ints(0, 0, 0, 0, 0, 7, 7, 7, 7, 7, -1)))
    assert split.labels == [0, 7]
    assert (len(split["train"]), len(split["val"])) == (8, 2)
    assert 10 not in split.rows("train", "val")


def test_the_sources_own_parts_can_be_renamed() -> None:
    columns = {"split": np.array(["train", "test", "query", "", "train", "more"])}
    candidates = Candidates(labels=ints(3, 4, 4, 4, 1, 4), columns=columns)
    split = given(candidates, names={"test": "gallery", "more": "gallery"})
    parts = {name: rows.tolist() for name, rows in split.parts.items()}
    assert parts == {"train": [0, 4], "gallery": [1, 5], "query": [2]}
    assert split.labels == [1, 3]
    with pytest.raises(UsageError, match="it names a, b"):
        given(candidates, names={"train": "a", "test": "a", "query": "b", "more": "b"})
