from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import InvalidSampleError, UsageError
from lmdb_reid.schema import (
    MAX_ID_BYTES,
    NO_LABEL,
    Box,
    Kind,
    check_id,
    check_ids,
    corners,
    iou,
    ious,
    parse_bytes,
    parse_size,
)

coordinate = st.floats(-500, 500)
side = st.floats(0, 500)
boxes = st.builds(Box, coordinate, coordinate, side, side)
sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))
steady = settings(derandomize=True, deadline=None)


def test_kinds_are_as_the_format_has_them() -> None:
    assert {kind.title: int(kind) for kind in Kind} == {
        "person": 0,
        "background": 1,
        "partial": 2,
        "junk": 3,
        "distractor": 4,
    }
    assert NO_LABEL == -1


def test_growing_keeps_the_centre() -> None:
    assert Box(10, 20, 30, 40).grown(1.2) == pytest.approx(Box(7, 16, 36, 48))
    assert Box(10, 20, 30, 40).grown(1.0) == Box(10, 20, 30, 40)
    assert Box(10, 20, 30, 40).area == 1200


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        (Box(1, 2, 3, 4), Box(1, 2, 3, 4)),
        (Box(-1, -2, 3, 4), Box(0, 0, 2, 2)),
        (Box(18, 8, 5, 5), Box(18, 8, 2, 2)),
        (Box(-5, -5, 100, 100), Box(0, 0, 20, 10)),
        (Box(30, 2, 5, 5), Box(20, 2, 0, 5)),
        (Box(-9, 2, 5, 5), Box(0, 2, 0, 5)),
    ],
)
def test_clipping_to_an_image_of_10x20(box: Box, inside: Box) -> None:
    assert box.clipped((10, 20)) == inside


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        (Box(1, 2, 3, 4), (1, 2, 4, 6)),
        (Box(0.5, 0.49, 2, 2), (1, 0, 3, 2)),  # halves go up
        (Box(1.5, 1.5, 1, 1), (2, 2, 3, 3)),
        (Box(3.6, 3.6, 0.2, 0.2), (4, 4, 5, 5)),  # rounds to nothing, keeps a pixel
        (Box(19.9, 9.9, 0.1, 0.1), (19, 9, 20, 10)),  # and stays inside
        (Box(-3, -3, 3.2, 3.2), (0, 0, 1, 1)),
    ],
)
def test_pixels_of_a_box_in_an_image_of_10x20(box: Box, pixels: tuple[int, ...]) -> None:
    assert box.pixels((10, 20)) == pixels


@pytest.mark.parametrize("box", [Box(20, 0, 5, 5), Box(0, -5, 5, 5), Box(3, 3, 0, 5)])
def test_a_box_with_nothing_inside_has_no_pixels(box: Box) -> None:
    x0, y0, x1, y1 = box.pixels((10, 20))
    assert x1 <= x0 or y1 <= y0


@steady
@given(boxes, sizes)
def test_pixels_lie_in_the_image_and_near_the_box(box: Box, size: tuple[int, int]) -> None:
    x0, y0, x1, y1 = box.pixels(size)
    assert 0 <= x0 <= x1 <= size[1]
    assert 0 <= y0 <= y1 <= size[0]
    inside = box.clipped(size)
    if inside.w > 0 and inside.h > 0:
        assert x1 > x0
        assert y1 > y0
        assert abs(x0 - inside.x) <= 1
        assert abs(y1 - (inside.y + inside.h)) <= 1


@steady
@given(boxes, boxes)
def test_iou_is_a_share_and_has_no_order(a: Box, b: Box) -> None:
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= 1 + 1e-9


def test_iou_of_boxes_known() -> None:
    assert iou(Box(0, 0, 2, 2), Box(1, 1, 2, 2)) == pytest.approx(1 / 7)
    assert iou(Box(0, 0, 2, 2), Box(0, 0, 2, 2)) == 1
    assert iou(Box(0, 0, 2, 2), Box(2, 0, 2, 2)) == 0
    assert iou(Box(0, 0, 0, 0), Box(0, 0, 0, 0)) == 0
    assert not math.isnan(iou(Box(0, 0, 0, 2), Box(0, 0, 2, 0)))


@pytest.mark.parametrize("text", ["a", "ü#001", "Q1/Ω 3#bg000", "x" * MAX_ID_BYTES, "é" * 255])
def test_ids_that_a_store_can_hold(text: str) -> None:
    assert check_id(text) == text.encode()


@pytest.mark.parametrize(
    "text",
    ["", "x" * 512, "é" * 256, "a\nb", "a\0", "\x7f", "\x85", "\ud800", b"a", 7, None],
)
def test_ids_that_a_store_cannot_hold(text: str) -> None:
    with pytest.raises(InvalidSampleError, match="sample id"):
        check_id(text)


def test_sizes_as_the_command_line_gives_them() -> None:
    assert parse_size("256x128") == (256, 128)
    assert parse_size("native") is None


@pytest.mark.parametrize(
    "text", ["", "256", "256X128", "0x128", "256x0", "-1x5", "256x128x3", " 256x128", "256x123456"]
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"must be HEIGHTxWIDTH"):
        parse_size(text)


@given(
    st.lists(st.text(max_size=3) | st.sampled_from(["a" * 127, "é" * 128, "漢" * 171, "\udcff"]))
)
def test_many_ids_are_refused_where_one_of_them_is(ids: list[str]) -> None:
    def refused(ids: list[str]) -> str:
        try:
            check_ids(ids)
        except InvalidSampleError as error:
            return str(error)
        return ""

    def first_refused() -> str:
        for one in ids:
            try:
                check_id(one)
            except InvalidSampleError as error:
                return str(error)
        return ""

    assert refused(ids) == first_refused()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1GB", 10**9),
        ("500 MB", 500 * 10**6),
        ("1.5GiB", 3 << 29),
        ("2k", 2000),
        ("7", 7),
        (" 3 tb ", 3 * 10**12),
    ],
)
def test_a_number_of_bytes_from_words(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "0.5", "1 ZB", "1i", "one GB", "1e9"])
def test_words_that_are_no_number_of_bytes(text: str) -> None:
    with pytest.raises(UsageError, match=r'such as "1GB"'):
        parse_bytes(text)


@given(st.lists(st.tuples(boxes, boxes), max_size=20))
@steady
def test_overlaps_of_many_are_those_of_each(pairs: list[tuple[Box, Box]]) -> None:
    one, other = (np.array([pair[at] for pair in pairs]).reshape(-1, 4) for at in (0, 1))
    assert ious(one, other).tolist() == [iou(a, b) for a, b in pairs]


def test_overlaps_of_many_without_area_are_0_and_without_numbers_none() -> None:
    one = np.array([[0, 0, 0, 5], [np.nan, 0, 1, 1], [0, 0, 2, 2]], float)
    other = np.array([[0, 0, 5, 5], [0, 0, 1, 1], [1, 1, 2, 2]], float)
    assert ious(one, other).tolist() == pytest.approx([0, math.nan, 1 / 7], nan_ok=True)


@given(st.lists(st.tuples(boxes, sizes), max_size=20))
@steady
def test_corners_of_many_are_those_of_each(cases: list[tuple[Box, tuple[int, int]]]) -> None:
    given_boxes = np.array([box for box, _ in cases], float).reshape(-1, 4)
    extents = np.array([(width, height) for _, (height, width) in cases], float).reshape(-1, 2)
    starts, stops = corners(given_boxes, extents)
    inside = [box.clipped(size) for box, size in cases]
    assert starts.tolist() == [[box.x, box.y] for box in inside]
    assert (stops - starts).tolist() == [[box.w, box.h] for box in inside]
