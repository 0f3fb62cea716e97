"""What a box means in pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from builders.cutting import cut
from lmdb_reid.schema import Box

HEIGHT, WIDTH = 30, 40


def numbered() -> npt.NDArray[np.uint8]:
    """A frame whose every pixel is its column, its row and 7."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x, y, np.full_like(x, 7)], axis=-1).astype(np.uint8)


def places(part: npt.NDArray[np.uint8] | None) -> tuple[list[int], list[int]]:
    """The columns and rows of the frame that are in a part of it."""
    assert part is not None
    return part[0, :, 0].tolist(), part[:, 0, 1].tolist()


def test_whole_pixels_are_cut_as_they_are() -> None:
    frame = numbered()
    part = cut(frame, Box(3, 5, 4, 6))
    assert places(part) == ([3, 4, 5, 6], [5, 6, 7, 8, 9, 10])
    assert part is not None
    assert np.shares_memory(part, frame)  # a view: nothing is copied before it is encoded


def test_the_whole_frame() -> None:
    part = cut(numbered(), Box(0, 0, WIDTH, HEIGHT), expand=3.0)
    np.testing.assert_array_equal(part, numbered())


@pytest.mark.parametrize(
    ("box", "columns"),
    [
        ((10, 5, 4, 4), [9, 10, 11, 12, 13, 14]),
        ((10, 5, 5, 4), [9, 10, 11, 12, 13, 14, 15]),
        ((0, 5, 4, 4), [0, 1, 2, 3, 4]),
        ((37, 5, 4, 4), [36, 37, 38, 39]),
        ((-2, 5, 4, 4), [0, 1, 2]),
    ],
)
def test_growing_by_half_keeps_the_centre(box: tuple[int, ...], columns: list[int]) -> None:
    assert places(cut(numbered(), Box(*box), expand=1.5))[0] == columns


@pytest.mark.parametrize(
    "box", [(40, 0, 5, 5), (-5, 0, 5, 5), (0, 30, 5, 5), (0, -9, 5, 5), (41, 31, 1, 1)]
)
def test_a_box_wholly_outside_gives_nothing_however_far_it_grows(box: tuple[int, ...]) -> None:
    assert cut(numbered(), Box(*box)) is None
    assert cut(numbered(), Box(*box), expand=10.0, size=(8, 4)) is None


@pytest.mark.parametrize(
    ("box", "column"),
    [((39.9, 3, 5, 5), 39), ((-4.9, 3, 5, 5), 0), ((7.2, 3, 0.1, 5), 7)],
)
def test_a_sliver_keeps_one_pixel(box: tuple[float, ...], column: int) -> None:
    assert places(cut(numbered(), Box(*box)))[0] == [column]


def test_a_size_is_height_and_width() -> None:
    part = cut(numbered(), Box(3, 5, 20, 10), size=(12, 6))
    assert part is not None
    assert part.shape == (12, 6, 3)
    assert part.flags.c_contiguous


sides = st.floats(-60, 60).map(lambda value: round(value * 4) / 4)
lengths = st.floats(0.25, 60).map(lambda value: max(round(value * 4), 1) / 4)


@given(sides, sides, lengths, lengths, st.sampled_from([1.0, 1.5, 2.0]))
def test_pixels_are_those_whose_middle_is_inside(
    x: float, y: float, w: float, h: float, expand: float
) -> None:
    part = cut(numbered(), Box(x, y, w, h), expand=expand)
    outside = x >= WIDTH or y >= HEIGHT or x + w <= 0 or y + h <= 0
    assert (part is None) == outside
    assume(not outside)
    found = places(part)
    grown = [(x + w / 2, w * expand / 2, WIDTH), (y + h / 2, h * expand / 2, HEIGHT)]
    for (centre, half, length), there in zip(grown, found, strict=True):
        inside = [i for i in range(length) if centre - half < i + 0.5 <= centre + half]
        assert there == inside or (not inside and len(there) == 1)
