from __future__ import annotations

import csv
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.negatives import load_negatives_from_csv, write_negatives_csv
from builders.samples import BoxSample
from lmdb_reid.errors import SourceError, SourceNotFoundError, WriteError
from lmdb_reid.schema import Kind

GUIDES_COLUMNS = "quarter,angle,session,frame,x,y,w,h,label_id,img_path"
USUAL = BoxSample(
    quarter="Q1-000",
    angle="side",
    session=0,
    frame=1,
    x=1526,
    y=961,
    w=60,
    h=151,
    label_id=-1,
    img_path="inputs/images/Q1-000__side__00__01.jpg",
    kind=Kind.PARTIAL,
    id="Q1-000__side__00__01#000p0",
)

texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1).filter(
    lambda text: text == text.strip()
)
sides = st.integers(1, 5000)
samples = st.builds(
    BoxSample,
    quarter=texts,
    angle=texts,
    session=st.integers(0, 99),
    frame=st.integers(0, 10**6),
    x=st.integers(-50, 5000),
    y=st.integers(-50, 5000),
    w=sides,
    h=sides,
    label_id=st.just(-1),
    img_path=texts,
    kind=st.sampled_from([Kind.BACKGROUND, Kind.PARTIAL]),
    id=texts,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def written(folder: Path, text: str) -> Path:
    path = folder / "negatives.csv"
    path.write_text(text, encoding="utf-8")
    return path


def row(**cells: object) -> str:
    """The usual row, some of its cells others."""
    usual: dict[str, object] = {
        "quarter": "Q1-000",
        "angle": "side",
        "session": 0,
        "frame": 1,
        "x": 3,
        "y": 4,
        "w": 10,
        "h": 20,
        "label_id": -1,
        "img_path": "a.jpg",
    }
    return ",".join(map(str, (usual | cells).values())) + "\n"


@settings(deadline=None)
@given(st.lists(samples, max_size=8))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, given: Any) -> None:
    path = tmp_path_factory.mktemp("csv") / "negatives.csv"
    write_negatives_csv(path, given)
    found = load_negatives_from_csv(path)
    assert found == given
    for sample in found:
        assert {type(cell) for cell in astuple(sample)} == {str, int, Kind}


def test_the_file_begins_with_the_guides_columns(tmp_path: Path) -> None:
    write_negatives_csv(tmp_path / "n.csv", [USUAL])
    assert (tmp_path / "n.csv").read_text().splitlines() == [
        f"{GUIDES_COLUMNS},kind,id",
        "Q1-000,side,0,1,1526,961,60,151,-1,inputs/images/Q1-000__side__00__01.jpg,partial,"
        "Q1-000__side__00__01#000p0",
    ]


def test_fractions_of_pixels_stay(tmp_path: Path) -> None:
    uneven = replace(USUAL, x=0.1, h=1 / 3)
    write_negatives_csv(tmp_path / "n.csv", [uneven, USUAL])
    assert load_negatives_from_csv(tmp_path / "n.csv") == [uneven, USUAL]


def test_texts_that_look_like_numbers_or_nothing_stay_texts(tmp_path: Path) -> None:
    odd = replace(USUAL, quarter="007", angle="NA", img_path='a "b",\nc.jpg', id="nan")
    write_negatives_csv(tmp_path / "n.csv", [odd])
    assert load_negatives_from_csv(tmp_path / "n.csv") == [odd]


def test_a_csv_without_samples(tmp_path: Path) -> None:
    write_negatives_csv(tmp_path / "n.csv", [])
    assert load_negatives_from_csv(tmp_path / "n.csv") == []


def test_a_csv_as_other_scripts_write_it(tmp_path: Path) -> None:
    path = written(tmp_path, f"\ufeff{GUIDES_COLUMNS}\n{row()}\n{row(x=5, session='2.0')}\n")
    found = load_negatives_from_csv(path)
    assert [sample.x for sample in found] == [3, 5]
    assert [(sample.kind, sample.id) for sample in found] == [(Kind.BACKGROUND, "")] * 2
    assert found[1].session == 2
    assert isinstance(found[1].session, int)


def test_columns_may_stand_in_any_order_among_others(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    write_negatives_csv(path, [USUAL])
    with path.open(newline="") as file:
        (table,) = csv.DictReader(file)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["score", *reversed(table)])
        writer.writerow(["0.5", *reversed(table.values())])
    assert load_negatives_from_csv(path) == [USUAL]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("background", Kind.BACKGROUND),
        ("1", Kind.BACKGROUND),
        ("partial", Kind.PARTIAL),
        ("2", Kind.PARTIAL),
    ],
)
def test_kinds_by_name_and_number(tmp_path: Path, text: str, kind: Kind) -> None:
    path = written(tmp_path, f"{GUIDES_COLUMNS},kind\n{row(kind=text)}")
    assert [sample.kind for sample in load_negatives_from_csv(path)] == [kind]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"session": "one"}, "session is 'one', which is not a whole number"),
        ({"frame": "1.5"}, "frame is '1.5', which is not a whole number"),
        ({"frame": ""}, "frame is '', which is not a whole number"),
        ({"frame": "1e300"}, "which is not a whole number"),
        ({"x": "nan"}, "x is 'nan', which is not a finite number"),
        ({"y": "inf"}, "y is 'inf', which is not a finite number"),
        ({"w": "0"}, "w is '0', which is not a length above 0"),
        ({"h": "-3"}, "h is '-3', which is not a length above 0"),
        ({"label_id": "4"}, "label_id is '4', which is not a negative's label, -1"),
        ({"quarter": ""}, "quarter is '', which is not a text"),
        ({"img_path": ""}, "img_path is '', which is not a text"),
        ({"kind": "person"}, "kind is 'person', which is not a kind: background, 1, partial, 2"),
        ({"kind": ""}, "kind is '', which is not a kind"),
        ({"kind": "partial", "id": ""}, "id is '', which is not a text"),
    ],
)
def test_a_cell_that_is_no_negatives(
    tmp_path: Path, cells: dict[str, object], message: str
) -> None:
    more = [name for name in cells if name in ("kind", "id")]
    usual = {name: "partial" if name == "kind" else "a#000p0" for name in more}
    path = written(
        tmp_path, ",".join([GUIDES_COLUMNS, *more]) + "\n" + row(**usual) + row(**usual | cells)
    )
    with pytest.raises(SourceError) as caught:
        load_negatives_from_csv(path)
    told = str(caught.value).replace(".0'", "'")
    assert told.startswith(f"{path}, line 3: ")
    assert message in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a usable csv"),
        (
            "quarter,angle,x\nQ,side,1\n",
            "lacks session, frame, y, w, h, label_id, img_path; it has",
        ),
        (f"{GUIDES_COLUMNS}\n{row()}{row().strip()},more\n", "is not a usable csv"),
        (f"{GUIDES_COLUMNS}\n{row().strip()},more\n", "more cells than its header"),
        (f"{GUIDES_COLUMNS}\n{row()}Q1-000,side,0,1,3,4,5\n", "line 3: label_id is '', which"),
        (f"{GUIDES_COLUMNS}\n{row()}Q1-000,side,0,1,3,4,5,6,-1\n", "line 3: img_path is '', which"),
    ],
)
def test_a_file_that_is_no_negatives_csv(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SourceError, match=message) as caught:
        load_negatives_from_csv(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_bytes(b"quarter\n\xff\xfe\xff\n")
    with pytest.raises(SourceError, match="is not a usable csv"):
        load_negatives_from_csv(path)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        load_negatives_from_csv(tmp_path)


def test_a_missing_csv_is_answered_with_the_command_that_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    with pytest.raises(SourceNotFoundError, match="Negatives CSV not found") as caught:
        load_negatives_from_csv(path, train_meta="meta.csv", img_root="frames")
    assert isinstance(caught.value, FileNotFoundError)
    assert f"lmdb-reid negatives --train-meta meta.csv --img-root frames --output {path}" in str(
        caught.value
    )


# writing


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    write_negatives_csv(path, [USUAL])
    before = path.read_bytes()

    def broken() -> Any:
        yield replace(USUAL, x=1)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_negatives_csv(path, broken())
    assert path.read_bytes() == before
    assert names(tmp_path) == ["n.csv"]


def test_folders_are_made_and_the_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "n.csv"
    write_negatives_csv(path, [USUAL, USUAL])
    write_negatives_csv(path, [USUAL])
    assert load_negatives_from_csv(path) == [USUAL]
    assert names(path.parent) == ["n.csv"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/n\.csv cannot be written"):
        write_negatives_csv(tmp_path / "file" / "n.csv", [USUAL])
    with pytest.raises(WriteError, match="cannot be written"):
        write_negatives_csv(tmp_path, [USUAL])
    assert names(tmp_path) == ["file"]
