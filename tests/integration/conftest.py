"""Drawn games, and builds of them in processes of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builders import AtmaCup, build
from builders.game import Game, draw_game

RUNNER = Path(__file__).with_name("watched_build.py")


@dataclass(frozen=True, slots=True)
class Watched:
    """What `watched_build.py` tells of a process: how it ended, and what it opened."""

    code: int
    out: str
    err: str
    opened: dict[str, int]
    """How often each file under the watched folder was opened; empty for a process that died."""


@pytest.fixture(scope="session")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    """12 frames of 360x640 with 120 boxes. Shared: never write into its folders."""
    return draw_game(tmp_path_factory.mktemp("game"), quarters=2, frames=3, size=(360, 640))


@pytest.fixture(scope="session")
def sealed(game: Game, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of `game` with all settings as they are. Shared: never write into it."""
    path = tmp_path_factory.mktemp("stores") / "game.lmdb"
    build(AtmaCup(game.train_meta, game.img_root), path)
    return path


@pytest.fixture
def own_game(game: Game, tmp_path: Path) -> Game:
    """A copy of `game` that a test may damage."""
    folder = tmp_path / "own_game"
    shutil.copytree(game.train_meta.parent, folder)
    return Game(
        train_meta=folder / game.train_meta.name,
        img_root=folder / game.img_root.name,
        frames=game.frames,
        boxes=game.boxes,
    )


@pytest.fixture
def own_store(sealed: Path, tmp_path: Path) -> Path:
    """A copy of `sealed` that a test may damage."""
    return Path(shutil.copytree(sealed, tmp_path / "own.lmdb"))


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Watched]:
    """Runs `lmdb-reid` in a process of its own and counts what it opens under a folder."""
    home = tmp_path_factory.mktemp("watched")

    def run(*words: str | Path, folder: Path, **options: Any) -> Watched:
        log = home / "opened.json"
        log.unlink(missing_ok=True)
        given = {"folder": str(folder), "log": str(log)} | options
        done = subprocess.run(
            [sys.executable, RUNNER, json.dumps(given), *map(str, words)],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        opened = json.loads(log.read_text()) if log.exists() else {}
        return Watched(done.returncode, done.stdout, done.stderr, opened)

    return run


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: some tests sync thousands of files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)
