from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builders import BoxRow, BuildSettings, Files, Frame, Listing, frames_of
from builders.negatives import (
    Negative,
    csv_negatives,
    negatives_of,
    random_negatives,
    write_negatives_csv,
)
from builders.samples import BoxSample
from lmdb_reid.errors import DuplicateSampleError, SourceError, SourceNotFoundError, UsageError
from lmdb_reid.schema import Box, Kind

SIZE = (360, 640)
BOXES = (Box(100.0, 80.0, 60.0, 150.0), Box(130.0, 70.0, 70.0, 170.0))
HEAD = "quarter,angle,session,frame,x,y,w,h,label_id,img_path"


def frame(number: int, boxes: Sequence[Box] = BOXES) -> Frame:
    return Frame(
        key=f"f{number}",
        fields={"quarter": "Q1", "angle": "side", "session": 0, "frame": number},
        rows=tuple(BoxRow(number=at, label=at, box=box) for at, box in enumerate(boxes)),
        boxes=tuple(boxes),
    )


def sample(number: int, kind: Kind, box: Box, sample_id: str) -> BoxSample:
    return BoxSample("Q1", "side", 0, number, *box, -1, f"f{number}.jpg", kind, sample_id)


def listing(*frames: Frame) -> Listing:
    medium = Files(Path(), {one.key: f"{one.key}.jpg" for one in frames})
    return Listing(
        frames=frames_of(frames),
        medium=medium,
        rows=6,
        inputs={"train_meta": "abc"},
        settings={"format": "atmacup"},
        places={"img_root": "/images"},
    )


FRAMES = [frame(1), frame(2), frame(3)]
LISTING = listing(*FRAMES)
SIZES = [SIZE] * 3


def test_boxes_kinds_and_ids_are_those_of_the_csv(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    samples = [
        sample(1, Kind.BACKGROUND, Box(1, 2, 30, 40), "f1#bg007"),
        sample(2, Kind.PARTIAL, Box(3, 4, 50, 60), "f2#001p3"),
        sample(1, Kind.PARTIAL, Box(0.5, 4, 9.25, 8), "f1#000p0"),
    ]
    write_negatives_csv(path, samples)
    negatives = csv_negatives(path, LISTING)
    assert negatives(FRAMES, SIZES) == [
        [
            Negative("f1#bg007", Kind.BACKGROUND, Box(1, 2, 30, 40), 2),
            Negative("f1#000p0", Kind.PARTIAL, Box(0.5, 4, 9.25, 8), 4),
        ],
        [Negative("f2#001p3", Kind.PARTIAL, Box(3, 4, 50, 60), 3)],
        [],
    ]


def test_without_ids_backgrounds_are_counted_and_parts_belong_to_the_box_they_overlap_most(
    tmp_path: Path,
) -> None:
    rows = [
        "Q1,side,0,1,400,10,50,60,-1,f1.jpg,background",
        "Q1,side,0,1,150,180,40,50,-1,f1.jpg,partial",  # in the second box only
        "Q1,side,0,2,400,10,50,60,-1,f2.jpg,background",
        "Q1,side,0,1,135,90,20,100,-1,f1.jpg,partial",  # in both; the first is smaller
        "Q1,side,0,1,500,10,50,60,-1,f1.jpg,background",
        "Q1,side,0,1,165,180,35,50,-1,f1.jpg,partial",
    ]
    path = tmp_path / "n.csv"
    path.write_text("\n".join([f"{HEAD},kind", *rows]))
    first, second, _ = csv_negatives(path, LISTING)(FRAMES, SIZES)
    assert [(one.line, one.id) for one in first] == [
        (2, "f1#bg000"),
        (3, "f1#001p0"),
        (5, "f1#000p0"),
        (6, "f1#bg001"),
        (7, "f1#001p1"),
    ]
    assert [one.id for one in second] == ["f2#bg000"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (sample(9, Kind.BACKGROUND, Box(1, 2, 3, 4), "f9#bg000"), "frame 9; lmdb-reid negatives"),
        (sample(1, Kind.BACKGROUND, Box(1, 2, 3, 4), "f2#bg000"), "'f2#bg000' cannot be a backg"),
        (sample(1, Kind.BACKGROUND, Box(1, 2, 3, 4), "f1#000p0"), "'f1#000p0' cannot be a backg"),
        (sample(1, Kind.PARTIAL, Box(1, 2, 3, 4), "f1#bg000"), "'f1#bg000' cannot be a partial"),
        (sample(1, Kind.PARTIAL, Box(1, 2, 3, 4), "f1#000"), "'f1#000' cannot be a partial"),
        (sample(1, Kind.PARTIAL, Box(1, 2, 3, 4), "f1"), "'f1' cannot be a partial"),
    ],
)
def test_a_row_that_fits_no_frame(tmp_path: Path, given: BoxSample, message: str) -> None:
    path = tmp_path / "n.csv"
    write_negatives_csv(path, [sample(1, Kind.BACKGROUND, Box(1, 2, 3, 4), "f1#bg001"), given])
    with pytest.raises(SourceError, match=message) as caught:
        csv_negatives(path, LISTING)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_a_part_of_no_box_cannot_be_numbered(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text(f"{HEAD},kind\nQ1,side,0,1,400,10,50,60,-1,f1.jpg,partial\n")
    with pytest.raises(SourceError, match=r"line 2: 'a part of no box' cannot be a partial"):
        csv_negatives(path, LISTING)
    with pytest.raises(SourceError, match="a part of no box"):
        csv_negatives(path, listing(frame(1, boxes=())))


def test_two_rows_of_one_id(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    one = sample(1, Kind.BACKGROUND, Box(1, 2, 3, 4), "f1#bg001")
    write_negatives_csv(path, [one, replace(one, x=9)])
    with pytest.raises(DuplicateSampleError, match="lines 2 and 3 have the same id: f1#bg001"):
        csv_negatives(path, LISTING)


def test_frames_of_another_layout(tmp_path: Path) -> None:
    write_negatives_csv(
        tmp_path / "n.csv", [sample(1, Kind.BACKGROUND, Box(1, 2, 3, 4), "f1#bg001")]
    )
    nameless = Frame(key="a", fields={"frame": 1}, rows=(), boxes=())
    with pytest.raises(UsageError, match="--negatives needs frames with quarter"):
        csv_negatives(tmp_path / "n.csv", listing(nameless))


def test_ids_alone_name_the_frames_of_another_layout(tmp_path: Path) -> None:
    lines = "x,y,w,h,label_id,img_path,kind,id", "1,2,3,4,-1,a.jpg,background,a#bg000"
    (tmp_path / "n.csv").write_text("\n".join(lines))
    nameless = listing(Frame(key="a", fields={"frame": 1}, rows=(), boxes=()))
    negatives = csv_negatives(tmp_path / "n.csv", nameless)
    ((found,),) = negatives([*nameless.frames], [(10, 10)])
    assert (found.id, found.kind, found.box) == ("a#bg000", Kind.BACKGROUND, Box(1, 2, 3, 4))
    (tmp_path / "n.csv").write_text("\n".join([*lines, lines[1].replace(",a#", ",b#")]))
    with pytest.raises(SourceError, match="line 3: no frame of the source is called b;"):
        csv_negatives(tmp_path / "n.csv", nameless)
    (tmp_path / "n.csv").write_text("\n".join(lines).replace(",id", ",name"))
    with pytest.raises(SourceError, match="lacks id"):
        csv_negatives(tmp_path / "n.csv", nameless)
    of_mot = dataclasses.replace(nameless, settings={"format": "mot"})
    with pytest.raises(SourceNotFoundError, match="lmdb-reid negatives --format mot"):
        csv_negatives(tmp_path / "gone.csv", of_mot)


def test_no_csv(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="Negatives CSV not found"):
        csv_negatives(tmp_path / "n.csv", LISTING)


def test_the_csv_joins_the_inputs_and_takes_the_place_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    write_negatives_csv(path, [sample(1, Kind.BACKGROUND, Box(1, 2, 3, 4), "f1#bg001")])
    negatives = negatives_of(LISTING, BuildSettings(), path)
    assert negatives.inputs == {"negatives": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert negatives.settings == {
        "num_bg_per_frame": None,
        "num_partial_per_box": None,
        "max_person_share": None,
        "seed": None,
    }
    assert negatives.places == {"negatives": str(path)}
    assert len(negatives(FRAMES, SIZES)[0]) == 1

    drawn = negatives_of(LISTING, BuildSettings(seed=3))
    assert (drawn.inputs, drawn.settings, drawn.places) == ({}, {}, {})
    assert drawn(FRAMES, SIZES) == random_negatives(BuildSettings(seed=3))(FRAMES, SIZES)
