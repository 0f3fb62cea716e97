from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits import LEAK_KINDS, Facts, Split, find_leaks, repair

NAMES = [
    ("train", "val", "unknown"),
    ("train", "query", "gallery"),
    ("train", "val", "test"),
    ("train", "unknown", "gallery"),
]


def ints(*values: int) -> Rows:
    return np.array(values, np.int64)


def parts_of(split: Split) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in split.parts.items()}


def of(labels: Rows, **parts: list[int]) -> Split:
    train = labels[parts.get("train", [])]
    return Split(
        parts={name: np.array(rows, np.int64) for name, rows in parts.items()},
        labels=np.unique(train[train >= 0]).tolist(),
    )


samples = st.lists(
    st.tuples(
        st.integers(0, 15),  # part, modulo 4; 3 is none
        st.integers(-1, 8),  # label
        st.integers(-1, 15),  # group
        st.integers(0, 40),  # picture
        st.integers(0, 30),  # hash family
        st.integers(0, 5),  # bits that differ
    ),
    min_size=3,
    max_size=40,
)


@settings(deadline=None, max_examples=80)
@given(samples, st.sampled_from(NAMES), st.booleans(), st.sets(st.sampled_from(LEAK_KINDS)))
def test_a_repaired_split_has_no_leak(
    rows: list[tuple[int, ...]], names: tuple[str, ...], has_cameras: bool, apart: set[Any]
) -> None:
    part, labels, groups, pictures, family, bits = map(np.array, zip(*rows, strict=True))
    families = np.random.default_rng(3).integers(0, 2**62, 31)
    facts = Facts(
        labels=labels,
        groups=groups,
        tracks=groups * 9 + labels + 1,
        copies=pictures.astype(np.uint64),
        hashes=families[family] ^ ((1 << bits) - 1),
        has_cameras=has_cameras,
    )
    parts = {name: np.flatnonzero(part % 4 == number) for number, name in enumerate(names)}
    assume(all(len(each) for each in parts.values()))
    split = Split(parts=parts, labels=[])
    try:
        found, moved, left_out = repair(split, facts, apart=sorted(apart))
    except UsageError as error:
        assert "must have samples in each part" in str(error)
        return
    assert find_leaks(found, facts).found(apart) == []
    before, after = set(split.rows(*names).tolist()), set(found.rows(*names).tolist())
    assert after <= before and len(before - after) == left_out
    assert (labels[sorted(before - after)] < 0).all()
    same = sum(len(np.intersect1d(parts[name], found[name])) for name in names)
    assert moved == len(after) - same
    train = labels[found["train"]]
    assert found.labels == np.unique(train[train >= 0]).tolist()


def test_a_clean_split_stays_as_it_is() -> None:
    labels = ints(0, 0, 1, 1, 0, 2)
    split = of(labels, train=[0, 1, 2], val=[4, 3], unknown=[5])
    facts = Facts(labels=labels, copies=np.arange(6, dtype=np.uint64))
    found = repair(split, facts)
    assert (parts_of(found.split), found.moved) == (parts_of(split), 0)
    assert found.split.labels == split.labels == [0, 1]


def test_copies_go_to_where_most_of_them_are() -> None:
    labels = ints(0, 0, 0, 0, 0, 0, 1, 1)
    split = of(labels, train=[0, 1, 2, 6], val=[3, 4, 5, 7])
    copies = np.array([5, 5, 6, 5, 6, 6, 7, 8], np.uint64)
    found = repair(split, Facts(labels=labels, copies=copies))
    assert parts_of(found.split) == {"train": [0, 1, 3, 6], "val": [2, 4, 5, 7]}
    assert found.moved == 2


def test_what_is_connected_through_others_moves_together() -> None:
    """0 looks like 1, 1 like 2, but 0 not like 2."""
    labels = ints(0, 0, 0, 1, 1)
    hashes = np.array([0, 0b111, 0b111111, 1 << 40, 1 << 60], np.int64) ^ 0x0F0F0F0F0F0F0F
    split = of(labels, train=[1, 2, 3], val=[0, 4])
    hashes[4] ^= 0x3FFF << 30
    found = repair(split, Facts(labels=labels, hashes=hashes))
    assert parts_of(found.split) == {"train": [0, 1, 2, 3], "val": [4]}


def test_an_identity_in_train_and_gallery_goes_to_one_of_them() -> None:
    labels = ints(0, 0, 0, 1, 1, 2, 2)
    split = of(labels, train=[0, 1, 3], query=[2, 5], gallery=[4, 6])
    found = repair(split, Facts(labels=labels)).split
    assert parts_of(found) == {"train": [0, 1, 2, 3, 4], "query": [5], "gallery": [6]}
    assert found.labels == [0, 1]


def test_a_copy_of_a_query_leaves_the_query() -> None:
    labels = ints(0, 1, 1, 1, 1)
    copies = np.array([1, 2, 2, 2, 3], np.uint64)
    split = of(labels, train=[0], query=[1, 4], gallery=[2, 3])
    found = repair(split, Facts(labels=labels, copies=copies)).split
    assert parts_of(found) == {"train": [0], "query": [4], "gallery": [1, 2, 3]}


def test_moving_one_sample_takes_its_identity_along() -> None:
    """Row 0 is a copy of 4, 5 and 7; once it is in the gallery, its identity must follow."""
    labels = ints(0, 0, 1, 1, 5, 6, 7, 8)
    copies = np.array([9, 1, 2, 3, 9, 9, 4, 9], np.uint64)
    split = of(labels, train=[0, 1, 2, 3], query=[6], gallery=[4, 5, 7])
    found = repair(split, Facts(labels=labels, copies=copies))
    assert parts_of(found.split) == {"train": [2, 3], "query": [6], "gallery": [0, 1, 4, 5, 7]}
    assert found.split.labels == [1] and found.moved == 2


def test_nobody_unknown_comes_to_be_trained_on() -> None:
    labels = ints(0, 0, -1, 1, 1)
    copies = np.array([1, 1, 1, 2, 3], np.uint64)
    split = of(labels, train=[0, 1, 3], val=[4], unknown=[2])
    with pytest.raises(UsageError, match="got none in unknown"):
        repair(split, Facts(labels=labels, copies=copies))
    labels = np.append(labels, -1)
    split = of(labels, train=[0, 1, 3], val=[4], unknown=[2, 5])
    found = repair(split, Facts(labels=labels, copies=np.append(copies, np.uint64(4))))
    assert parts_of(found.split) == {"train": [0, 1, 3], "val": [4], "unknown": [5]}
    assert (found.moved, found.left_out) == (0, 1)


def test_groups_that_connect_everything_are_refused() -> None:
    labels = ints(0, 1, 2, 3)
    split = of(labels, train=[0, 1], gallery=[2], query=[3])
    with pytest.raises(UsageError, match="Keep fewer kinds apart"):
        repair(split, Facts(labels=labels, groups=ints(0, 0, 0, 0)))
