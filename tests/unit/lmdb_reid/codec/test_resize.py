from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lmdb_reid.codec import resize
from lmdb_reid.errors import ImageError

Pictures = Callable[..., np.ndarray]


def checkerboard(height: int, width: int) -> np.ndarray:
    """Black and white pixels in turn: nothing of it is left where it shrinks without aliasing."""
    rows, columns = np.indices((height, width))
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def mean_of_areas(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The plain average over whole factors."""
    rows, columns = image.shape[0] // height, image.shape[1] // width
    blocks = image.reshape(height, rows, width, columns, 3).astype(float)
    return np.rint(blocks.mean(axis=(1, 3))).astype(int)


@pytest.mark.parametrize("size", [(32, 16), (16, 64), (8, 8), (64, 8), (33, 17), (50, 20)])
def test_a_fine_checkerboard_shrinks_to_grey(size: tuple[int, int]) -> None:
    small = resize(checkerboard(128, 128), size)
    assert small.shape == (*size, 3)
    assert np.abs(small.astype(int) - 127.5).max() < 24


@pytest.mark.parametrize("size", [(32, 200), (200, 32), (31, 129), (129, 31)])
def test_an_axis_that_shrinks_is_averaged_also_when_the_other_grows(
    size: tuple[int, int],
) -> None:
    small = resize(checkerboard(128, 128), size)
    assert small.shape == (*size, 3)
    assert np.abs(small.astype(int) - 127.5).max() < 24


@pytest.mark.parametrize("size", [(32, 24), (64, 48), (16, 48), (64, 8), (1, 1)])
def test_whole_factors_are_plain_averages(size: tuple[int, int], picture: Pictures) -> None:
    image = picture(0, (64, 48)) // 3 + picture(1, (64, 48)) // 2
    image[::2, ::3] = 255  # detail of single pixels
    assert np.abs(resize(image, size) - mean_of_areas(image, *size)).max() <= 1


def test_one_colour_stays_that_colour_at_any_size() -> None:
    image = np.full((31, 17, 3), (9, 130, 251), np.uint8)
    for size in [(1, 1), (31, 18), (62, 34), (7, 40), (100, 3), (300, 300)]:
        assert (resize(image, size) == (9, 130, 251)).all()


def test_growing_interpolates_with_centres_at_halves() -> None:
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 200
    assert resize(image, (1, 4))[0, :, 0].tolist() == [0, 50, 150, 200]


def test_shrinking_does_not_shift_the_picture() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[16:24, 16:24] = 255
    small = resize(image, (20, 20)).astype(int)
    assert np.array_equal(small, small[::-1])
    assert np.array_equal(small, small[:, ::-1])


def test_its_own_size_is_the_image_itself(picture: Pictures) -> None:
    image = picture()
    assert resize(image, (32, 16)) is image


@pytest.mark.parametrize("size", [(32, 16), (16, 8), (64, 32), (16, 32)])
def test_the_given_array_is_filled(size: tuple[int, int], picture: Pictures) -> None:
    batch = np.zeros((3, *size, 3), np.uint8)
    slot = batch[1]
    assert resize(picture(), size, slot) is slot
    assert np.array_equal(slot, resize(picture(), size))
    assert not batch[0].any()
    assert not batch[2].any()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((16, 9, 3), np.uint8),
        np.zeros((16, 8), np.uint8),
        np.zeros((16, 8, 3), np.float32),
        np.zeros((8, 16, 3), np.uint8).transpose(1, 0, 2),
        np.zeros((16, 16, 3), np.uint8)[:, ::2],
    ],
    ids=lambda out: f"{out.dtype}-{out.shape}-{out.flags.c_contiguous}",
)
def test_an_array_that_does_not_fit_is_refused_untouched(
    out: np.ndarray, picture: Pictures
) -> None:
    with pytest.raises(ImageError, match="fit the given array"):
        resize(picture(), (16, 8), out)
    assert not out.any()


@pytest.mark.parametrize("size", [(16, 8), (64, 32), (16, 40)])
def test_views_are_read_where_they_lie(size: tuple[int, int], picture: Pictures) -> None:
    frame = picture(2, (96, 96))
    for view in (frame[8:72, 24:56], frame[::2, ::2], frame[::-1, ::-1], frame[:, :, ::-1]):
        assert np.array_equal(resize(view, size), resize(view.copy(), size))


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (np.zeros((0, 4, 3), np.uint8), (2, 2)),
        (np.zeros((4, 4), np.uint8), (2, 2)),
        (np.zeros((4, 4, 1), np.uint8), (2, 2)),
        (np.zeros((4, 4, 3), np.float32), (2, 2)),
        (np.zeros((4, 4, 3), np.uint8), (0, 2)),
        (np.zeros((4, 4, 3), np.uint8), (2, -1)),
    ],
)
def test_what_cannot_be_resized(image: np.ndarray, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="cannot resize"):
        resize(image, size)
