from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lmdb_reid.errors import UsageError
from lmdb_reid.pictures import Picture, contact_sheet

RED, BLUE = (250, 0, 0), (0, 0, 250)


def plain(colour: tuple[int, int, int], height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def share(sheet: Picture, colour: tuple[int, int, int]) -> int:
    """How many of its pixels have this very colour."""
    return int((sheet.image == colour).all(axis=2).sum())


def test_every_image_is_there_at_its_own_shape() -> None:
    sheet = contact_sheet([plain(RED, 40, 20), plain(BLUE, 10, 30)], ["a", "b"], cell=(80, 60))
    assert share(sheet, RED) == 80 * 40  # as high as its cell
    assert share(sheet, BLUE) == 20 * 60  # as wide as its cell


def test_images_stand_in_reading_order() -> None:
    images = [plain((10 * n, 0, 0), 8, 8) for n in range(1, 7)]
    sheet = contact_sheet(images, list("abcdef"), columns=3, cell=(16, 16)).image
    centres = []
    for n in range(1, 7):
        rows, columns = np.nonzero((sheet == (10 * n, 0, 0)).all(axis=2))
        centres.append((int(rows.mean()), int(columns.mean())))
    assert centres == sorted(centres)
    assert len({row for row, _ in centres}) == 2
    assert len({column for _, column in centres}) == 3


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_a_sheet_is_not_much_wider_than_high(count: int) -> None:
    height, width, _ = contact_sheet([plain(RED, 4, 4)] * count, [""] * count).image.shape
    assert width <= 4 * height
    assert height <= 4 * width


def test_more_columns_than_images_leave_no_empty_ones() -> None:
    one = contact_sheet([plain(RED, 4, 4)], ["a"], columns=1).image.shape
    assert contact_sheet([plain(RED, 4, 4)], ["a"], columns=10).image.shape == one


def test_captions_are_written_below_and_stay_in_their_cell() -> None:
    images = [plain(RED, 10, 10)] * 2
    bare = contact_sheet(images, ["", ""], columns=2, cell=(20, 40)).image
    written = contact_sheet(images, ["7" * 100, ""], columns=2, cell=(20, 40)).image
    rows, columns = np.nonzero((bare != written).any(axis=2))
    assert rows.min() >= 20
    assert columns.max() < 4 + 40


def test_captions_may_hold_any_text() -> None:
    bare = contact_sheet([plain(RED, 4, 4)], [""], cell=(20, 200)).image
    odd = contact_sheet([plain(RED, 4, 4)], ["Łukasz 李\n\0"], cell=(20, 200)).image
    rows, _ = np.nonzero((bare != odd).any(axis=2))
    assert len(rows), "the caption is not there"
    ascii_alone = contact_sheet([plain(RED, 4, 4)], ["?ukasz ?\n\0"], cell=(20, 200)).image
    assert np.array_equal(odd, ascii_alone)
    assert rows.min() >= 20


@pytest.mark.parametrize(("images", "captions"), [(0, 0), (2, 1), (1, 2)])
def test_as_many_captions_as_images(images: int, captions: int) -> None:
    with pytest.raises(UsageError, match=f"{images} images and {captions} captions"):
        contact_sheet([plain(RED, 4, 4)] * images, ["a"] * captions)


@pytest.mark.parametrize(
    ("name", "form"), [("a.jpg", "JPEG"), ("A.JPEG", "JPEG"), ("a.png", "PNG")]
)
def test_saved_as_the_name_says(
    name: str, form: str, tmp_path: Path, picture: Callable[..., np.ndarray]
) -> None:
    shown = Picture(picture(0, (40, 30)))
    assert shown.save(tmp_path / name) == tmp_path / name
    with PIL.Image.open(tmp_path / name) as image:
        assert image.format == form
        off = np.abs(np.asarray(image).astype(int) - shown.image)
    assert off.max() == 0 if form == "PNG" else off.mean() < 32


@pytest.mark.parametrize("name", ["a.xyz", "a", ".png.txt"])
def test_another_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.jpg or \.png"):
        Picture(plain(RED, 4, 4)).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_shows_itself_in_a_notebook() -> None:
    with PIL.Image.open(io.BytesIO(Picture(plain(RED, 12, 34))._repr_jpeg_())) as image:
        assert (image.format, image.size) == ("JPEG", (34, 12))
