"""The report, for people and for programs."""

from __future__ import annotations

import json

import pytest

from builders import Rejected, Report
from builders.report import check_skipped, in_reading_order
from lmdb_reid.errors import SourceError, TooManySkippedError


def report_of(skipped: int = 0, dropped: int = 0) -> Report:
    return Report(
        out="/data/games.lmdb",
        frames=12,
        rows=20_000,
        kinds={"person": 1200, "background": 34},
        identities=7,
        skipped=[
            Rejected(f"m.csv line {n + 2}", "Q__01", f"w is {-n}, which is not above 0")
            for n in range(skipped)
        ],
        dropped=[
            Rejected(f"m.csv line {n + 2}", "Q__02", "its area is too large")
            for n in range(dropped)
        ],
        seconds=12.34,
        crops_per_second=4567.8,
        size_bytes=12_345_678,
    )


def test_json_gives_it_back() -> None:
    report = report_of(skipped=3, dropped=9)
    told = Report.from_json(report.to_json())
    report.size_bytes = 0  # known when the store is sealed, and its report in it
    assert told == report


def test_json_holds_the_counts_and_every_reason() -> None:
    told = json.loads(report_of(skipped=2, dropped=1).to_json())
    assert told["samples"] == 1234
    assert (told["skipped_rows"], told["dropped_rows"]) == (2, 1)
    assert told["skipped"][1] == {
        "where": "m.csv line 3",
        "frame": "Q__01",
        "reason": "w is -1, which is not above 0",
    }


def test_long_lists_are_cut_and_their_true_length_told() -> None:
    told = json.loads(report_of(skipped=10_001, dropped=12_000).to_json())
    assert (told["skipped_rows"], told["dropped_rows"]) == (10_001, 12_000)
    assert (len(told["skipped"]), len(told["dropped"])) == (10_000, 10_000)


def test_the_summary() -> None:
    text = "\n".join(report_of(skipped=2).lines())
    for told in (
        "wrote /data/games.lmdb",
        "1,234 (1,200 person, 34 background) of 7 identities, from 12 frames and 20,000 rows",
        "skipped     2 rows",
        "m.csv line 3: w is -1, which is not above 0",
        "left out    0 rows",
        "12.3 MB",
        "12.3 s (4,568 crops/s)",
        "/data/games.lmdb/report.json",
    ):
        assert told in text, told


def test_many_reasons_are_counted() -> None:
    lines = report_of(dropped=9).lines()
    assert "    9 x its area is too large" in lines
    assert not any("line 2" in line for line in lines)
    few = report_of(dropped=8).lines()
    assert sum("its area is too large" in line for line in few) == 8


def test_a_dry_run_says_so() -> None:
    report = report_of(skipped=1)
    report.dry_run = True
    text = "\n".join(report.lines())
    assert text.startswith("would write")
    assert "about 12.3 MB" in text
    assert "report.json" not in text


FIVE = [Rejected(f"m.csv line {line}", "f", f"reason {line}") for line in range(2, 7)]


def test_up_to_the_share_rows_may_be_skipped() -> None:
    check_skipped([], 0)
    check_skipped(FIVE, 100)
    check_skipped(FIVE, 5, max_skipped=1)
    with pytest.raises(TooManySkippedError) as caught:
        check_skipped(FIVE, 99)
    assert str(caught.value) == (
        "5 of 99 rows cannot be used, more than 5% (--max-skipped): m.csv line 2: reason 2;"
        " m.csv line 3: reason 3; m.csv line 4: reason 4 ..."
    )


def test_strict_names_the_first() -> None:
    check_skipped([], 100, strict=True)
    with pytest.raises(SourceError, match=r"m.csv line 2 cannot be used \(--strict\): reason 2"):
        check_skipped(FIVE, 1000, strict=True)


def test_rejected_rows_are_listed_as_they_are_read() -> None:
    rows = [Rejected(where, "f", "") for where in ("b 2", "a line 10", "a line 9", "a", "a line")]
    assert [row.where for row in in_reading_order(rows)] == [
        *("a", "a line", "a line 9", "a line 10", "b 2")
    ]
