"""A csv as text cells, and those as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders import AtmaCup
from builders.columns import Coded, cells_of
from builders.job import job_of
from builders.sources._table import (
    MAX_FURTHER,
    Number,
    further_column,
    numbers_of,
    read_table,
    text_column,
)
from lmdb_reid.errors import SourceError

NEEDED = ("a", "b")


def table_of(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path


def test_cells_lines_and_digest(tmp_path: Path) -> None:
    path = table_of(tmp_path, 'b,a,c\n1,x,"two\nlines"\n\n3,y,\n')
    table = read_table(path, NEEDED, option="--csv")
    assert table.lines.tolist() == [2, 5]
    assert table.texts("a") == ["x", "y"]
    assert table.texts("c") == ["two\nlines", ""]
    assert (len(table), len(table.digest)) == (2, 64)


def test_a_header_of_many_columns_is_refused(tmp_path: Path) -> None:
    names = ",".join(f"n{at}" for at in range(MAX_FURTHER))
    path = table_of(tmp_path, f"a,b,{names}\n" + "1," * (MAX_FURTHER + 1) + "1\n")
    assert len(read_table(path, NEEDED, option="--csv")) == 1
    for many in (MAX_FURTHER + 1, 200_000):
        names = ",".join(f"n{at}" for at in range(many))
        path = table_of(tmp_path, f"a,b,{names}\n")
        with pytest.raises(SourceError, match=rf"at most 1,000 columns .* it has {many:,}"):
            read_table(path, NEEDED, option="--csv")
    twice = "a,b," + ",".join(["c", "d"] * 50_000)
    with pytest.raises(SourceError, match="more than one column 'c', 'd'"):
        read_table(table_of(tmp_path, twice), NEEDED, option="--csv")


def test_a_long_header_is_not_printed_whole(tmp_path: Path) -> None:
    path = table_of(tmp_path, ",".join(f"n{at}" for at in range(100_000)))
    with pytest.raises(SourceError, match="lacks a, b; it has n0, n1") as caught:
        read_table(path, NEEDED, option="--csv")
    assert len(str(caught.value)) < 1000


def test_numbers_and_what_is_wrong_with_others(tmp_path: Path) -> None:
    cells = ["1", " 2.5 ", "-0", "1_0", "", "nan", "7", "9", "1e9"]
    path = table_of(tmp_path, "a,b\n" + "".join(f"{cell},x\n" for cell in cells))
    table = read_table(path, NEEDED, option="--csv")
    reasons = np.full(len(table), "", object)
    reasons[6] = "of another column"
    rule = Number(whole=True, least=0, above=1, farthest=1e9)
    numbers = numbers_of(table, "a", rule, reasons)
    assert numbers[[0, 1, 7]].tolist() == [1, 2.5, 9]
    assert not np.signbit(numbers[2])
    assert reasons.tolist() == [
        "a is 1, which is not above 1",
        "a is '2.5', which is not a whole number",
        "a is -0, which is not above 1",
        "a is '1_0', which is not a finite number",
        "a is missing",
        "a is 'nan', which is not a finite number",
        "of another column",
        "",
        "a is 1e9, which is out of range",
    ]


def test_further_columns_are_numbers_where_all_cells_are() -> None:
    def of(*cells: str) -> list[object]:
        return cells_of(further_column(pd.Series(cells, dtype=object)))

    assert of("1", "2") == [1, 2]
    assert of("1", "", "2.5") == [1.0, None, 2.5]
    assert of("1", "x", "") == ["1", "x", None]
    assert of(str(1 << 60), "") == [str(1 << 60), None]  # a float would be another number
    texts = text_column(pd.Series(["u", "", "u"], dtype=object))
    assert isinstance(texts, Coded)
    assert (texts.codes.tolist(), texts.categories) == ([0, -1, 0], ("u",))


def test_many_boxes_of_one_frame_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "Q__a__00__01.jpg").touch()
    head = "quarter,angle,session,frame,x,y,w,h,label_id\n"
    path = table_of(tmp_path, head + "Q,a,0,1,1,1,9,9,0\n" * 10_001)
    with pytest.raises(SourceError, match="Q__a__00__01 has 10,001"):
        job_of(AtmaCup(path, tmp_path / "images"))
