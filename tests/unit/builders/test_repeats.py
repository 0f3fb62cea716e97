"""Rows that stand in a source twice, and people who stand in a frame twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from builders import AtmaCup, BuildSettings, ColumnRoles, Csv, build
from builders.job import job_of
from builders.media import Files
from builders.repeats import DOUBLED, REPEATED, without_repeats
from builders.sources import BoxRow, Frame, Listing, frames_of
from lmdb_reid.schema import Box, Kind
from lmdb_reid.store import Store
from training.guide import build_open_set_splits_cv

HEAD = "quarter,angle,session,frame,x,y,w,h,label_id"


def listing_of(frames: list[list[tuple[Any, ...]]]) -> Listing:
    """Frames f0, f1, ... of (label, x), (label, x, kind) rows."""
    made = []
    for number, rows in enumerate(frames):
        boxes = [
            BoxRow(at, label, Box(float(x), 2.0, 10.0, 20.0), *kind, document="a line", entry=at)
            for at, (label, x, *kind) in enumerate(rows)
        ]
        known = tuple(row.box for row in boxes if row.box is not None)
        made.append(Frame(key=f"f{number}", rows=tuple(boxes), boxes=known))
    rows = sum(map(len, frames))
    return Listing(frames=frames_of(made), medium=Files(Path(), {}), rows=rows)


def cut(listing: Listing) -> list[list[tuple[int, int]]]:
    """(number, label) of the rows of each frame."""
    return [[(row.number, row.label) for row in frame.rows] for frame in listing.frames]


def test_a_row_that_was_there_is_left_out_and_others_keep_their_numbers() -> None:
    found = without_repeats(listing_of([[(1, 5), (2, 6), (1, 5), (3, 7)], [(1, 5), (1, 5)]]))
    assert cut(found) == [[(0, 1), (1, 2), (3, 3)], [(0, 1)]]
    assert [(row.where, row.frame) for row in found.dropped] == [
        ("a line 2", "f0"),
        ("a line 1", "f1"),
    ]
    assert {row.reason for row in found.dropped} == {REPEATED}
    assert found.doubled == []
    assert [len(frame.boxes) for frame in found.frames] == [3, 1]


def test_a_person_in_two_boxes_is_cut_twice_and_named() -> None:
    listing = listing_of([[(1, 5), (1, 6), (2, 5), (1, 7), (1, 5)]])
    found = without_repeats(listing)
    assert cut(found) == [[(0, 1), (1, 1), (2, 2), (3, 1)]]
    assert [row.where for row in found.doubled] == ["a line 1", "a line 3"]
    assert {row.reason for row in found.doubled} == {DOUBLED}
    assert [row.where for row in found.dropped] == ["a line 4"]


def test_strangers_are_no_one_person() -> None:
    found = without_repeats(listing_of([[(-1, 5), (-1, 6), (-1, 5)]]))
    assert cut(found) == [[(0, -1), (1, -1)]], "the same box is the same crop, whoever it is"
    assert found.doubled == []


def test_other_kinds_labels_and_signs_of_zero() -> None:
    rows = [(1, 0.0), (2, 0.0), (1, 0.0, Kind.JUNK), (1, -0.0)]
    assert cut(without_repeats(listing_of([rows]))) == [[(0, 1), (1, 2), (2, 1)]]


def test_a_listing_without_any_is_the_same_object() -> None:
    listing = listing_of([[(1, 5), (2, 6)], [(1, 5)], []])
    assert without_repeats(listing) is listing
    nothing = listing_of([])
    assert without_repeats(nothing) is nothing


def test_the_whole_picture_twice_stays_an_error() -> None:
    frame = Frame(key="f", rows=(BoxRow(0, 1, None), BoxRow(1, 2, None)))
    listing = Listing(frames=frames_of([frame]), medium=Files(Path(), {}), rows=2)
    source = SimpleNamespace(name="own", roles=None, read=lambda: listing)
    with pytest.raises(ValueError, match="more than one row for the whole picture"):
        job_of(source)


rows_of_a_frame = st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 3)), max_size=8)


@settings(deadline=None, max_examples=60)
@given(st.lists(rows_of_a_frame, max_size=4))
def test_it_is_what_a_walk_through_the_rows_finds(frames: list[list[tuple[int, int]]]) -> None:
    found = without_repeats(listing_of(frames))
    wanted, dropped, doubled = [], [], []
    for number, rows in enumerate(frames):
        seen: list[tuple[int, int]] = []
        kept = []
        for at, (label, x) in enumerate(rows):
            name = (f"a line {at}", f"f{number}")
            if (label, x) in seen:
                dropped.append(name)
                continue
            if label >= 0 and label in {one for one, _ in seen}:
                doubled.append(name)
            seen.append((label, x))
            kept.append((at, label))
        wanted.append(kept)
    assert cut(found) == wanted
    assert [(row.where, row.frame) for row in found.dropped] == dropped
    assert [(row.where, row.frame) for row in found.doubled] == doubled


# -- in builds


def new_data(folder: Path, *rows: str, head: str = HEAD) -> tuple[Path, Path]:
    (folder / "images").mkdir()
    for frame in (1, 2):
        noise = np.random.default_rng(frame).integers(0, 256, (90, 160, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"images/Q__side__00__{frame:02d}.jpg")
    (folder / "m.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder / "m.csv", folder / "images"


ROWS = [f"Q,side,0,{frame},{10 + 30 * who},20,20,40,{who}" for frame in (1, 2) for who in range(4)]


def test_a_csv_that_was_joined_with_itself_builds_what_it_built_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    size = BuildSettings(size=(32, 16), num_bg_per_frame=0)
    once = build(AtmaCup(*new_data(tmp_path / "a", *ROWS)), tmp_path / "a.lmdb", size)
    both = build(AtmaCup(*new_data(tmp_path / "b", *ROWS, *ROWS)), tmp_path / "b.lmdb", size)
    with Store(once.out) as first, Store(both.out) as second:
        assert first.manifest.digest == second.manifest.digest
        crc32 = second.columns["crc32"][second.query("kind == 0")]
        assert len(np.unique(crc32)) == len(crc32) == 8
    assert [row.where for row in both.dropped] == [f"m.csv line {line}" for line in range(10, 18)]
    assert "  left out    8 rows" in both.lines()
    assert f"    m.csv line 10: {REPEATED}" in both.lines()


def test_one_person_twice_in_a_frame_is_counted_in_the_report(tmp_path: Path) -> None:
    data = new_data(tmp_path, *ROWS, "Q,side,0,1,100,30,20,40,3")
    report = build(AtmaCup(*data), tmp_path / "s.lmdb", BuildSettings(size=(32, 16)))
    assert report.kinds["person"] == 9
    at = report.lines().index("  doubled     1 rows")
    assert report.lines()[at + 1] == f"    m.csv line 10: {DOUBLED}"
    assert report.as_json()["doubled"] == [
        {"where": "m.csv line 10", "frame": "Q__side__00__01", "reason": DOUBLED}
    ]


def test_any_csv_is_searched(tmp_path: Path) -> None:
    rows = ["Q__side__00__01.jpg,7,10,20,20,40"] * 2 + ["Q__side__00__01.jpg,8,60,20,20,40"]
    table, images = new_data(tmp_path, *rows, head="path,label,x,y,w,h")
    columns = ColumnRoles.parse("image=path,label=label,x=x,y=y,w=w,h=h")
    job = job_of(Csv(images, table, columns))
    assert (len(job.listing.frames.rows), len(job.listing.dropped)) == (2, 1)


def test_splits_of_a_csv_and_of_its_store_have_the_same_samples(tmp_path: Path) -> None:
    table, images = new_data(tmp_path, *ROWS, *ROWS)
    build(AtmaCup(table, images), tmp_path / "s.lmdb", BuildSettings(size=(32, 16)))
    given: dict[str, Any] = {"n_folds": 2, "unknown_per_fold": 1, "add_negatives": False}
    boxes = build_open_set_splits_cv(table, images, **given)
    rows = build_open_set_splits_cv(store=tmp_path / "s.lmdb", **given)
    with Store(tmp_path / "s.lmdb") as store:
        for part in ("known", "unknown"):
            ids = [store.ids[row] for row in getattr(rows, part)]
            assert [sample.id for sample in getattr(boxes, part)] == ids
            assert len(set(ids)) == len(ids)
