"""Every source and medium keeps the laws, and the laws refuse those that do not."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders import AtmaCup, BoxRow, Files, Frame, Medium, Source, frames_of
from builders.columns import TextMap
from builders.game import Game, draw_game
from builders.testing import MediumContract, SourceContract
from lmdb_reid import codec
from lmdb_reid.errors import InvalidSampleError
from lmdb_reid.schema import Box


def draw_crop(path: Path, shade: int, height: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(codec.encode(np.full((height, 32, 3), shade, np.uint8)))


@pytest.fixture
def by_folder(monkeypatch: Any) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield importlib.import_module("by_folder").ByFolder
    del sys.modules["by_folder"]


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    return draw_game(tmp_path_factory.mktemp("game"), quarters=2, frames=3, size=(180, 320))


class TestAtmaCup(SourceContract):
    @pytest.fixture(params=["drop", "interp", "keep"])
    def source(self, tmp_path: Path, game: Game, request: Any) -> Source:
        lines = game.train_meta.read_text().splitlines()
        lines[3] = lines[3].rpartition(",")[0] + ",nobody"
        cells = lines[17].split(",")
        lines[17] = ",".join([*cells[:6], "150", "80", cells[8]])  # an outlier
        csv = tmp_path / "unsorted.csv"
        csv.write_text("\n".join(lines[:1] + lines[:0:-1]))
        return AtmaCup(csv, game.img_root, bbox_mode=request.param)


class TestByFolder(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path, by_folder: Any) -> Source:
        for name in ("ann/a2", "ann/a1", "bea/b1"):
            draw_crop(tmp_path / f"{name}.jpg", 9)
        source: Source = by_folder(tmp_path)
        return source


class TestFiles(MediumContract):
    @pytest.fixture
    def keys(self) -> list[str]:
        return ["a", "b", "c", "z"]

    @pytest.fixture(params=[dict, TextMap])
    def medium(self, tmp_path: Path, keys: Sequence[str], request: Any) -> Medium:
        for at, key in enumerate(keys[:-1]):
            draw_crop(tmp_path / "below" / f"{key}.jpg", 40 * at, 20 + at)
        Image.new("RGB", (7, 5), "red").save(tmp_path / "below" / "z.png")
        names = [(key, f"below/{key}.{'png' if key == 'z' else 'jpg'}") for key in keys]
        return Files(tmp_path, request.param(names))


class Spoilt:
    """A source whose listing is changed, as one that breaks a law would give it."""

    def __init__(self, source: Source, **changes: Any) -> None:
        self.name, self.roles = source.name, source.roles
        self._source, self._changes = source, changes

    def read(self) -> Any:
        return dataclasses.replace(self._source.read(), **self._changes)


def frame(*rows: BoxRow, key: str = "a1") -> Any:
    return frames_of([Frame(key=key, rows=rows)])


@pytest.mark.parametrize(
    ("law", "changes"),
    [
        ("every_row_is_cut_skipped_or_dropped", {"rows": 4}),
        ("labels_fit_their_kinds", {"frames": frame(BoxRow(0, -2, None))}),
        ("frames_are_in_order_and_their_keys_are_ids", {"frames": frame(key="a\n")}),
        (
            "numbers_and_orders_name_one_row_each",
            {"frames": frame(BoxRow(0, 1, Box(0, 0, 1, 1)), BoxRow(0, 1, Box(0, 0, 1, 1)))},
        ),
        (
            "numbers_and_orders_name_one_row_each",
            {"frames": frame(BoxRow(0, 1, None, order=3), BoxRow(1, 1, None, order=3))},
        ),
        (
            "known_boxes_are_finite_and_have_an_area",
            {"frames": frame(BoxRow(0, 1, Box(0, 0, 0, 1)))},
        ),
        ("settings_inputs_and_places_are_json", {"settings": {"sizes": (1, 2)}}),
    ],
)
def test_a_source_that_breaks_a_law_is_found(
    tmp_path: Path, by_folder: Any, law: str, changes: dict[str, Any]
) -> None:
    for name in ("ann/a1", "ann/a2", "bea/b1"):
        draw_crop(tmp_path / f"{name}.jpg", 9)
    source = by_folder(tmp_path)
    test = getattr(SourceContract(), f"test_{law}")
    test(source)
    with pytest.raises((AssertionError, InvalidSampleError)):
        test(Spoilt(source, **changes))
