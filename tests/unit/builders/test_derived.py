"""Numbers computed from crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from builders import AtmaCup, BuildSettings, build
from builders.derived import Blur, PHash, derived_columns
from builders.game import Game, draw_game
from lmdb_reid.errors import UsageError
from lmdb_reid.store import Store


def bits(one: int, other: int) -> int:
    """How many bits differ."""
    return ((one ^ other) & (1 << 64) - 1).bit_count()


def picture(seed: int, method: Any = Image.Resampling.BICUBIC) -> Any:
    small = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((128, 256), method))


def test_a_crop_that_looks_alike_has_a_hash_like_it() -> None:
    image = picture(1)
    lighter = np.clip(image.astype(int) + 20, 0, 255).astype(np.uint8)
    smaller = np.asarray(Image.fromarray(image).resize((64, 128)))
    hashes = [PHash().of(each) for each in (image, lighter, smaller, picture(2))]
    assert bits(hashes[0], hashes[1]) <= 6
    assert bits(hashes[0], hashes[2]) <= 6
    assert bits(hashes[0], hashes[3]) >= 16
    assert all(-(1 << 63) <= each < 1 << 63 for each in hashes)
    assert bits(hashes[0], 0) <= 32  # above the median: half of 64 at most


def test_the_hash_is_that_of_its_formula() -> None:
    image = picture(3)[:32, :32].copy()
    luma = (image.astype(int) @ np.array([77, 150, 29])) >> 8
    low = [
        sum(
            luma[y, x] * np.cos(np.pi * u * (2 * y + 1) / 64) * np.cos(np.pi * v * (2 * x + 1) / 64)
            for y in range(32)
            for x in range(32)
        )
        for u in range(8)
        for v in range(8)
    ]
    wanted = "".join("1" if each > np.median(low) else "0" for each in low)
    assert f"{PHash().of(image) & (1 << 64) - 1:064b}" == wanted


def test_the_variance_of_a_laplacian() -> None:
    image = picture(4, Image.Resampling.NEAREST)
    luma = (image.astype(int) @ np.array([77, 150, 29])) >> 8
    edges = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    edges = edges - 4 * luma[1:-1, 1:-1]
    assert Blur().of(image) == pytest.approx(edges.var(), rel=1e-12)
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(3)))
    assert Blur().of(blurred) < Blur().of(image) / 2


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 9, 3), (9, 2, 3)])
def test_a_crop_without_inner_pixels(shape: tuple[int, ...]) -> None:
    assert Blur().of(np.full(shape, 7, np.uint8)) == 0.0
    assert isinstance(PHash().of(np.full(shape, 7, np.uint8)), int)


def test_pixels_stay_as_they_are_and_may_be_a_view() -> None:
    frame = picture(5)
    view = frame[10:200, 5:100]
    before = frame.copy()
    for each in (PHash(), Blur()):
        assert each.of(view) == each.of(np.ascontiguousarray(view))
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize(
    ("names", "told"), [(["sharp"], "phash, blur, got 'sharp'"), (["blur", "blur"], "twice")]
)
def test_names(names: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        derived_columns(names)


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    return draw_game(tmp_path_factory.mktemp("game"), quarters=1, frames=1, size=(180, 320))


def test_they_change_no_sample(game: Game, tmp_path: Path) -> None:
    source = AtmaCup(game.train_meta, game.img_root)
    build(source, tmp_path / "without", BuildSettings())
    build(source, tmp_path / "with", BuildSettings(), derive=["phash", "blur"])
    with Store(tmp_path / "without") as one, Store(tmp_path / "with") as other:
        assert one.digest == other.digest
        assert other.manifest.build["derive"] == ["phash", "blur"]
        assert "derive" not in one.manifest.build
