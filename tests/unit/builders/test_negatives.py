from __future__ import annotations

import hashlib
import math
import random
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.negatives import _boxes, background_boxes, background_id, partial_boxes, partial_id
from builders.negatives._boxes import backgrounds, partials
from lmdb_reid.errors import InvalidSampleError, UsageError
from lmdb_reid.schema import Box, Size, iou

FULL_HD = (1080, 1920)
Spans = tuple[int, int, int, int]  # shortest, longest, start, stop
PERSON = Box(100.0, 100.0, 70.0, 150.0)

sizes = st.tuples(st.integers(1, 2200), st.integers(1, 3900))
coordinates = st.integers(-200, 4000) | st.floats(-200, 4000)
sides = st.integers(1, 600) | st.floats(0.5, 600)
any_box = st.builds(Box, coordinates, coordinates, sides, sides)
seeds = st.integers(-5, 2**40)
keys = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=20)


def _is_whole(box: Box) -> bool:
    return all(isinstance(value, float) and value.is_integer() for value in box)


def _lies_in(box: Box, size: Size) -> bool:
    height, width = size
    return box.x >= 0 and box.y >= 0 and box.x + box.w <= width and box.y + box.h <= height


# ids


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (background_id("Q1-000__side__00__01", 0), "Q1-000__side__00__01#bg000"),
        (background_id("a/b", 41), "a/b#bg041"),
        (partial_id("Q1-000__side__00__01#007", 0), "Q1-000__side__00__01#007p0"),
        (partial_id("a#012", 10), "a#012p10"),
    ],
)
def test_ids(made: str, expected: str) -> None:
    assert made == expected


# golden values: a change of the random stream would rename nothing and move every negative


@pytest.mark.parametrize(
    ("seed", "frame_key", "expected"),
    [
        (
            0,
            "Q1-000__side__00__01",
            [(1091, 980, 567, 755), (1437, 1461, 857, 489), (1145, 1269, 680, 861)],
        ),
        (42, "Q1-000__side__00__01", [(1661, 1208, 1300, 813)]),
        (0, "Q1-000__top__00__01", [(2195, 50, 1221, 753)]),
    ],
)
def test_golden_backgrounds(
    seed: int, frame_key: str, expected: list[tuple[int, int, int, int]]
) -> None:
    found = background_boxes(
        [Box(1526, 961, 60, 151)],
        (2160, 3840),
        seed=seed,
        frame_key=frame_key,
        count=len(expected),
    )
    assert found == list(enumerate(expected))


def test_golden_backgrounds_with_slots_given_up() -> None:
    # Only the right quarter of the frame is free.
    found = background_boxes(
        [Box(0, 0, 300, 400)], (400, 400), seed=0, frame_key="f", count=12, max_iou=1e-9
    )
    assert found == [
        (4, (312, 120, 75, 40)),
        (5, (303, 104, 74, 159)),
        (6, (352, 121, 40, 92)),
        (8, (305, 172, 57, 148)),
        (9, (334, 90, 53, 122)),
    ]


@pytest.mark.parametrize(
    ("box", "size", "seed", "sample_id", "expected"),
    [
        (
            Box(1526, 961, 60, 151),
            (2160, 3840),
            0,
            "Q1-000__side__00__01#000",
            [(1547, 982, 24, 67), (1540, 965, 23, 48), (1540, 976, 31, 73)],
        ),
        (
            Box(-20.5, 100.25, 90, 200),
            FULL_HD,
            7,
            "ü/3#012",
            [(2, 190, 51, 94), (1, 129, 62, 103)],
        ),
    ],
)
def test_golden_partials(
    box: Box, size: Size, seed: int, sample_id: str, expected: list[tuple[int, int, int, int]]
) -> None:
    found = partial_boxes(box, size, seed=seed, sample_id=sample_id, count=len(expected))
    assert found == list(enumerate(expected))


# backgrounds


@settings(deadline=None)
@given(st.lists(any_box, max_size=12), sizes, seeds, keys, st.floats(0.01, 1))
def test_backgrounds_keep_their_promises(
    boxes: list[Box], size: Size, seed: int, frame_key: str, max_iou: float
) -> None:
    height, width = size
    found = background_boxes(boxes, size, seed=seed, frame_key=frame_key, count=4, max_iou=max_iou)
    slots = [slot for slot, _ in found]
    assert slots == sorted(set(slots))
    assert set(slots) <= set(range(4))
    for _, box in found:
        assert _is_whole(box)
        assert _lies_in(box, size)
        assert width <= 10 * box.w <= 4 * width
        assert height <= 10 * box.h <= 4 * height
        assert min(box.w, box.h) >= 8
        assert all(iou(box, other) < max_iou for other in boxes)


@settings(deadline=None)
@given(st.lists(any_box, max_size=12), sizes, seeds, st.integers(0, 9), st.randoms())
def test_a_background_depends_on_nothing_but_its_slot(
    boxes: list[Box], size: Size, seed: int, count: int, order: random.Random
) -> None:
    ten = background_boxes(boxes, size, seed=seed, frame_key="f", count=10)
    shuffled = order.sample(boxes, len(boxes))
    fewer = background_boxes(shuffled, size, seed=seed, frame_key="f", count=count)
    assert fewer == [(slot, box) for slot, box in ten if slot < count]


def test_an_empty_frame_fills_every_slot() -> None:
    found = background_boxes([], FULL_HD, seed=0, frame_key="f", count=50)
    assert [slot for slot, _ in found] == list(range(50))
    assert len({box for _, box in found}) == 50


def test_seed_and_frame_key_both_matter() -> None:
    results = {
        tuple(background_boxes([], FULL_HD, seed=seed, frame_key=key, count=1))
        for seed in (0, 1)
        for key in ("a", "b")
    }
    assert len(results) == 4


def test_background_sides_reach_both_limits_and_not_beyond() -> None:
    found = background_boxes([], (200, 100), seed=0, frame_key="f", count=1000)
    assert {box.w for _, box in found} == set(range(10, 41))
    assert {box.h for _, box in found} == set(range(20, 81))
    assert min(box.x for _, box in found) == 0
    assert max(box.x + box.w for _, box in found) == 100


def test_the_smallest_frame_has_one_background_size() -> None:
    # 40 % of 20 pixels is 8, the shortest side there may be.
    found = background_boxes([], (20, 20), seed=0, frame_key="f", count=9)
    assert len(found) == 9
    assert {(box.w, box.h) for _, box in found} == {(8, 8)}


@pytest.mark.parametrize("size", [(19, 1000), (1000, 19), (1, 1)])
def test_a_frame_without_room_has_no_background(size: Size) -> None:
    assert background_boxes([], size, seed=0, frame_key="f", count=5) == []


def test_backgrounds_take_their_limit_from_iou_with_the_boxes_as_given() -> None:
    # A result has at most 16 % of the frame, and a box over the whole frame that share as IoU.
    whole = [Box(0, 0, 1000, 1000)]
    found = background_boxes(whole, (1000, 1000), seed=0, frame_key="f", count=200)
    shares = [box.area / 1e6 for _, box in found]
    assert 0.09 < max(shares) < 0.1
    # Four times the frame: no share is over 4 %, and every first candidate will do.
    free = background_boxes([], (1000, 1000), seed=0, frame_key="f", count=200)
    vast = [Box(0, 0, 2000, 2000)]
    assert background_boxes(vast, (1000, 1000), seed=0, frame_key="f", count=200) == free


# partials


@settings(deadline=None)
@given(any_box, sizes, seeds, keys, st.floats(0.05, 1))
def test_partials_keep_their_promises(
    person: Box, size: Size, seed: int, sample_id: str, max_iou: float
) -> None:
    found = partial_boxes(person, size, seed=seed, sample_id=sample_id, count=4, max_iou=max_iou)
    slots = [slot for slot, _ in found]
    assert slots == sorted(set(slots))
    assert set(slots) <= set(range(4))
    rounding = 1e-9
    for _, box in found:
        assert _is_whole(box)
        assert _lies_in(box, size)
        assert box.x >= person.x
        assert box.y >= person.y
        assert box.x + box.w <= person.x + person.w + rounding
        assert box.y + box.h <= person.y + person.h + rounding
        assert 0.3 - rounding <= box.w / person.w <= 0.7 + rounding
        assert 0.3 - rounding <= box.h / person.h <= 0.7 + rounding
        assert min(box.w, box.h) >= 8
        assert iou(box, person) < max_iou


@settings(deadline=None)
@given(any_box, sizes, seeds, keys, st.integers(0, 9))
def test_a_partial_depends_on_nothing_but_its_slot(
    person: Box, size: Size, seed: int, sample_id: str, count: int
) -> None:
    ten = partial_boxes(person, size, seed=seed, sample_id=sample_id, count=10)
    fewer = partial_boxes(person, size, seed=seed, sample_id=sample_id, count=count)
    assert fewer == [(slot, box) for slot, box in ten if slot < count]


def test_seed_and_sample_id_both_matter() -> None:
    results = {
        tuple(partial_boxes(PERSON, FULL_HD, seed=seed, sample_id=sample_id, count=1))
        for seed in (0, 1)
        for sample_id in ("f#000", "f#001")
    }
    assert len(results) == 4


def test_partial_sides_reach_both_limits_and_not_beyond() -> None:
    found = partial_boxes(PERSON, FULL_HD, seed=0, sample_id="f#000", count=1000)
    assert {box.w for _, box in found} == set(range(21, 50))
    assert {box.h for _, box in found} == set(range(45, 106))
    assert max(iou(box, PERSON) for _, box in found) < 0.4


@pytest.mark.parametrize("side", range(10, 1010, 10))
def test_limits_are_whole_for_sides_of_whole_tens(side: int) -> None:
    # 0.7 * 90 is 62.99999999999999.
    sides = np.full((1, 2), float(side))
    room = _boxes._room(sides, 3, 7, np.zeros((1, 2)), sides)
    assert room.shortest.tolist() == [[max(8, side * 3 // 10)] * 2]
    assert room.longest.tolist() == [[side * 7 // 10] * 2]


def test_a_partial_of_twelve_pixels_can_only_be_eight() -> None:
    # 70 % of 12 is 8.4, so 8x8 alone is possible: IoU 64 / 144 = 0.44.
    small = Box(30.0, 40.0, 12.0, 12.0)
    assert partial_boxes(small, FULL_HD, seed=0, sample_id="f#000", count=6) == []
    found = partial_boxes(small, FULL_HD, seed=0, sample_id="f#000", count=6, max_iou=0.45)
    assert [(slot, box.w, box.h) for slot, box in found] == [(slot, 8, 8) for slot in range(6)]


@pytest.mark.parametrize(
    ("box", "why"),
    [
        (Box(30, 40, 11, 200), "70 % of 11 is under 8"),
        (Box(-50, 0, 60, 100), "10 columns are in the frame, 18 are needed"),
        (Box(0, 980, 60, 200), "the frame ends 100 rows down, 60 are needed but 20 are there"),
        (Box(-70, 0, 60, 100), "left of the frame"),
        (Box(0, 2000, 60, 100), "below the frame"),
        (Box(30, 40, 0, 100), "no width"),
        (Box(30, 40, 60, -100), "negative height"),
    ],
)
def test_a_box_without_room_has_no_partial(box: Box, why: str) -> None:
    assert partial_boxes(box, (1000, 1920), seed=0, sample_id="f#000", count=5) == [], why


def test_partials_lie_in_the_visible_part_but_measure_the_whole_box() -> None:
    # 30 of 60 columns are in the frame: 30 % of the whole side is 18, and the room ends at 30.
    cut = Box(-30.0, 0.0, 60.0, 100.0)
    found = partial_boxes(cut, FULL_HD, seed=0, sample_id="f#000", count=500)
    assert {box.w for _, box in found} == set(range(18, 31))
    assert min(box.x for _, box in found) == 0
    assert max(box.x + box.w for _, box in found) == 30


def test_partials_stay_on_the_whole_pixels_inside_a_fractional_box() -> None:
    # From 10.5 to 41.5: pixels 11 to 41; 30 and 70 % of 31 are 9.3 and 21.7.
    found = partial_boxes(
        Box(10.5, 20.0, 31.0, 100.0), FULL_HD, seed=0, sample_id="f#000", count=800
    )
    assert min(box.x for _, box in found) == 11
    assert max(box.x + box.w for _, box in found) == 41
    assert {box.w for _, box in found} == set(range(10, 22))


# both


def one_by_one(
    room: tuple[Spans, Spans], name: str, boxes: list[Box], max_iou: float, tries: int = 20
) -> Box | None:
    """A slot as the docstrings tell it, in plain Python: the reference for what is done at once."""
    for attempt in range(tries):
        digest = hashlib.blake2b(f"{name}|{attempt}".encode(), digest_size=32).digest()
        w, h, x, y = ((word >> 11) / 2**53 for word in struct.unpack("<4Q", digest))
        spans = []
        for (shortest, longest, start, stop), side_draw, place_draw in zip(
            room, (w, h), (x, y), strict=True
        ):
            if longest < shortest:
                return None
            side = shortest + math.floor(side_draw * (longest - shortest + 1))
            spans.append((start + math.floor(place_draw * (stop - start - side + 1)), side))
        candidate = Box(spans[0][0], spans[1][0], spans[0][1], spans[1][1])
        if all(iou(candidate, box) < max_iou for box in boxes):
            return candidate
    return None


def span(length: float, low: int, high: int, start: int, stop: int) -> Spans:
    shortest = max(8, math.ceil(length / 10 * low))
    return shortest, min(math.floor(length / 10 * high), stop - start), start, stop


@settings(deadline=None)
@given(st.lists(any_box, max_size=6), sizes, seeds, keys, st.integers(0, 5), st.floats(0.01, 1))
def test_slots_are_those_that_are_found_one_by_one(
    boxes: list[Box], size: Size, seed: int, key: str, count: int, max_iou: float
) -> None:
    height, width = size
    everywhere = span(width, 1, 4, 0, width), span(height, 1, 4, 0, height)
    names = [f"{seed}|{background_id(key, slot)}" for slot in range(count)]
    expected = [one_by_one(everywhere, name, boxes, max_iou) for name in names]
    found = background_boxes(boxes, size, seed=seed, frame_key=key, count=count, max_iou=max_iou)
    assert found == [(slot, box) for slot, box in enumerate(expected) if box]
    for box in boxes:
        x, y, w, h = box.clipped(size)
        room = (
            span(box.w, 3, 7, math.ceil(x), math.floor(x + w)),
            span(box.h, 3, 7, math.ceil(y), math.floor(y + h)),
        )
        names = [f"{seed}|{partial_id(key, slot)}" for slot in range(count)]
        expected = [one_by_one(room, name, [box], max_iou) for name in names]
        found = partial_boxes(box, size, seed=seed, sample_id=key, count=count, max_iou=max_iou)
        assert found == [(slot, part) for slot, part in enumerate(expected) if part]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(any_box, max_size=4), sizes), max_size=5), seeds, st.integers(0, 3)
)
def test_many_frames_at_once_are_the_same_as_each_alone(
    frames: list[tuple[list[Box], Size]], seed: int, count: int
) -> None:
    names = [f"f{number}" for number in range(len(frames))]
    found = backgrounds(
        [boxes for boxes, _ in frames],
        [size for _, size in frames],
        names,
        seed=seed,
        count=count,
    )
    assert found == [
        (number, slot, box)
        for number, (boxes, size) in enumerate(frames)
        for slot, box in background_boxes(
            boxes, size, seed=seed, frame_key=names[number], count=count
        )
    ]
    people = [(box, size, f"p{at}") for boxes, size in frames for at, box in enumerate(boxes)]
    parts = partials(
        [box for box, _, _ in people],
        [size for _, size, _ in people],
        [name for _, _, name in people],
        seed=seed,
        count=count,
    )
    assert parts == [
        (number, slot, part)
        for number, (box, size, name) in enumerate(people)
        for slot, part in partial_boxes(box, size, seed=seed, sample_id=name, count=count)
    ]


def test_a_slot_is_given_up_after_twenty_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    draws = _boxes._draws

    def noted(names: Iterable[str]) -> Any:
        asked.append(list(names))
        return draws(asked[-1])

    monkeypatch.setattr(_boxes, "_draws", noted)
    monkeypatch.setattr(_boxes, "ious", lambda one, _other: np.ones(len(one)))
    assert background_boxes([PERSON], FULL_HD, seed=0, frame_key="f", count=3) == []
    assert list(map(len, asked)) == [3] * 20
    assert len({name for names in asked for name in names}) == 60
    assert partial_boxes(PERSON, FULL_HD, seed=0, sample_id="f#000", count=2) == []
    assert len(asked) == 40


def test_an_iou_of_exactly_the_limit_is_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_boxes, "ious", lambda one, _other: np.full(len(one), 0.1))
    assert background_boxes([PERSON], FULL_HD, seed=0, frame_key="f", count=1) == []
    assert len(partial_boxes(PERSON, FULL_HD, seed=0, sample_id="f#000", count=1)) == 1


@pytest.mark.filterwarnings("error")
def test_boxes_larger_than_any_picture_are_no_trouble() -> None:
    vast = Box(0.0, 0.0, 1e308, 1e308)
    assert len(background_boxes([vast], FULL_HD, seed=0, frame_key="f", count=3)) == 3
    assert partial_boxes(vast, FULL_HD, seed=0, sample_id="f#000", count=3) == []


def test_the_shared_generator_is_neither_used_nor_advanced() -> None:
    random.seed(1)
    state = random.getstate()
    background_boxes([PERSON], FULL_HD, seed=0, frame_key="f", count=3)
    partial_boxes(PERSON, FULL_HD, seed=0, sample_id="f#000", count=3)
    assert random.getstate() == state


@pytest.mark.parametrize("count", [-1, 1001, 10**9, 1.0, "2", None])
def test_a_count_that_cannot_be_meant_is_refused(count: object) -> None:
    with pytest.raises(UsageError, match="must be a whole number from 0 to 1000"):
        background_boxes([], FULL_HD, seed=0, frame_key="f", count=count)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must be a whole number from 0 to 1000"):
        partial_boxes(PERSON, FULL_HD, seed=0, sample_id="f#0", count=count)  # type: ignore[arg-type]


@pytest.mark.parametrize("max_iou", [0.0, -0.1, 1.1, math.nan])
def test_a_limit_that_cannot_be_meant_is_refused(max_iou: float) -> None:
    with pytest.raises(UsageError, match="max_iou"):
        background_boxes([], FULL_HD, seed=0, frame_key="f", count=1, max_iou=max_iou)
    with pytest.raises(UsageError, match="max_iou"):
        partial_boxes(PERSON, FULL_HD, seed=0, sample_id="f#0", count=1, max_iou=max_iou)


@pytest.mark.parametrize("size", [(0, 100), (100, 0), (-1, 5)])
def test_a_size_without_pixels_is_refused(size: Size) -> None:
    with pytest.raises(UsageError, match="size"):
        background_boxes([], size, seed=0, frame_key="f", count=1)
    with pytest.raises(UsageError, match="size"):
        partial_boxes(PERSON, size, seed=0, sample_id="f#0", count=1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(4))
def test_a_box_that_is_not_finite_is_refused(bad: float, place: int) -> None:
    values = list(PERSON)
    values[place] = bad
    box = Box(*values)
    with pytest.raises(UsageError, match="not finite"):
        background_boxes([PERSON, box], FULL_HD, seed=0, frame_key="f", count=1)
    with pytest.raises(UsageError, match="not finite"):
        partial_boxes(box, FULL_HD, seed=0, sample_id="f#0", count=1)


@pytest.mark.parametrize("key", ["a\nb", "\udcff", "k" * 510])
def test_an_id_that_no_store_holds_is_refused(key: str) -> None:
    with pytest.raises(InvalidSampleError):
        background_boxes([], FULL_HD, seed=0, frame_key=key, count=1)
    with pytest.raises(InvalidSampleError):
        partial_boxes(PERSON, FULL_HD, seed=0, sample_id=key, count=1)
