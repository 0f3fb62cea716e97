from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits import Split, picture_keys, shared_between_parts

PARTS = ("train", "val", "query")


def ints(*values: int) -> Rows:
    return np.array(values, np.int64)


def test_the_same_picture_in_two_parts_is_found_with_its_rows() -> None:
    keys = ints(5, 6, 7, 8, 7, 5, 7, 9)
    split = Split(parts={"train": ints(0, 1, 2, 4), "val": ints(3, 5, 6, 7)}, labels=[])
    (shared,) = shared_between_parts(split, keys)
    assert (shared.part, shared.other) == ("val", "train")
    assert shared.rows.tolist() == [5, 6]
    assert shared.others.tolist() == [0, 2], "the first row of train that is the same"


def test_the_same_picture_twice_in_one_part_is_no_leak() -> None:
    split = Split(parts={"train": ints(0, 1), "val": ints(2, 3)}, labels=[])
    assert shared_between_parts(split, ints(1, 1, 2, 2)) == []


def test_keys_below_0_are_like_no_other() -> None:
    split = Split(parts={"train": ints(0, 1), "val": ints(2, 3)}, labels=[])
    (shared,) = shared_between_parts(split, ints(-1, 4, -1, 4))
    assert (shared.rows.tolist(), shared.others.tolist()) == ([3], [1])


def test_parts_of_no_rows_share_nothing() -> None:
    split = Split(parts={"train": ints(), "val": ints(0), "test": ints()}, labels=[])
    assert shared_between_parts(split, ints(3)) == []


def test_a_row_without_a_key_is_refused() -> None:
    split = Split(parts={"train": ints(0), "val": ints(9)}, labels=[])
    with pytest.raises(UsageError, match="to row 9; got 5"):
        shared_between_parts(split, np.zeros(5, np.int64))


def test_pictures_are_told_apart_by_checksum_and_size() -> None:
    crc32 = np.array([0xFFFFFFFF, 0xFFFFFFFF, 0, 1], np.uint32)
    size = np.array([10, 11, 0xFFFFFFFF, 0], np.uint32)
    keys = picture_keys(crc32, size)
    assert keys.dtype == np.uint64
    assert [int(key) for key in keys] == [
        (10 << 32) + 0xFFFFFFFF,
        (11 << 32) + 0xFFFFFFFF,
        0xFFFFFFFF << 32,
        1,
    ]
    split = Split(parts={"train": ints(0, 2), "val": ints(1, 3)}, labels=[])
    assert shared_between_parts(split, keys) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 5), st.sampled_from([None, *PARTS])), max_size=40))
def test_it_is_what_a_comparison_of_all_pairs_finds(
    samples: list[tuple[int, str | None]],
) -> None:
    keys = np.array([key for key, _ in samples], np.int64)
    parts = {
        name: np.array([row for row, (_, part) in enumerate(samples) if part == name], np.int64)
        for name in PARTS
    }
    found = {
        (each.part, each.other): list(zip(each.rows.tolist(), each.others.tolist(), strict=True))
        for each in shared_between_parts(Split(parts=parts, labels=[]), keys)
    }
    wanted = {}
    for before, other in enumerate(PARTS):
        for part in PARTS[before + 1 :]:
            pairs = []
            for row in parts[part].tolist():
                same = [one for one in parts[other].tolist() if keys[one] == keys[row] >= 0]
                pairs += [(row, same[0])] if same else []
            if pairs:
                wanted[part, other] = pairs
    assert found == wanted
