"""A drawn game and its store, for what trains."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from builders import AtmaCup, BuildSettings, build
from builders.game import Game, draw_game

SIZE = (64, 32)


@pytest.fixture(scope="session")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    """16 frames of 360x640, half of them from the side, with 160 boxes of 10 players. Shared:
    never write into its folders.
    """
    return draw_game(tmp_path_factory.mktemp("game"), quarters=2, frames=4, size=(360, 640))


@pytest.fixture(scope="session")
def sealed(game: Game, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of `game`, of 64x32 crops. Shared: never write into it."""
    path = tmp_path_factory.mktemp("stores") / "game.lmdb"
    build(AtmaCup(game.train_meta, game.img_root), path, BuildSettings(size=SIZE))
    return path


@pytest.fixture
def own_game(game: Game, tmp_path: Path) -> Game:
    """A copy of `game` whose folders a test may write into."""
    folder = shutil.copytree(game.train_meta.parent, tmp_path / "own_game")
    return Game(
        train_meta=folder / game.train_meta.name,
        img_root=folder / game.img_root.name,
        frames=game.frames,
        boxes=game.boxes,
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes in one thread: models this small gain nothing from more, and a busy machine
    makes several wait for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
