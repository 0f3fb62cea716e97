from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lmdb_reid._visible import visible
from lmdb_reid.errors import UsageError, WriteError
from lmdb_reid.pictures import Picture, _letters, contact_sheet
from lmdb_reid.pictures._letters import Letters

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
    bare = contact_sheet(images, ["", "x"], columns=2, cell=(20, 40)).image
    written = contact_sheet(images, ["7" * 100, "x"], columns=2, cell=(20, 40)).image
    rows, columns = np.nonzero((bare != written).any(axis=2))
    assert rows.min() >= 20
    assert columns.max() < 4 + 40


def captioned(text: str) -> np.ndarray:
    return contact_sheet([plain(RED, 4, 4)], [text], cell=(20, 200)).image


def test_captions_may_hold_any_text() -> None:
    drawn = {
        text: captioned(text) for text in ("Łukasz", "Lukasz", "?ukasz", "李", "שלום", "e\u0301")
    }
    for one, other in itertools.combinations(drawn.values(), 2):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "\u202egpj.exe", "\0", "\ud800"])
def test_control_characters_are_drawn_as_escapes(text: str) -> None:
    assert np.array_equal(captioned(text), captioned(visible(text)))
    assert visible(text).isprintable()


def test_a_character_comes_from_a_font_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A font with one Chinese character, a filled square, beside one that is damaged."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
    pen = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen(None)
    for at, place in enumerate([(0, 0), (0, 800), (900, 800), (900, 0)]):
        (pen.lineTo if at else pen.moveTo)(place)
    pen.closePath()
    square, empty = pen.glyph(), type(pen)(None).glyph()
    builder.setupGlyphOrder([".notdef", "han"])
    builder.setupCharacterMap({ord("李"): "han"})
    builder.setupGlyf({".notdef": empty, "han": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "han": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    builder.save(tmp_path / "square.ttf")
    before = captioned("李")
    _letters._files.cache_clear()
    _letters._file_with.cache_clear()
    monkeypatch.setattr(_letters, "_folders", lambda: [tmp_path])
    try:
        with_font = captioned("李")
        assert _letters._file_with("李") == tmp_path / "square.ttf"
        assert _letters._file_with("a") is None, "Latin letters are Pillow's"
        assert _letters._file_with("背") is None, "no font has it"
    finally:
        _letters._files.cache_clear()
        _letters._file_with.cache_clear()
    ink = (with_font[26:] > 200).all(2)
    assert ink.sum() > 60, "the square is filled"
    assert not np.array_equal(before, with_font)


def test_a_machine_without_fonts_draws_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    _letters._files.cache_clear()
    _letters._file_with.cache_clear()
    monkeypatch.setattr(_letters, "_folders", list)
    try:
        assert np.array_equal(captioned("李"), captioned("背")), "both a box"
        assert not np.array_equal(captioned("李"), captioned(" "))
    finally:
        _letters._files.cache_clear()
        _letters._file_with.cache_clear()


def test_a_long_caption_is_broken_between_its_parts_and_then_cut() -> None:
    letters = Letters(12)
    assert letters.lines(["label 3", "Q1-000", "f12"], 90, 2) == ["label 3 · Q1-000", "f12"]
    (one, two) = letters.lines(["label 3", "Q1-000", "side" * 30], 90, 2)
    assert one == "label 3 · Q1-000"
    assert two.startswith("side") and two.endswith("…")
    assert letters.width(two) <= 90
    assert letters.fitted("abc", 1) == ""


def test_a_title_groups_edges_and_what_they_mean() -> None:
    images = [plain(RED, 16, 16)] * 5
    sheet = contact_sheet(
        images,
        [""] * 5,
        columns=3,
        cell=(22, 22),
        title="a title",
        groups=["one"] * 3 + ["two"] * 2,
        edges=[BLUE, None, BLUE, None, None],
        legend={"blue": BLUE},
    ).image
    assert sheet.shape[1] >= 300, "the title has its space"
    red, blue = ((sheet == colour).all(2) for colour in (RED, BLUE))
    lines = np.flatnonzero(np.diff(red.any(1).astype(int)) == 1)
    assert len(lines) == 2, "each group is a line of its own"
    cells = blue[lines[0] - 5 :]
    assert cells.sum() == 2 * (22 * 22 - 16 * 16), "a line around two of them"
    assert blue[: lines[0] - 5].sum() == 100, "and a square in the legend"
    assert (sheet[: lines[0] - 5] > 200).all(2).sum() > 50, "letters stand above"


def test_small_groups_stand_beside_each_other() -> None:
    tall = contact_sheet([plain(RED, 8, 8)] * 4, [""] * 4, columns=4, groups=list("aabb")).image
    flat = contact_sheet([plain(RED, 8, 8)] * 4, [""] * 4, columns=2, groups=list("aabb")).image
    assert tall.shape[0] < flat.shape[0]


def test_an_empty_cell() -> None:
    sheet = contact_sheet([None, plain(RED, 8, 8)], ["", ""], columns=2, cell=(8, 8))
    assert not (sheet.image[:, :14] != 24).any()
    assert share(sheet, RED) == 64


@pytest.mark.parametrize("name", ["groups", "edges"])
def test_as_many_groups_and_edges_as_images(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be one for each of 2 images, got 1"):
        contact_sheet([plain(RED, 4, 4)] * 2, ["", ""], **{name: [RED]})  # type: ignore[arg-type]


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


def test_a_picture_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(WriteError, match="not a regular file"):
        Picture(plain(RED, 4, 4)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").is_dir()
    with pytest.raises(WriteError, match="its folder does not exist"):
        Picture(plain(RED, 4, 4)).save(tmp_path / "b" / "a.png")
    assert not (tmp_path / "b").exists()


def test_shows_itself_in_a_notebook() -> None:
    with PIL.Image.open(io.BytesIO(Picture(plain(RED, 12, 34))._repr_jpeg_())) as image:
        assert (image.format, image.size) == ("JPEG", (34, 12))
