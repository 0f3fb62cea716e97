from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid.errors import SourceError, SourceNotFoundError, UsageError
from training.splits import Candidates, Split, load_split, open_set, save_split

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, -1, 3], np.int64)
IDS = [f"Zürich__{row}#000" for row in range(10)]
HEAD = "id,part,label_id,class"
JSON = '{"version": 1, "labels": %s, "parts": %s}'


def fold() -> Split:
    return open_set(Candidates(labels=LABELS), n_folds=2, unknown_per_fold=1, train_ratio=0.7)


def same(one: Split, other: Split) -> bool:
    parts = [{name: rows.tolist() for name, rows in each.parts.items()} for each in (one, other)]
    return parts[0] == parts[1] and one.labels == other.labels


@pytest.mark.parametrize("name", ["split.csv", "split.json"])
def test_a_split_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "folder" / name
    save_split(path, fold(), IDS, LABELS)
    back = load_split(path, IDS)
    assert same(back, fold())
    assert {rows.dtype for rows in back.parts.values()} == {np.dtype("int64")}


def test_a_csv_has_a_line_for_each_sample(tmp_path: Path) -> None:
    save_split(tmp_path / "s.csv", fold(), IDS, LABELS)
    lines = (tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == HEAD
    assert [line.split(",")[0] for line in lines[1:]] == IDS
    assert lines[9] == "Zürich__8#000,unknown,-1,-1"


@pytest.mark.parametrize("name", ["split.csv", "split.json"])
def test_a_split_is_found_again_among_more_samples_in_another_order(
    tmp_path: Path, name: str
) -> None:
    save_split(tmp_path / name, fold(), IDS, LABELS)
    others = ["new", *reversed(IDS)]
    back = load_split(tmp_path / name, others)
    for part, rows in back.parts.items():
        assert {others[row] for row in rows} == {IDS[row] for row in fold()[part]}
        assert rows.tolist() == sorted(rows.tolist())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.csv", "", "is not a split"),
        ("s.csv", "id,part\na,train\n", "line 1 must be id,part,label_id,class, got id,part"),
        ("s.csv", f"{HEAD}\na,train\n", "line 2 has 2 cells instead of 4"),
        ("s.csv", f"{HEAD}\na,train,one,0\n", "line 2: 'one' and '0' must be whole"),
        ("s.csv", f"{HEAD}\na,train,1,0\nx,val,1,0\n", "'x' of part 'val' is not among the 2"),
        ("s.csv", f"{HEAD}\na,train,1,0\na,val,1,0\n", "'a' of part 'val' .* occurs twice"),
        ("s.json", "[]", 'no "version": 1'),
        ("s.json", '{"version": 2}', 'no "version": 1'),
        ("s.json", '{"version": 1, "labels": []}', "parts"),
        ("s.json", "{", "is not a split"),
        ("s.json", "[" * 100_000, "nested deeper than 32"),
        ("s.json", JSON % ("[1e999]", "{}"), "labels must be a list of whole numbers .* got .inf"),
        ("s.json", JSON % ("[1.5]", "{}"), r"labels must be a list of whole numbers .* got \[1.5"),
        ("s.json", JSON % ('"12"', "{}"), "labels must be a list of whole numbers"),
        ("s.json", JSON % (f"[{10**30}]", "{}"), "labels must be a list of whole numbers"),
        ("s.json", JSON % ("[]", '[["a"]]'), "parts must be a map, got list"),
        ("s.json", JSON % ("[]", "null"), "parts must be a map, got NoneType"),
        ("s.json", JSON % ("[]", '{"train": "ab"}'), "parts.train must be a list of texts"),
        ("s.json", JSON % ("[]", '{"train": {"a": 1}}'), "parts.train must be a list of texts"),
        ("s.json", JSON % ("[]", '{"train": ["a"], "train": []}'), "'train' occurs twice"),
        ("s.csv", f"{HEAD}\na,train,{10**30},0\n", "line 2: label_id must be in"),
        ("s.csv", f"{HEAD}\na,train,1,0\nb,train,2,0\n", "line 3: class 0 must be of one label_id"),
    ],
)
def test_a_file_that_is_no_split_of_these(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SourceError, match=message) as caught:
        load_split(path, ["a", "b"])
    assert str(path) in str(caught.value)


def test_names_that_no_split_has(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"no split at .*split\.csv"):
        load_split(tmp_path / "split.csv", [])
    with pytest.raises(UsageError, match=r"must end in \.csv or \.json"):
        save_split(tmp_path / "split.txt", fold(), IDS, LABELS)


@pytest.mark.parametrize("name", ["s.csv", "s.json"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="not a regular file"):
        load_split(tmp_path / name, ["a"])
    with pytest.raises(UsageError, match="must be a path, got None"):
        load_split(None, ["a"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rows", ["abc", [0.5], [[1, 2]], [[1], [1, 2]], [True, False], [1 << 70], 3, ["a"], None]
)
def test_rows_that_are_none_are_refused(rows: Any) -> None:
    with pytest.raises(UsageError, match="part 'train' must be a list of rows"):
        Split(parts={"train": rows}, labels=[])


def test_parts_and_labels_of_another_type_are_refused() -> None:
    with pytest.raises(UsageError, match="parts must be a map"):
        Split(parts=None, labels=[])  # type: ignore[arg-type]
    for labels in (None, [0.5], ["a"]):
        with pytest.raises(UsageError, match="labels must be a list of whole numbers"):
            Split(parts={}, labels=labels)  # type: ignore[arg-type]


def test_a_row_in_two_parts_is_refused() -> None:
    with pytest.raises(UsageError, match="row 3 is in a and b"):
        Split(parts={"a": np.array([3, 1]), "b": np.array([3])}, labels=[])


def test_a_split_can_be_pickled_printed_and_moved() -> None:
    split = pickle.loads(pickle.dumps(fold()))
    assert same(split, fold())
    assert repr(split) == "Split(train 3, val 3, unknown 4; 3 labels)" or "labels)" in repr(split)
    moved = split.among(np.arange(100, 110))
    assert moved["train"].tolist() == (fold()["train"] + 100).tolist()
    assert moved["nosuch"].tolist() == [] and "nosuch" not in moved and "train" in moved
