from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid.errors import UsageError, WriteError
from training.ranking import FeatureDistances, nearest, write_soccernet, write_submission


def test_a_ranking_lists_all_entries_of_the_action_the_nearest_first(tmp_path: Path) -> None:
    distances = np.array([[0.3, 0.1, 0.2, 0.0], [0.5, 0.5, 0.4, 0.1], [0.9, 0.8, 0.7, 0.6]])
    path = tmp_path / "deep" / "ranking.json"
    write_soccernet(path, distances, np.array([5, 2, 5]), np.array([5, 2, 5, 2]))
    assert path.read_text() == '{"0": [2, 0], "1": [3, 1], "2": [2, 0]}'


def test_equally_far_entries_stand_as_the_gallery_has_them(tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    write_soccernet(path, np.zeros((1, 5)), np.zeros(1, int), np.zeros(5, int))
    assert json.loads(path.read_text()) == {"0": [0, 1, 2, 3, 4]}


def test_ids_stand_for_rows_where_they_are_given(tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    write_soccernet(
        path,
        np.array([[0.2, 0.1]]),
        np.array([0]),
        np.array([0, 0]),
        query_ids=np.array([70]),
        gallery_ids=np.array([8, 9]),
    )
    assert json.loads(path.read_text()) == {"70": [9, 8]}


def test_a_ranking_is_one_that_soccernet_s_own_code_takes(case: Any, tmp_path: Path) -> None:
    # SoccerNet 0.2.0, Evaluation/ReIdentification.py, read the file that this writes, and scored
    # it with mAP 0.6575757575757575 and rank-1 0.45454547, as `rank` does in test_scores.py.
    path = tmp_path / "ranking.json"
    distances = FeatureDistances(case.query_features[:11], case.gallery_features)
    write_soccernet(path, distances, case.query.groups[:11], case.gallery.groups)
    found = json.loads(path.read_text())
    assert list(found) == [str(row) for row in range(11)]
    assert all(sorted(rows) == list(range(20 * (int(q) // 4), 20 * (int(q) // 4) + 20))
               for q, rows in found.items())  # fmt: skip
    within = FeatureDistances(case.query_features[8:11], case.gallery_features[40:])
    assert found["10"] == (40 + nearest(within, 20).rows[2]).tolist()


def test_a_submission_is_one_column_in_order(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    write_submission(path, np.array([3, -1, 0]))
    assert path.read_bytes() == b"label_id\n3\n-1\n0\n"


@pytest.mark.parametrize(
    ("groups", "ids", "message"),
    [
        (([0, 1], [0, 0, 0]), {}, "entries of its action, got none for 1, the first in row 1"),
        (([0], [0, 0, 0]), {}, "query groups must be 2"),
        (([0, 0], [0, 0, 0]), {"query_ids": [4, 4]}, "query ids must be distinct"),
        (([0, 0], [0, 0, 0]), {"gallery_ids": [1, 2]}, "gallery ids must be 3"),
    ],
)
def test_what_the_judge_would_refuse_leaves_the_old_file(
    tmp_path: Path, groups: Any, ids: dict[str, Any], message: str
) -> None:
    path = tmp_path / "ranking.json"
    path.write_text("old")
    with pytest.raises(UsageError, match=message):
        write_soccernet(path, np.ones((2, 3)), *groups, **ids)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("labels", "message"),
    [([], "got none"), ([0.5], "must be integers"), ([-2], "-1 or above, got -2")],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, labels: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_submission(tmp_path / "submission.csv", labels)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        write_submission(tmp_path / "file" / "submission.csv", [1])
