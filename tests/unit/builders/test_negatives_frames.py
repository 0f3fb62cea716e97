from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import BoxRow, BuildSettings, Files, Frame, Listing, Rejected, frames_of
from builders.negatives import (
    NearbyNegatives,
    Negative,
    background_boxes,
    list_negatives,
    partial_boxes,
    random_negatives,
)
from lmdb_reid.codec import encode
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Box, Kind, iou

SIZE = (360, 640)
PERSON, OTHER = Box(100.0, 80.0, 60.0, 150.0), Box(300.5, 100.0, 50.0, 120.0)


def frame(*rows: BoxRow, number: int = 1, boxes: Any = None) -> Frame:
    return Frame(
        key=f"Q1-000__side__00__{number:02d}",
        fields={"quarter": "Q1-000", "angle": "side", "session": 0, "frame": number},
        rows=rows,
        boxes=tuple(row.box for row in rows if row.box) if boxes is None else boxes,
    )


def person(number: int, box: Box | None, **more: Any) -> BoxRow:
    return BoxRow(number, number, box, document="m.csv line", entry=number + 2, **more)


def listing(folder: Path, *frames: Frame) -> Listing:
    files = Files(folder, {one.key: f"{one.key}.jpg" for one in frames})
    return Listing(frames=frames_of(frames), medium=files, rows=9)


def path_of(folder: Path, one: Frame) -> Path:
    return folder / f"{one.key}.jpg"


def draw(path: Path) -> None:
    path.write_bytes(encode(np.zeros((*SIZE, 3), np.uint8)))


def test_every_cut_box_gives_its_parts_and_the_frame_its_background(tmp_path: Path) -> None:
    settings = BuildSettings(num_bg_per_frame=2, num_partial_per_box=3, seed=5)
    # A box that is not cut, such as an outlier, keeps backgrounds away and has no parts.
    outlier = Box(400.0, 50.0, 200.0, 250.0)
    one = frame(person(0, PERSON), person(4, OTHER), boxes=(PERSON, outlier, OTHER))
    key = one.key
    expected = [
        Negative(f"{key}#{number:03d}p{slot}", Kind.PARTIAL, part)
        for number, box in ((0, PERSON), (4, OTHER))
        for slot, part in partial_boxes(box, SIZE, seed=5, sample_id=f"{key}#{number:03d}", count=3)
    ] + [
        Negative(f"{key}#bg{slot:03d}", Kind.BACKGROUND, part)
        for slot, part in background_boxes(
            (PERSON, outlier, OTHER), SIZE, seed=5, frame_key=key, count=2
        )
    ]
    assert random_negatives(settings)([one], [SIZE]) == [expected]
    assert [negative.kind for negative in expected] == [Kind.PARTIAL] * 6 + [Kind.BACKGROUND] * 2


def test_the_limit_on_parts_can_be_set(tmp_path: Path) -> None:
    one = frame(person(0, PERSON))
    settings = BuildSettings(num_bg_per_frame=0, num_partial_per_box=30)
    (usual,) = random_negatives(settings)([one], [SIZE])
    (tighter,) = random_negatives(settings, max_iou_partial=0.2)([one], [SIZE])
    assert 0.2 < max(iou(negative.box, PERSON) for negative in usual) < 0.4
    assert 0 < max(iou(negative.box, PERSON) for negative in tighter) < 0.2


def test_only_players_have_parts_and_whole_crops_give_nothing(tmp_path: Path) -> None:
    negatives = random_negatives(BuildSettings())
    junk = frame(person(0, PERSON, kind=Kind.JUNK))
    assert [[one.id for one in made] for made in negatives([junk], [SIZE])] == [
        [f"{junk.key}#bg000"]
    ]
    assert negatives([frame(person(0, None))], [SIZE]) == [[]]


def test_a_listings_negatives_stand_in_the_order_of_a_stores_rows(tmp_path: Path) -> None:
    frames = [frame(person(0, PERSON), number=number) for number in (99, 100)]
    for one in frames:
        draw(path_of(tmp_path, one))
    told: list[tuple[int, int, int]] = []
    settings = BuildSettings(num_partial_per_box=11)
    samples, unread = list_negatives(
        listing(tmp_path, *frames),
        random_negatives(settings),
        num_workers=2,
        progress=lambda *numbers: told.append(numbers),
    )
    ids = [sample.id for sample in samples]
    assert ids == sorted(ids)
    assert len(ids) == 24
    assert unread == []
    assert told == [(1, 2, 12), (2, 2, 24)]
    first = samples[0]
    assert (first.quarter, first.angle, first.session, first.frame) == ("Q1-000", "side", 0, 100)
    assert (first.label_id, first.kind) == (-1, Kind.PARTIAL)
    assert first.img_path == str(path_of(tmp_path, frames[1]))
    (made,) = random_negatives(settings)([frames[1]], [SIZE])
    by_id = {negative.id: negative.box for negative in made}
    assert (first.x, first.y, first.w, first.h) == by_id[first.id]
    assert {type(side) for side in (first.x, first.y, first.w, first.h)} == {int}


def test_a_frame_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    frames = [frame(person(0, PERSON), person(1, OTHER), number=n) for n in (1, 2, 3)]
    draw(path_of(tmp_path, frames[0]))
    path_of(tmp_path, frames[1]).write_bytes(b"no picture")
    samples, unread = list_negatives(listing(tmp_path, *frames), random_negatives(BuildSettings()))
    assert {sample.frame for sample in samples} == {1}
    assert [(row.where, row.frame) for row in unread] == [
        ("m.csv line 2", frames[1].key),
        ("m.csv line 3", frames[1].key),
        ("m.csv line 2", frames[2].key),
        ("m.csv line 3", frames[2].key),
    ]
    assert isinstance(unread[0], Rejected)
    assert unread[0].reason.startswith(f"{frames[1].key}.jpg: ")
    assert "cannot be read" in unread[2].reason


def test_a_number_of_workers_that_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="num_workers must be at least 1, got 0"):
        list_negatives(listing(tmp_path), random_negatives(BuildSettings()), num_workers=0)


def test_neighbours_drawn_together_have_what_each_has_alone() -> None:
    negatives = random_negatives(BuildSettings(num_bg_per_frame=2, num_partial_per_box=2, seed=3))
    frames = [frame(person(0, PERSON), person(1, OTHER), number=number) for number in range(4)]
    nearby = NearbyNegatives(negatives, frames)
    sizes = [SIZE, SIZE, (200, 500), SIZE]  # the third picture is smaller than its neighbours
    for one, size in zip(frames, sizes, strict=True):
        (alone,) = negatives([one], [size])
        assert nearby.of(one, size) == alone
        assert alone


def test_neighbours_in_shares_of_their_pictures_are_drawn_in_pixels() -> None:
    negatives = random_negatives(BuildSettings(num_bg_per_frame=1, seed=3))
    box = Box(0.2, 0.2, 0.1, 0.4)
    shares = [
        Frame(key=f"f{number}", rows=(person(0, box),), boxes=(box,), relative=True)
        for number in range(2)
    ]
    nearby = NearbyNegatives(negatives, shares)
    for one in shares:
        sized = one.in_pixels(SIZE)
        assert [nearby.of(sized, SIZE)] == negatives([sized], [SIZE])
