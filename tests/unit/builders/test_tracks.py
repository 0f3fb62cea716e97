from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.tracks import BboxMode, clean_tracks
from lmdb_reid.errors import SourceError, UsageError

COLUMNS = ["quarter", "angle", "session", "frame", "x", "y", "w", "h", "label_id"]
MODES: tuple[BboxMode, ...] = ("drop", "interp", "keep")


def _rows(
    *boxes: tuple[int, int, int, int, int], label: int = 3, quarter: str = "Q1-000"
) -> pd.DataFrame:
    """One track of (frame, x, y, w, h), in the order given."""
    return pd.DataFrame(
        [(quarter, "side", 0, frame, x, y, w, h, label) for frame, x, y, w, h in boxes],
        columns=COLUMNS,
    )


def _boxes(rows: pd.DataFrame) -> list[tuple[float, ...]]:
    return [tuple(box) for box in rows[["x", "y", "w", "h"]].to_numpy().tolist()]


# Areas 200, 200, 900, 200, 200: the median is 200, so the third is over twice the median.
ONE_OUTLIER = _rows(
    (1, 10, 20, 10, 20),
    (2, 12, 24, 10, 20),
    (3, 99, 99, 30, 30),
    (4, 20, 30, 20, 10),
    (5, 22, 32, 10, 20),
)


def test_drop_marks_the_outlier_and_changes_no_box() -> None:
    cleaned = clean_tracks(ONE_OUTLIER, "drop")
    assert cleaned["fate"].tolist() == ["kept", "kept", "outlier", "kept", "kept"]
    assert _boxes(cleaned) == _boxes(ONE_OUTLIER)


def test_interp_takes_the_mean_of_both_neighbours() -> None:
    cleaned = clean_tracks(ONE_OUTLIER, "interp")
    assert cleaned["fate"].tolist() == ["kept", "kept", "interpolated", "kept", "kept"]
    expected = _boxes(ONE_OUTLIER)
    expected[2] = (16.0, 27.0, 15.0, 15.0)
    assert _boxes(cleaned) == expected


def test_keep_keeps() -> None:
    cleaned = clean_tracks(ONE_OUTLIER, "keep")
    assert cleaned["fate"].tolist() == ["kept"] * 5
    assert _boxes(cleaned) == _boxes(ONE_OUTLIER)


@pytest.mark.parametrize("mode", MODES)
def test_index_order_and_other_columns_stay(mode: BboxMode) -> None:
    rows = ONE_OUTLIER.assign(note=list("abcde"))
    rows.index = pd.Index([7, 7, -3, 100, 5], name="quarter")  # repeated, and named like a column
    before = rows.copy()
    cleaned = clean_tracks(rows, mode)
    pd.testing.assert_frame_equal(rows, before)
    assert cleaned.index.equals(rows.index)
    assert cleaned.columns.tolist() == [*COLUMNS, "note", "fate"]
    untouched = ["quarter", "angle", "session", "frame", "label_id", "note"]
    pd.testing.assert_frame_equal(cleaned[untouched], rows[untouched])
    assert all(cleaned[side].dtype == np.float64 for side in "xywh")
    assert cleaned["fate"].tolist()[2] == {"drop": "outlier", "interp": "interpolated"}.get(
        mode, "kept"
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_copy_shares_nothing_with_its_rows(mode: BboxMode) -> None:
    rows = ONE_OUTLIER.astype(dict.fromkeys("xywh", np.float64))
    cleaned = clean_tracks(rows, mode)
    cleaned.loc[:, "x"] = -1.0
    assert rows["x"].tolist() == ONE_OUTLIER["x"].tolist()


def test_twice_the_median_exactly_is_no_outlier() -> None:
    rows = _rows((1, 0, 0, 10, 10), (2, 0, 0, 10, 10), (3, 0, 0, 10, 20))
    assert clean_tracks(rows, "drop")["fate"].tolist() == ["kept"] * 3
    assert clean_tracks(rows, "drop", area_multiplier=1.99)["fate"].tolist()[2] == "outlier"


def test_the_median_of_an_even_track_is_the_mean_of_the_middle_two() -> None:
    # Areas 100, 100, 200, 310: the median is 150; 310 is over 300 but not over 2 * 200.
    rows = _rows((1, 0, 0, 10, 10), (2, 0, 0, 10, 10), (3, 0, 0, 10, 20), (4, 0, 0, 10, 31))
    assert clean_tracks(rows, "drop")["fate"].tolist() == ["kept", "kept", "kept", "outlier"]


@pytest.mark.parametrize("place", [0, 4])
def test_interp_at_an_end_of_the_track_leaves_out(place: int) -> None:
    boxes = [(frame, 10 * frame, 0, 10, 10) for frame in range(1, 6)]
    boxes[place] = (place + 1, 0, 0, 50, 50)
    cleaned = clean_tracks(_rows(*boxes), "interp")
    expected = ["kept"] * 5
    expected[place] = "outlier"
    assert cleaned["fate"].tolist() == expected
    assert _boxes(cleaned)[place] == (0, 0, 50, 50)


def test_two_outliers_in_a_row_take_the_same_good_neighbours() -> None:
    rows = _rows(
        (1, 0, 0, 10, 10),
        (2, 4, 8, 10, 10),
        (3, 50, 50, 40, 40),
        (4, 70, 70, 60, 60),
        (5, 8, 4, 12, 8),
        (6, 9, 9, 10, 10),
    )
    cleaned = clean_tracks(rows, "interp")
    assert cleaned["fate"].tolist()[2:4] == ["interpolated", "interpolated"]
    assert _boxes(cleaned)[2:4] == [(6.0, 6.0, 11.0, 9.0)] * 2


def test_time_decides_who_is_a_neighbour_not_the_order_of_rows() -> None:
    shuffled = ONE_OUTLIER.iloc[[4, 2, 0, 3, 1]]
    cleaned = clean_tracks(shuffled, "interp")
    assert cleaned.index.tolist() == [4, 2, 0, 3, 1]
    pd.testing.assert_frame_equal(cleaned.sort_index(), clean_tracks(ONE_OUTLIER, "interp"))


def test_sessions_come_before_frames_and_frames_are_numbers() -> None:
    # Sorted as text, frame 10 would precede frame 9; sorted by frame first, session 1 would lead.
    rows = _rows(
        (1, 900, 0, 10, 10), (10, 100, 0, 50, 50), (9, 40, 0, 10, 10), (11, 60, 0, 10, 10)
    ).assign(session=[1, 0, 0, 0])
    cleaned = clean_tracks(rows, "interp")
    assert cleaned["fate"].tolist() == ["kept", "interpolated", "kept", "kept"]
    assert _boxes(cleaned)[1] == (50.0, 0.0, 10.0, 10.0)


def test_rows_of_one_time_follow_one_another_as_they_stand() -> None:
    good = [(2, 10, 0, 10, 10), (2, 30, 0, 10, 10), (3, 80, 0, 10, 10)]
    outlier = (2, 0, 0, 90, 90)
    between = clean_tracks(_rows(good[0], outlier, *good[1:]), "interp")
    assert _boxes(between)[1] == (20.0, 0.0, 10.0, 10.0)
    later = clean_tracks(_rows(*good[:2], outlier, good[2]), "interp")
    assert _boxes(later)[2] == (55.0, 0.0, 10.0, 10.0)
    first = clean_tracks(_rows(outlier, *good), "interp")
    assert first["fate"].tolist() == ["outlier", "kept", "kept", "kept"]


def test_neighbours_are_of_the_same_track() -> None:
    # Each track alone has its outlier at an end, and each other track has good boxes beside it.
    ends = [(1, 0, 0, 10, 10), (2, 0, 0, 10, 10), (3, 0, 0, 90, 90)]
    starts = [(1, 0, 0, 90, 90), (2, 0, 0, 10, 10), (3, 0, 0, 10, 10)]
    rows = pd.concat(
        [
            _rows(*ends),
            _rows(*starts, label=4),
            _rows(*ends, quarter="Q1-001"),
            _rows(*starts).assign(angle="top"),
        ],
        ignore_index=True,
    )
    fate = clean_tracks(rows, "interp")["fate"].tolist()
    assert [place for place, word in enumerate(fate) if word != "kept"] == [2, 3, 8, 9]
    assert "interpolated" not in fate


def test_medians_are_of_each_track_alone() -> None:
    # In one track with the small boxes, the large ones would be outliers.
    small = [(frame, 0, 0, 10, 10) for frame in range(1, 8)]
    large = [(frame, 0, 0, 90, 90) for frame in range(1, 4)]
    for other in (_rows(*large, label=4), _rows(*large).assign(angle="top")):
        rows = pd.concat([_rows(*small), other])
        assert set(clean_tracks(rows, "drop")["fate"]) == {"kept"}
    together = pd.concat([_rows(*small), _rows(*large)])
    assert clean_tracks(together, "drop")["fate"].tolist() == ["kept"] * 7 + ["outlier"] * 3


@pytest.mark.parametrize("labels", ["int64", "float64", "Int64", "object", "category", "str"])
@pytest.mark.parametrize("mode", MODES)
def test_rows_labelled_minus_one_are_kept_untouched(mode: BboxMode, labels: str) -> None:
    rows = pd.concat([ONE_OUTLIER.assign(label_id=-1), ONE_OUTLIER], ignore_index=True)
    cleaned = clean_tracks(rows.astype({"label_id": labels}), mode)
    assert cleaned["fate"].tolist()[:5] == ["kept"] * 5
    assert _boxes(cleaned)[:5] == _boxes(ONE_OUTLIER)
    pd.testing.assert_series_equal(
        cleaned["fate"][5:], clean_tracks(ONE_OUTLIER, mode)["fate"].set_axis(range(5, 10))
    )


def test_rows_without_a_label_are_kept_untouched() -> None:
    cleaned = clean_tracks(ONE_OUTLIER.assign(label_id=np.nan), "interp")
    assert cleaned["fate"].tolist() == ["kept"] * 5
    assert _boxes(cleaned) == _boxes(ONE_OUTLIER)


def test_a_box_labelled_minus_one_is_nobodys_neighbour() -> None:
    stranger = _rows((2, 500, 500, 10, 10), label=-1)
    rows = pd.concat([stranger, _rows((1, 0, 0, 99, 99), (3, 0, 0, 10, 10), (4, 0, 0, 10, 10))])
    assert clean_tracks(rows, "interp")["fate"].tolist() == ["kept", "outlier", "kept", "kept"]


def test_identities_may_be_words() -> None:
    rows = ONE_OUTLIER.assign(label_id="nine")
    assert clean_tracks(rows, "drop")["fate"].tolist()[2] == "outlier"


def test_tracks_and_time_may_be_other_columns() -> None:
    rows = ONE_OUTLIER.rename(columns={"quarter": "seq", "label_id": "id", "frame": "t"})
    rows = rows.drop(columns=["angle", "session"])
    cleaned = clean_tracks(rows, "interp", track=("seq", "id"), time=("t",), label="id")
    assert _boxes(cleaned) == _boxes(clean_tracks(ONE_OUTLIER, "interp"))
    assert cleaned["fate"].tolist()[2] == "interpolated"


@pytest.mark.parametrize("side", ["x", "w"])
def test_a_box_that_is_not_finite_is_kept_but_no_neighbour(side: str) -> None:
    rows = ONE_OUTLIER.astype({side: "float64"})
    rows.loc[1, side] = np.nan
    cleaned = clean_tracks(rows, "interp")
    assert cleaned["fate"].tolist() == ["kept", "kept", "interpolated", "kept", "kept"]
    assert math.isnan(cleaned.loc[1, side])
    assert _boxes(cleaned)[2] == (15.0, 25.0, 15.0, 15.0)


@pytest.mark.parametrize(("w", "h"), [(math.inf, 30.0), (math.inf, 0.0), (1e200, 1e200)])
def test_an_area_beyond_numbers_makes_no_warning(w: float, h: float) -> None:
    rows = ONE_OUTLIER.astype({"w": "float64", "h": "float64"})
    rows.loc[2, ["w", "h"]] = w, h
    fate = clean_tracks(rows, "interp")["fate"].tolist()
    assert fate[2] == ("kept" if h == 0 else "interpolated")  # infinity times 0 is no area


@pytest.mark.parametrize("mode", MODES)
def test_no_rows_give_no_rows(mode: BboxMode) -> None:
    cleaned = clean_tracks(ONE_OUTLIER.iloc[:0], mode)
    assert cleaned.columns.tolist() == [*COLUMNS, "fate"]
    assert len(cleaned) == 0
    assert cleaned["x"].dtype == np.float64


def test_a_track_of_one_is_kept() -> None:
    assert clean_tracks(_rows((1, 0, 0, 500, 500)), "drop")["fate"].tolist() == ["kept"]


# against the rule, said again without pandas


def _slowly(rows: pd.DataFrame, mode: BboxMode) -> list[tuple[str, tuple[float, ...]]]:
    records: list[dict[str, Any]] = rows.to_dict("records")
    boxes = _boxes(rows)
    result = [("kept", box) for box in boxes]
    tracks: dict[tuple[Any, ...], list[int]] = {}
    for place, record in enumerate(records):
        if record["label_id"] != -1:
            key = (record["quarter"], record["angle"], record["label_id"])
            tracks.setdefault(key, []).append(place)
    for track in tracks.values():
        track.sort(key=lambda place: (records[place]["session"], records[place]["frame"]))
        median = statistics.median(boxes[place][2] * boxes[place][3] for place in track)
        good = [boxes[place][2] * boxes[place][3] <= 2.0 * median for place in track]
        for turn, place in enumerate(track):
            if good[turn] or mode == "keep":
                continue
            before = [track[i] for i in range(turn) if good[i]]
            after = [track[i] for i in range(turn + 1, len(track)) if good[i]]
            result[place] = ("outlier", boxes[place])
            if mode == "interp" and before and after:
                pair = zip(boxes[before[-1]], boxes[after[0]], strict=True)
                result[place] = ("interpolated", tuple((a + b) / 2 for a, b in pair))
    return result


_any_row = st.tuples(
    st.sampled_from(["Q1-000", "Q2-000"]),
    st.sampled_from(["side", "top"]),
    st.integers(0, 1),
    st.integers(1, 12),
    st.integers(-20, 3000),
    st.integers(-20, 2000),
    st.sampled_from([10, 20, 30, 80]),
    st.sampled_from([10, 20, 30, 80]),
    st.integers(-1, 1),
)


@settings(deadline=None)
@given(st.lists(_any_row, max_size=60), st.sampled_from(MODES))
def test_cleaning_follows_the_rule(rows: list[tuple[Any, ...]], mode: BboxMode) -> None:
    frame = pd.DataFrame(rows, columns=COLUMNS)
    cleaned = clean_tracks(frame, mode)
    found = list(zip(cleaned["fate"].tolist(), _boxes(cleaned), strict=True))
    assert found == _slowly(frame, mode)


# real boxes


@pytest.mark.data
def test_unlabelled_people_of_mot17_mini_are_kept(shared_data: Path) -> None:
    meta = shared_data / "mot17_mini" / "train_meta.csv"
    if not meta.is_file():
        pytest.skip(f"no {meta}")
    rows = pd.read_csv(meta)
    unlabelled = rows["label_id"] == -1
    assert unlabelled.sum() == 123
    assert set(clean_tracks(rows, "drop").loc[unlabelled, "fate"]) == {"kept"}
    # Were -1 an identity like any other, four people would be lost to their neighbours' sizes.
    as_identity = rows.assign(label_id=rows["label_id"].replace(-1, 999))
    assert clean_tracks(as_identity, "drop").loc[unlabelled, "fate"].eq("outlier").sum() == 4


# what cannot be meant


def test_an_unknown_mode_is_refused_by_the_names_of_the_known() -> None:
    with pytest.raises(UsageError, match="must be one of drop, interp, keep, got 'median'"):
        clean_tracks(ONE_OUTLIER, "median")  # type: ignore[arg-type]


@pytest.mark.parametrize("multiplier", [0.0, -2.0, math.nan, math.inf])
def test_a_multiplier_out_of_range_is_refused(multiplier: float) -> None:
    with pytest.raises(UsageError, match="area_multiplier"):
        clean_tracks(ONE_OUTLIER, "drop", area_multiplier=multiplier)


def test_no_columns_for_tracks_or_time_are_refused() -> None:
    with pytest.raises(UsageError, match="a column or more each"):
        clean_tracks(ONE_OUTLIER, "drop", track=())
    with pytest.raises(UsageError, match="a column or more each"):
        clean_tracks(ONE_OUTLIER, "drop", time=())


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(SourceError, match=f"lack the columns {column}:"):
        clean_tracks(ONE_OUTLIER.drop(columns=column), "keep")


def test_a_box_of_words_is_refused_with_its_column() -> None:
    rows = ONE_OUTLIER.assign(w=["10", "10", "wide", "20", "10"])
    with pytest.raises(SourceError, match=r"column 'w' must hold numbers: .*wide"):
        clean_tracks(rows, "keep")


def test_a_column_called_fate_is_not_overwritten() -> None:
    with pytest.raises(SourceError, match="'fate'"):
        clean_tracks(clean_tracks(ONE_OUTLIER, "drop"), "drop")
