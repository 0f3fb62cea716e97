"""What the atmaCup layout lists, before any image is opened."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest

from builders import AtmaCup, Frame
from builders.sources import _table
from lmdb_reid.schema import Box, Kind

HEADER = "quarter,angle,session,frame,x,y,w,h,label_id"


def layout(folder: Path, *rows: str, images: tuple[str, ...] | None = None) -> AtmaCup:
    """A csv of these rows, and empty files for the frames: nothing here may look into them."""
    (folder / "images").mkdir(exist_ok=True)
    if images is None:
        images = ("Q1-000__side__00__01.jpg", "Q1-000__side__00__02.jpg", "Q1-000__top__00__01.jpg")
    for name in images:
        (folder / "images" / name).touch()
    (folder / "m.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return AtmaCup(folder / "m.csv", folder / "images", bbox_mode="keep")


def numbers(frames: Any) -> dict[str, list[int]]:
    return {frame.key: [row.number for row in frame.rows] for frame in frames}


def test_numbers_are_read_to_the_last_digit_and_zero_has_no_sign(tmp_path: Path) -> None:
    # A reader that is a unit of the last place off would give 0.10000000000000002 for the first.
    rows = "Q1-000,side,0,1,0.1,-0,\xa01e1 ,3.0000000000000004,5", "Q1-000,side,0,1,-0.0,7,8,9,5"
    (frame,) = layout(tmp_path, *rows).read().frames
    assert frame.boxes == (Box(0.1, 0.0, 10.0, 3.0000000000000004), Box(0.0, 7, 8, 9))
    assert [str(box.x) for box in frame.boxes] == ["0.1", "0.0"]
    assert pickle.loads(pickle.dumps(frame)) == frame


def test_frames_rows_and_boxes(tmp_path: Path) -> None:
    source = layout(
        tmp_path,
        "Q1-000,top,0,1,1,2,30,40,5",
        "Q1-000,side,0,1,-3,4.5,10,20,-1",
        "Q1-000,top,0,1,9,9,9,9,6",
    )
    side, top = source.read().frames
    assert (side.key, top.key) == ("Q1-000__side__00__01", "Q1-000__top__00__01")
    assert side.fields == {"quarter": "Q1-000", "angle": "side", "session": 0, "frame": 1}
    assert side.boxes == (Box(-3, 4.5, 10, 20),)
    (row,) = side.rows
    assert (row.number, row.where, row.label, row.box) == (
        0,
        "m.csv line 3",
        -1,
        Box(-3, 4.5, 10, 20),
    )
    assert row.kind is Kind.PERSON
    assert [row[:2] for row in top.rows] == [(0, 5), (1, 6)]
    assert [(row.entry, row.order) for row in top.rows] == [(2, 0), (4, 2)]
    assert top.boxes == (Box(1, 2, 30, 40), Box(9, 9, 9, 9))


def test_a_listing_is_the_same_each_time(tmp_path: Path) -> None:
    source = layout(tmp_path, "Q1-000,top,0,1,1,2,30,40,5", "Q1-000,side,0,1,9,9,9,9,6")
    assert source.read() == source.read()


def test_frames_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    frames = [
        "é,side,0,1",
        "Z,side,0,1",
        "a,side,0,10",
        "a,side,0,9",
        "a,side,0,100",
        "\U0001f3c0,a,0,1",
    ]
    names = [
        f"{q}__{a}__{int(s):02d}__{int(f):02d}.jpg" for q, a, s, f in (x.split(",") for x in frames)
    ]
    source = layout(tmp_path, *(f"{x},1,1,9,9,0" for x in frames), images=tuple(names))
    keys = [frame.key.encode() for frame in source.read().frames]
    assert keys == sorted(keys)
    assert len(keys) == 6


def test_numbers_count_every_row_of_the_frame(tmp_path: Path) -> None:
    source = layout(
        tmp_path,
        "Q1-000,side,0,1,1,1,9,9,0",
        "Q1-000,side,0,1,1,1,0,9,1",  # no width
        "Q1-000,side,0,1,1,1,9,9,two",
        "Q1-000,top,0,1,1,1,9,9,0",
        "Q1-000,side,0,1,1,1,9,9,3",
        "Q1-000,side,0,1,1,x,9,9,3",
        "Q1-000,side,0,1,1,1,9,9,4",
    )
    listing = source.read()
    assert numbers(listing.frames) == {
        "Q1-000__side__00__01": [0, 3, 5],
        "Q1-000__top__00__01": [0],
    }
    assert [row.where for row in listing.skipped] == [f"m.csv line {n}" for n in (3, 4, 7)]
    assert listing.rows == 7


def test_boxes_are_all_that_are_known(tmp_path: Path) -> None:
    source = layout(
        tmp_path,
        "Q1-000,side,0,1,1,1,9,9,0",
        "Q1-000,side,0,1,20,1,9,9,nobody",  # a person stands there, whoever it is
        "Q1-000,side,0,1,40,1,-9,9,1",  # nowhere
        "Q1-000,side,0,1,60,1,9,9,-7",
    )
    (frame,) = source.read().frames
    assert [box.x for box in frame.boxes] == [1, 20, 60]
    assert [row.number for row in frame.rows] == [0]


def test_outliers_are_dropped_and_their_boxes_stay_known(tmp_path: Path) -> None:
    rows = [f"Q1-000,side,0,{frame},1,1,9,{h},0" for frame, h in ((1, 9), (2, 90), (3, 9))]
    names = tuple(f"Q1-000__side__00__{frame:02d}.jpg" for frame in (1, 2, 3))
    source = layout(tmp_path, *rows, images=names)
    source.bbox_mode = "drop"
    listing = source.read()
    assert numbers(listing.frames) == {name[:-4]: [0] if "02" not in name else [] for name in names}
    assert listing.frames[1].boxes == (Box(1, 1, 9, 90),)
    (row,) = listing.dropped
    assert (row.where, row.frame) == ("m.csv line 3", "Q1-000__side__00__02")
    assert row.reason == "its area is over 2 times the median of its track"
    assert listing.skipped == []


def test_what_the_settings_and_inputs_tell(tmp_path: Path) -> None:
    source = layout(tmp_path, "Q1-000,side,0,1,1,1,9,9,0")
    listing = source.read()
    assert listing.settings == {"format": "atmacup", "bbox_mode": "keep", "area_multiplier": 2.0}
    digest = hashlib.sha256((tmp_path / "m.csv").read_bytes()).hexdigest()
    assert listing.inputs == {"train_meta": digest}
    assert listing.places == {
        "train_meta": str(tmp_path / "m.csv"),
        "img_root": str(tmp_path / "images"),
    }


def test_what_is_listed_is_what_the_digest_is_of(tmp_path: Path, monkeypatch: Any) -> None:
    source = layout(tmp_path, "Q1-000,side,0,1,1,1,9,9,0")
    read = _table._read_bytes

    def read_then_replaced(path: Path, option: str) -> bytes:
        text = read(path, option)
        path.write_text(f"{HEADER}\nQ1-000,side,0,1,1,1,9,9,4\n")
        return text

    monkeypatch.setattr(_table, "_read_bytes", read_then_replaced)
    assert source.read().frames[0].rows[0].label == 0
    assert source.read().frames[0].rows[0].label == 4


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("Q__a__00__01.jpg", "Q__a__0__1.jpg"), "Q__a__00__01.jpg"),
        (("Q__a__0__1.jpg",), "Q__a__0__1.jpg"),
        (("Q__a__00__01.png", "Q__a__00__01.jpg", "Q__a__00__01.bmp"), "Q__a__00__01.jpg"),
        (("Q__a__00__01.bmp", "Q__a__00__01.webp"), "Q__a__00__01.webp"),
        (("Q__a__00__01.JPEG",), "Q__a__00__01.JPEG"),
        (("Q__a__00__01.png", "Q__a__0__1.jpg"), "Q__a__00__01.png"),
    ],
)
def test_which_image_is_a_frames(tmp_path: Path, names: tuple[str, ...], taken: str) -> None:
    source = layout(tmp_path, "Q,a,0,1,1,1,9,9,0", images=names)
    listing = source.read()
    (frame,) = listing.frames
    assert listing.medium.name(frame.key) == taken
    assert frame.key == Path(taken).stem


@pytest.mark.parametrize("name", ["Q__a__00__01.txt", "Q__a__00__01", "Q__a__001__01.jpg"])
def test_what_is_no_frame(tmp_path: Path, name: str) -> None:
    listing = layout(tmp_path, "Q,a,0,1,1,1,9,9,0", images=(name,)).read()
    assert listing.frames == []
    (row,) = listing.skipped
    assert row.reason == f"its frame Q__a__00__01 is not in {tmp_path / 'images'}"


def test_three_digits_grow_longer(tmp_path: Path) -> None:
    source = layout(tmp_path, "Q,a,12,123,1,1,9,9,0", images=("Q__a__12__123.jpg",))
    assert [frame.key for frame in source.read().frames] == ["Q__a__12__123"]


def test_a_quarter_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret__a__00__01.jpg").touch()
    listing = layout(tmp_path, "../secret,a,0,1,1,1,9,9,0").read()
    assert listing.frames == []
    assert len(listing.skipped) == 1


def test_fields_of_a_row(tmp_path: Path) -> None:
    source = layout(tmp_path)
    (tmp_path / "m.csv").write_text(
        f"{HEADER},shirt,label,when,weight\n"
        "Q1-000,side,0,1,1,1,9,9,0,7,x,,1.5\n"
        "Q1-000,side,0,1,1,1,9,9,0,8,y,noon,\n"
    )
    (frame,) = source.read().frames
    assert [row.fields for row in frame.rows] == [
        {"shirt": 7, "src_label": "x", "weight": 1.5},
        {"shirt": 8, "src_label": "y", "when": "noon"},
    ]
    assert isinstance(frame.rows[0].fields["shirt"], int)


def test_frames_are_plain_values(tmp_path: Path) -> None:
    (frame,) = layout(tmp_path, "Q1-000,side,0,1,1,1,9,9,0").read().frames
    assert isinstance(frame, Frame)
    (row,) = frame.rows
    for value in (
        row.number,
        row.entry,
        row.order,
        row.label,
        frame.fields["session"],
        frame.fields["frame"],
    ):
        assert type(value) is int  # numpy's would not go into msgpack or JSON
    assert type(frame.fields["quarter"]) is str
    assert row.box is not None
    assert {type(side) for side in row.box} == {float}
