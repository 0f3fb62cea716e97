"""Csv files as spreadsheets and label tools leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builders import AtmaCup
from builders.job import job_of
from builders.sources._table import read_table
from lmdb_reid.errors import SourceError

NEEDED = ("name", "x", "y")


def table(folder: Path, text: str) -> dict[str, list[str]]:
    (folder / "m.csv").write_text(text)
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
    ],
)
def test_blanks_and_columns_without_a_name_are_no_part_of_a_csv(text: str, tmp_path: Path) -> None:
    assert table(tmp_path, text) == WANTED


@pytest.mark.parametrize("text", ["c,3,4\nd,5,6\n", "7,7,7\n7,7,7\n", "a,1,2,1\nb,3,4,3\n"])
def test_a_csv_without_a_header_is_told_which_names_are_needed(text: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no header: .* name, x, y"):
        table(tmp_path, text)


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
