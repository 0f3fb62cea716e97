"""Data that was copied, and so stands on both sides of a split."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid.codec import encode
from lmdb_reid.dataset import Selection
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from lmdb_reid.store import StoreWriter
from training import Split, StoreData, by_group


def new_store(path: Path, pictures: Sequence[int], matches: str = "AAAABBBB") -> Path:
    """Samples 0, 1, 2 ... of two people; those with one number in `pictures` are the same bytes."""
    with StoreWriter(path) as writer:
        for number, seed in enumerate(pictures):
            pixels = np.random.default_rng(seed).integers(0, 255, (16, 8, 3), np.uint8)
            record = {"label": number % 2, "match": matches[number]}
            writer.put(f"s{number}", encode(pixels), record)
        writer.seal()
    return path


def halves(count: int = 8, **more: Sequence[int]) -> Split:
    taken = {row for rows in more.values() for row in rows}
    rows = [row for row in range(count) if row not in taken]
    middle = len(rows) // 2
    parts = {"train": rows[:middle], "val": rows[middle:], **more}
    return Split(parts={name: np.array(each) for name, each in parts.items()}, labels=[0, 1])


def heard(data: StoreData) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data.setup()
    return [str(one.message) for one in found]


def test_samples_that_were_copied_are_named(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.lmdb", [0, 1, 2, 3, 0, 1, 2, 7])
    (message,) = heard(StoreData(store, halves()))
    assert message.startswith("3 of 4 samples of val show the same picture as one of train")
    assert "s4 is s0, s5 is s1, s6 is s2. Leave" in message


def test_many_are_counted_and_some_are_named(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.lmdb", [0, 1, 2, 3, 0, 1, 2, 3])
    (message,) = heard(StoreData(store, halves()))
    assert "4 of 4 samples" in message and "s6 is s2, ..." in message and "s7" not in message


def test_a_query_that_is_in_the_gallery_is_one_too(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.lmdb", [0, 1, 2, 3, 4, 5, 5, 7])
    (message,) = heard(StoreData(store, halves(query=[5], gallery=[6, 7])))
    assert "1 of 2 samples of gallery show the same picture as one of query" in message


def test_copies_within_a_part_are_no_matter(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.lmdb", [0, 1, 0, 3, 4, 5, 4, 7])
    assert heard(StoreData(store, halves())) == []


def test_a_rule_that_keeps_copies_together_is_the_cure(tmp_path: Path) -> None:
    def by_match(candidates: Any) -> Split:
        return by_group(candidates, group="match", n_folds=2)

    store = new_store(tmp_path / "s.lmdb", [0, 1, 0, 1, 4, 5, 4, 5], "AAAABBBB")
    assert heard(StoreData(store, by_match)) == []


class Unstored:
    """Samples that no store holds, and so nobody knows the bytes of."""

    ids = ("a", "b")
    order: Rows = np.arange(2)
    column_names = ("label",)

    def column(self, name: str) -> Any:
        return np.arange(2) if name == "label" else None

    def select(self, rows: Rows, labels: Rows, transform: Any) -> Selection:
        raise AssertionError("nothing is read")


def test_samples_of_another_kind_are_not_asked_for_what_they_lack() -> None:
    assert heard(StoreData(Unstored(), halves(2))) == []


def test_a_trainers_warning_filter_may_make_it_an_error(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s.lmdb", [0, 1, 2, 3, 0, 5, 6, 7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="s4 is s0"):
            StoreData(store, halves()).setup()


@pytest.mark.parametrize("rule", [5, None, {"train": [1]}])
def test_what_is_no_split_and_no_rule_is_refused(tmp_path: Path, rule: Any) -> None:
    data = StoreData(new_store(tmp_path / "a.lmdb", range(8)), rule)
    with pytest.raises(UsageError, match="must be a Split, a file of lmdb-reid split, or a rule"):
        data.setup()
    other = StoreData(tmp_path / "a.lmdb", lambda candidates: rule)
    with pytest.raises(UsageError, match="a rule must return a Split"):
        other.setup()
