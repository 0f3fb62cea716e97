"""Csv files as spreadsheets and label tools leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builders import AtmaCup, ColumnRoles, Csv
from builders.job import job_of
from builders.sources._table import read_table
from lmdb_reid.errors import SourceError

NEEDED = ("name", "x", "y")


def table(folder: Path, text: str) -> dict[str, list[str]]:
    (folder / "m.csv").write_bytes(text.encode())
    read = read_table(folder / "m.csv", NEEDED, option="--csv")
    return {name: read.texts(name) for name in read.cells.columns}


WANTED = {"name": ["a b", "c"], "x": ["1", "3"], "y": ["2", "4"]}


@pytest.mark.parametrize(
    "text",
    [
        "name,x,y\na b,1,2\nc,3,4\n",
        "name,x,y,\na b,1,2,\nc,3,4,\n",
        "name,x,y,,\na b,1,2,,\nc,3,4,,\n",
        ",name,x,y\n0,a b,1,2\n1,c,3,4\n",
        "name, x, y\na b, 1, 2\nc, 3, 4\n",
        'name, "x", "y"\n"a b", "1", "2"\n"c", "3", "4"\n',
        " name ,x\t,y \na b ,1 ,2 \n c,3\t, 4\n",
        "\ufeffname,x,y\na b,1,2\n,,\nc,3,4\n",
        "name;x;y\na b;1;2\nc;3;4\n",
        "\ufeffname;x;y\r\na b;1;2\r\nc;3;4\r\n",
        'sep=;\nname;x;y;\n"a b";"1";2;\nc;3;4;\n',
        "\ufeffsep=,\r\nname,x,y\r\na b,1,2\r\nc,3,4\r\n",
        "name\tx\ty\na b\t1\t2\nc\t3\t4\n",
    ],
)
def test_blanks_and_columns_without_a_name_are_no_part_of_a_csv(text: str, tmp_path: Path) -> None:
    assert table(tmp_path, text) == WANTED


@pytest.mark.parametrize(
    "text",
    [
        "c,3,4\nd,5,6\n",
        "7,7,7\n7,7,7\n",
        "a,1,2,1\nb,3,4,3\n",
        "c;3,5;4\nd;5;6,5\n",
        "7\t7\t7\n7\t7\t8\n",
    ],
)
def test_a_csv_without_a_header_is_told_which_names_are_needed(text: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no header: .* name, x, y"):
        table(tmp_path, text)


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["1,5", "2", ",25", "-3,0"], ["1.5", "2", ".25", "-3.0"]),
        (["1.5", "2"], ["1.5", "2"]),
        (["1,5", "two", "1,2,3"], ["1.5", "two", "1,2,3"]),
    ],
)
def test_a_csv_of_semicolons_may_have_decimal_commas(
    cells: list[str], wanted: list[str], tmp_path: Path
) -> None:
    text = "name;x;y\n" + "".join(f"a;{cell};7\n" for cell in cells)
    assert table(tmp_path, text)["x"] == wanted


@pytest.mark.parametrize(
    ("notes", "wanted"),
    [
        (["1,5", "2,5"], ["1.5", "2.5"]),
        (["1,5", "Doe, John"], ["1,5", "Doe, John"]),
        (["4,5,6", "a"], ["4,5,6", "a"]),
    ],
)
def test_texts_keep_their_commas(notes: list[str], wanted: list[str], tmp_path: Path) -> None:
    text = "name;x;y;note\n" + "".join(f"a;1,5;7;{note}\n" for note in notes)
    assert table(tmp_path, text)["note"] == wanted


def test_commas_and_points_in_one_column_are_refused(tmp_path: Path) -> None:
    text = "sep=;\nname;x;y\na;1,5;2\nb;1.234;3\n"
    with pytest.raises(SourceError, match=r"in x, not both; line 4 has '1\.234', line 3 '1,5'"):
        table(tmp_path, text)


def test_commas_are_no_decimals_where_they_separate(tmp_path: Path) -> None:
    assert table(tmp_path, 'name,x,y\na,"1,5",2\n')["x"] == ["1,5"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_refused_with_the_cure(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("n\u00e4me;x;y\na;1;2\n".encode(encoding))
    with pytest.raises(SourceError, match="must be utf-8: let a spreadsheet save it as 'CSV UTF-8"):
        read_table(tmp_path / "m.csv", NEEDED, option="--csv")


def test_a_folder_whose_csv_has_semicolons_is_recognised(tmp_path: Path) -> None:
    head = "quarter;angle;session;frame;x;y;w;h;label_id"
    (tmp_path / "train_meta.csv").write_bytes(f"\ufeff{head}\r\n".encode())
    assert AtmaCup.recognises(tmp_path)


SPREADSHEET = (
    "\ufeffquarter;angle;session;frame;x;y;w;h;label_id;speed;\r\n"
    "Q;side;0;1;8,5;9;30,25;60;3;1,75;\r\n"
    "Q;side;0;1;88,5;9;30,25;60;4;;\r\n"
)


def test_the_atmacup_layout_from_a_spreadsheet(tmp_path: Path) -> None:
    source = boxes(tmp_path)
    (tmp_path / "m.csv").write_bytes(SPREADSHEET.encode())
    listing = job_of(source).listing
    assert not listing.skipped
    rows = listing.frames.rows
    assert rows.box.tolist() == [[8.5, 9.0, 30.25, 60.0], [88.5, 9.0, 30.25, 60.0]]
    speed = rows.fields["speed"]
    assert isinstance(speed, np.ndarray) and speed[0] == 1.75 and np.isnan(speed[1])
    assert [row.where for row in rows.objects()] == ["m.csv line 2", "m.csv line 3"]


def test_any_csv_from_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "m.csv").write_bytes(
        "\ufefffile;left;top;right;bottom;player\r\na.jpg;1,5;2;10,5;30;Doe, John\r\n".encode()
    )
    columns = ColumnRoles.parse("image=file,x=left,y=top,x2=right,y2=bottom,label=player")
    listing = job_of(Csv(tmp_path, tmp_path / "m.csv", columns)).listing
    (frame,) = listing.frames
    assert frame.rows[0].box == (1.5, 2.0, 9.0, 28.0)
    assert frame.rows[0].fields["player"] == "Doe, John"


def boxes(folder: Path, *rows: str) -> AtmaCup:
    (folder / "images").mkdir()
    (folder / "images" / "Q__side__00__01.jpg").touch()
    lines = ["quarter,angle,session,frame,x,y,w,h,label_id", *rows]
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return AtmaCup(folder / "m.csv", folder / "images", bbox_mode="keep")


@pytest.mark.parametrize("box", ["0.25,0.5,0.1,0.2", "0,0,1,0.5", "0.5,0.5,1.0,1.0"])
def test_boxes_of_0_to_1_are_refused_with_the_cure(box: str, tmp_path: Path) -> None:
    source = boxes(tmp_path, f"Q,side,0,1,{box},3", f"Q,side,0,1,{box},4")
    with pytest.raises(SourceError, match=r"boxes must be in pixels; all 2 .* Multiply x and w"):
        job_of(source)


@pytest.mark.parametrize("box", ["0,0,1,1", "0.5,0.5,1.5,0.5"])
def test_small_boxes_in_pixels_are_none_of_those(box: str, tmp_path: Path) -> None:
    listing = job_of(boxes(tmp_path, f"Q,side,0,1,{box},3")).listing
    assert np.isfinite(listing.frames.rows.box).all()
