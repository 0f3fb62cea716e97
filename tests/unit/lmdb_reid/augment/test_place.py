from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.augment import Draws, ReIDAugment, draw, gather, landing, place
from lmdb_reid.augment import _place as module
from lmdb_reid.augment._erase import noise_table
from lmdb_reid.errors import MissingExtraError, UnknownRowError, UsageError

Pixels = npt.NDArray[np.uint8]
SIZE = (24, 13)


def pictures(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Pixels:
    """Random bytes from 1 on: only a border is black."""
    return np.random.default_rng(seed).integers(1, 256, (count, *size, 3), np.uint8)


def drawn(recipe: ReIDAugment, count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Draws:
    return draw(recipe, size, seed, 0, np.arange(count, dtype=np.int64))


def reference(images: Pixels, draws: Draws, *, erase: bool = True) -> Pixels:
    """Flip, shift and erase, a pixel at a time."""
    height, width = draws.size
    out = np.zeros_like(images)
    noise = noise_table(draws.size)
    for number, image in enumerate(images):
        down, right = draws.shift[number]
        top, left, bottom, side = draws.erased[number]
        start = draws.noise[number]
        for y in range(height):
            for x in range(width):
                from_y, from_x = y - down, x - right
                if 0 <= from_y < height and 0 <= from_x < width:
                    if draws.flip[number]:
                        from_x = width - 1 - from_x
                    out[number, y, x] = image[from_y, from_x]
                if erase and top <= y < bottom and left <= x < side:
                    if draws.fill is not None:
                        out[number, y, x] = draws.fill
                    else:
                        at = start + 3 * ((y - top) * (side - left) + x - left)
                        out[number, y, x] = noise[at : at + 3]
    return out


RECIPES: list[Any] = [
    ReIDAugment(pad=3),
    ReIDAugment(pad=0),
    ReIDAugment(pad=(24, 13)),
    ReIDAugment(pad=(0, 5), flip=1.0),
    ReIDAugment(pad=(5, 0), flip=0.0),
    ReIDAugment(pad=2, erase=1.0, erase_fill="random"),
    ReIDAugment(pad=2, erase=1.0, erase_fill=(1, 2, 3)),
    ReIDAugment(flip=0.0, pad=0, erase=0.0),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=repr)
def test_pictures_are_what_a_loop_over_their_pixels_gives(recipe: ReIDAugment) -> None:
    images, draws = pictures(40), drawn(recipe, 40)
    wanted = reference(images, draws)
    elsewhere = np.full_like(images, 77)
    is_shifted = gather(images, np.arange(40), elsewhere, draws)
    place(elsewhere, draws, is_shifted=is_shifted)
    assert np.array_equal(elsewhere, wanted)
    assert np.array_equal(images, pictures(40))  # the source is left alone
    place(images, draws)
    assert np.array_equal(images, wanted)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    pad=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    seed=st.integers(0, 1000),
)
def test_no_size_no_border_and_no_cut_changes_a_byte(
    height: int, width: int, pad: tuple[int, int], cuts: list[int], seed: int
) -> None:
    size = (height, width)
    recipe = ReIDAugment(pad=(min(pad[0], height), min(pad[1], width)), erase=0.5)
    images, draws = pictures(12, size, seed), drawn(recipe, 12, size, seed)
    out = images.copy()
    borders = sorted({0, 12, *cuts})
    for start, stop in itertools.pairwise(borders):
        place(out[start:stop], draws, start)
    assert np.array_equal(out, reference(images, draws))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    pad=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    count=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_pictures_written_where_they_land_are_the_same_and_nothing_beside_them_is_touched(
    height: int, width: int, pad: tuple[int, int], count: int, seed: int
) -> None:
    size = (height, width)
    recipe = ReIDAugment(pad=(min(pad[0], height), min(pad[1], width)))
    images, draws = pictures(count, size, seed), drawn(recipe, count + 2, size, seed)
    buffer = np.full((count + 2, *size, 3), 77, np.uint8)
    out = buffer[1:-1]
    slots, outs, is_shifted = landing(out, draws, 1)
    assert sorted(slots) == list(range(count))
    for slot, there in zip(slots, outs, strict=True):
        assert there.flags.c_contiguous
        there[...] = images[slot]
    place(out, draws, 1, is_shifted=is_shifted)
    assert np.array_equal(out, reference(images, draws.take(slice(1, count + 1))))
    assert (buffer[[0, -1]] == 77).all()


def test_three_of_four_pictures_land_where_they_are_shifted_to() -> None:
    draws = drawn(ReIDAugment(), 512, (64, 32))
    _, _, is_shifted = landing(np.empty((512, 64, 32, 3), np.uint8), draws)
    assert 0.7 < np.mean(is_shifted) < 0.8


def test_warped_pictures_land_in_their_slots() -> None:
    draws = drawn(ReIDAugment(pad=3, resize=1.125), 30)
    assert draws.warped is not None
    _, _, is_shifted = landing(np.empty((30, *SIZE, 3), np.uint8), draws)
    assert not np.array(is_shifted)[draws.warped].any()
    assert any(is_shifted)
    assert landing(np.empty((0, *SIZE, 3), np.uint8), draws) == ([], [], [])


@pytest.mark.parametrize("recipe", RECIPES, ids=repr)
def test_pictures_are_gathered_from_any_row_of_what_cannot_be_written(recipe: ReIDAugment) -> None:
    images, rows = pictures(6), np.array([5, 0, 3, 3, 0, 5, 1, 2])
    draws = drawn(recipe, 11)
    images.flags.writeable = False
    out = np.full((8, *SIZE, 3), 77, np.uint8)
    is_shifted = gather(images, rows, out, draws, 3)
    place(out, draws, 3, is_shifted=is_shifted)
    wanted = reference(images[rows], draws.take(np.arange(3, 11)))
    assert np.array_equal(out, wanted)


def test_all_but_those_at_the_ends_are_gathered_shifted() -> None:
    images, draws = pictures(50), drawn(ReIDAugment(flip=0, pad=(3, 3)), 50)
    out = np.empty_like(images)
    is_shifted = gather(images, np.arange(50), out, draws)
    assert is_shifted[1:-1] == (draws.starts != 0).tolist()[1:-1]
    assert is_shifted[0] == (draws.starts[0] < 0)
    assert is_shifted[-1] == (draws.starts[-1] > 0)
    assert gather(images, np.arange(0), out[:0], draws) == []


def test_pixels_are_pinned() -> None:
    flat = np.arange(32 * 64 * 32 * 3) * 7919 % 251 + 1
    recipes = ReIDAugment(), ReIDAugment.preset("transreid")
    found = []
    for recipe in recipes:
        images = flat.astype(np.uint8).reshape(32, 64, 32, 3)
        place(images, drawn(recipe, 32, (64, 32), seed=7))
        found.append(hashlib.sha256(images.tobytes()).hexdigest()[:16])
    assert found == ["0eec4c75f7b8d034", "815562f7c067ed12"]


def test_erasing_waits_for_colour_unless_asked_for() -> None:
    recipe = ReIDAugment(pad=2, erase=1.0, brightness=0.2)
    images, draws = pictures(8), drawn(recipe, 8)
    assert draws.erases_late
    for erase, wanted in ((None, False), (False, False), (True, True)):
        out = images.copy()
        place(out, draws, erase=erase)
        assert np.array_equal(out, reference(images, draws, erase=wanted))
    plain = drawn(ReIDAugment(pad=2, erase=1.0), 8)
    out = images.copy()
    place(out, plain, erase=False)
    assert np.array_equal(out, reference(images, plain, erase=False))


def test_no_pictures_are_no_work() -> None:
    place(pictures(0), drawn(ReIDAugment(pad=2), 0))
    place(pictures(0), drawn(ReIDAugment(pad=2), 5), 5)


def interpolated(image: Pixels, inverse: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bilinear, black outside, a pixel at a time."""
    height, width, _ = image.shape
    out = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            u, v, w = inverse @ (x, y, 1)
            u, v = u / w, v / w
            left, top = int(np.floor(u)), int(np.floor(v))
            for at_y, share_y in ((top, 1 - (v - top)), (top + 1, v - top)):
                for at_x, share_x in ((left, 1 - (u - left)), (left + 1, u - left)):
                    if 0 <= at_y < height and 0 <= at_x < width:
                        out[y, x] += share_y * share_x * image[at_y, at_x]
    return out


WARPS = [
    ReIDAugment(pad=2, erase=0, resize=1.25, resize_p=1.0),
    ReIDAugment(pad=2, erase=0, degrees=20, translate=0.1, scale=(0.8, 1.2), shear=10),
    ReIDAugment(pad=0, erase=0, perspective=0.5, perspective_p=1.0),
]


@pytest.mark.parametrize("recipe", WARPS, ids=repr)
def test_warped_pictures_are_close_to_exact_interpolation(recipe: ReIDAugment) -> None:
    rng = np.random.default_rng(0)
    rough = rng.integers(1, 256, (12, 7, 5, 3), np.uint8)
    images = np.ascontiguousarray(rough.repeat(4, 1).repeat(3, 2)[:, :24, :13])
    draws = drawn(recipe, 12)
    assert draws.warped is not None
    assert draws.warped.all()
    assert draws.inverse is not None
    out, elsewhere = images.copy(), np.empty_like(images)
    place(out, draws)
    place(elsewhere, draws, is_shifted=gather(images, np.arange(12), elsewhere, draws))
    assert np.array_equal(out, elsewhere)
    wanted = np.stack([interpolated(*each) for each in zip(images, draws.inverse, strict=True)])
    off = np.abs(out - wanted)
    assert off.mean() < 0.6
    assert off.max() < 12
    assert np.abs(images - wanted).mean() > 10  # something happened


def test_a_map_that_only_flips_and_shifts_gives_the_bytes_of_flip_and_shift() -> None:
    """So flip and shift stand in the matrix as they do without one."""
    images = pictures(30)
    moved = drawn(ReIDAugment(pad=3, erase=0), 30)
    warped = drawn(ReIDAugment(pad=3, erase=0, scale=(1.0, 1.0 + 1e-12)), 30)
    assert warped.warped is not None
    assert warped.warped.all()
    out = images.copy()
    place(out, warped)
    assert np.array_equal(out, reference(images, moved))


def test_pictures_that_are_not_warped_stay_exact_beside_those_that_are() -> None:
    images = pictures(30)
    draws = drawn(ReIDAugment(pad=3, resize=1.125), 30)
    assert draws.warped is not None
    assert 5 < draws.warped.sum() < 25
    out = images.copy()
    place(out, draws)
    still = ~draws.warped
    assert np.array_equal(out[still], reference(images, draws)[still])


def test_an_enlarged_window_is_cut_at_whole_pixels_and_has_no_border() -> None:
    pictures(40)
    draws = drawn(ReIDAugment(flip=0, pad=0, erase=0, resize=1.5, resize_p=1.0), 40)
    assert draws.inverse is not None
    corners = draws.inverse @ np.array([[0, 12, 0], [0, 0, 23], [1, 1, 1]])
    assert (corners[:, 0] >= -0.5).all()
    assert (corners[:, 0] <= 12.5).all()
    assert (corners[:, 1] >= -0.5).all()
    assert (corners[:, 1] <= 23.5).all()
    ratio = 36 / 24
    offsets = (corners[:, 1, 0] + 0.5) * ratio - 0.5  # in lines of the enlarged picture
    assert np.allclose(offsets, np.round(offsets))
    assert {0, 12} <= set(np.round(offsets).tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": np.zeros((2, 24, 13, 3), np.float32)}, "out must be C-contiguous uint8"),
        ({"out": np.zeros((2, 13, 24, 3), np.uint8)}, "out must be C-contiguous uint8"),
        ({"out": np.zeros((2, 24, 26, 3), np.uint8)[:, :, ::2]}, "out must be C-contiguous"),
        ({"first": 3}, "first must leave 2 pictures within the 4 drawn, got 3"),
        ({"first": -1}, "first must leave"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments: Any, message: str) -> None:
    given_ = {"out": np.zeros((2, *SIZE, 3), np.uint8)} | arguments
    with pytest.raises(UsageError, match=message):
        place(draws=drawn(ReIDAugment(pad=1), 4), **given_)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"out": np.zeros((2, 13, 24, 3), np.uint8)}, UsageError, "out must be C-contiguous"),
        ({"pictures": np.zeros((3, 13, 24, 3), np.uint8)}, UsageError, "pictures must be uint8"),
        ({"pictures": np.zeros((3, 24, 13, 3), np.int8)}, UsageError, "pictures must be uint8"),
        ({"pictures": np.zeros((3, 48, 13, 3), np.uint8)[:, ::2]}, UsageError, "C-contiguous"),
        ({"rows": np.arange(3)}, UsageError, "rows must be 2, got 3"),
        ({"rows": np.array([0, 3])}, UnknownRowError, "rows must be 0 to 2"),
        ({"rows": np.array([-1, 0])}, UnknownRowError, "rows must be 0 to 2"),
    ],
)
def test_what_cannot_be_gathered_is_refused(
    arguments: Any, kind: type[Exception], message: str
) -> None:
    given_ = {
        "pictures": np.zeros((3, *SIZE, 3), np.uint8),
        "rows": np.arange(2),
        "out": np.zeros((2, *SIZE, 3), np.uint8),
    } | arguments
    with pytest.raises(kind, match=message):
        gather(draws=drawn(ReIDAugment(pad=1), 4), **given_)


def test_without_opencv_an_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cv2", None)
    images, draws = pictures(8), drawn(ReIDAugment(pad=2), 8)
    with pytest.raises(MissingExtraError, match=r"lmdb_reid\[resize\]"):
        place(images, draws)
    unflipped = drawn(ReIDAugment(flip=0, pad=2), 8)
    out = images.copy()
    place(out, unflipped)  # needs none
    assert np.array_equal(out, reference(images, unflipped))
    is_shifted = gather(images, np.arange(8), out, unflipped)
    place(out, unflipped, is_shifted=is_shifted)
    assert np.array_equal(out, reference(images, unflipped))
