"""A dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import AtmaCup, BuildSettings, build, plan
from builders.game import Game, draw_game


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    return draw_game(tmp_path_factory.mktemp("game"), quarters=1, frames=3, size=(360, 640))


@pytest.mark.parametrize(
    "settings",
    [
        BuildSettings(),
        BuildSettings(quality=60),
        BuildSettings(size=(128, 64)),
        BuildSettings(size=None, expand=1.0),
        BuildSettings(num_bg_per_frame=0, num_partial_per_box=0),
    ],
)
def test_the_size_is_about_right(game: Game, tmp_path: Path, settings: BuildSettings) -> None:
    source = AtmaCup(game.train_meta, game.img_root)
    expected = plan(source, tmp_path / "o.lmdb", settings)
    found = build(source, tmp_path / "o.lmdb", settings)
    assert 0.4 < expected.size_bytes / found.size_bytes < 2.5
    assert expected.seconds > 0


def test_more_work_takes_longer_and_more_workers_less(game: Game, tmp_path: Path) -> None:
    source = AtmaCup(game.train_meta, game.img_root)
    one, two = (plan(source, tmp_path / "o", num_workers=n).seconds for n in (1, 2))
    assert one == pytest.approx(2 * two)
    more = plan(source, tmp_path / "o", BuildSettings(num_partial_per_box=3), num_workers=1)
    assert more.seconds > one


def test_nothing_is_written_and_an_older_store_is_no_matter(game: Game, tmp_path: Path) -> None:
    source = AtmaCup(game.train_meta, game.img_root)
    build(source, tmp_path / "o.lmdb")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    report = plan(source, tmp_path / "o.lmdb")
    assert report.dry_run
    assert report.kinds["person"] == game.boxes
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_damage_behind_a_header_is_not_seen(game: Game, tmp_path: Path) -> None:
    for path in game.img_root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:2000])
    source = AtmaCup(game.train_meta, tmp_path)
    assert plan(source, tmp_path / "o.lmdb").skipped == []
