from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path

from builders import BoxRow, Files, Frame, Listing, frames_of
from builders.samples import BoxSample, box_samples, sample_id
from lmdb_reid.schema import Box, Kind


def frame(number: int, *rows: BoxRow) -> Frame:
    return Frame(
        key=f"f{number}",
        fields={"quarter": "Q1", "angle": "top", "session": 2, "frame": number},
        rows=rows,
        boxes=(),
    )


def test_a_sample_has_the_guides_attributes_first() -> None:
    assert [field.name for field in fields(BoxSample)] == [
        *("quarter", "angle", "session", "frame", "x", "y", "w", "h", "label_id", "img_path"),
        *("kind", "id"),
    ]
    sample = BoxSample("Q1", "side", 0, 1, 2, 3, 4, 5, 6, "a.jpg")
    assert (sample.kind, sample.id) == (Kind.PERSON, "")
    assert pickle.loads(pickle.dumps(sample)) == sample


def test_samples_stand_in_the_order_of_the_csv() -> None:
    listing = Listing(
        frames=frames_of(
            [
                frame(
                    10,
                    BoxRow(number=0, order=2, label=3, box=Box(1.0, 2.0, 30.0, 40.0)),
                    BoxRow(number=2, order=7, label=-1, box=Box(1.5, 2.0, 30.25, 40.0)),
                ),
                frame(9, BoxRow(number=0, order=0, label=7, box=Box(0.0, -5.0, 3.0, 4.0))),
                frame(11, BoxRow(number=0, order=1, label=1, box=None)),
            ]
        ),
        medium=Files(Path("images"), {f"f{n}": f"f{n}.jpg" for n in (9, 10, 11)}),
        rows=9,
    )
    path = "images/f10.jpg"
    assert box_samples(listing) == [
        BoxSample("Q1", "top", 2, 9, 0, -5, 3, 4, 7, "images/f9.jpg", Kind.PERSON, "f9#000"),
        BoxSample("Q1", "top", 2, 10, 1, 2, 30, 40, 3, path, Kind.PERSON, "f10#000"),
        BoxSample("Q1", "top", 2, 10, 1.5, 2, 30.25, 40, -1, path, Kind.PERSON, "f10#002"),
    ]
    assert isinstance(box_samples(listing)[0].x, int)


def test_ids() -> None:
    box = Box(0, 0, 1, 1)
    assert sample_id(frame(1), BoxRow(number=7, label=0, box=box)) == "f1#007"
    assert sample_id(frame(1), BoxRow(number=1234, label=0, box=box)) == "f1#1234"
    assert sample_id(frame(1), BoxRow(number=7, label=0, box=None)) == "f1"
