"""A dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import AtmaCup, BuildSettings, build, plan
from builders.cutting import FrameCutter, FrameResult
from builders.estimate import Estimate, cut_some
from builders.game import Game, draw_game
from builders.job import job_of


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


def cut_frames(game: Game, settings: BuildSettings) -> list[FrameResult]:
    job = job_of(AtmaCup(game.train_meta, game.img_root), settings)
    cutter = FrameCutter(job.listing.medium, job.settings, job.negatives)
    frames = job.listing.frames
    pictures = job.listing.medium.run(frames.keys)
    return [cutter.cut(frame, one) for frame, one in zip(frames, pictures, strict=True)]


def estimated(settings: BuildSettings, results: list[FrameResult]) -> Estimate:
    estimate = Estimate(settings)
    for result in results:
        estimate.add(result)
    return estimate


def test_more_work_takes_longer_and_more_workers_less(game: Game) -> None:
    settings, more = BuildSettings(), BuildSettings(num_partial_per_box=3)
    results = cut_frames(game, settings)
    estimate = estimated(settings, results)
    assert estimate.seconds(2) < estimate.seconds(1) < 2 * estimate.seconds(2)  # one thread writes
    assert estimated(more, cut_frames(game, more)).seconds(1) > estimate.seconds(1)


def test_the_estimate_is_in_proportion_to_what_some_frames_took(game: Game) -> None:
    settings = BuildSettings()
    results = cut_frames(game, settings)
    writing = estimated(settings, results).seconds(10**9)
    for seconds in (0.5, 50.0):
        estimate = estimated(settings, results)
        estimate.measure(results[:4], seconds)
        half = estimated(settings, results[:4]).seconds(1) / estimated(settings, results).seconds(1)
        cutting = estimate.seconds(1) - writing
        assert cutting == pytest.approx(seconds / half, rel=0.2)
        images = sum(len(image) for result in results for image in result.images)
        assert images < estimate.size_bytes() < 1.3 * images + 4096 * len(results) * 40


def test_no_frame_that_was_cut_changes_nothing(game: Game) -> None:
    settings = BuildSettings()
    results = cut_frames(game, settings)
    before, after = estimated(settings, results), estimated(settings, results)
    after.measure([], 3.0)
    assert (before.seconds(2), before.size_bytes()) == (after.seconds(2), after.size_bytes())


def test_frames_that_are_cut_are_spread_over_all(game: Game) -> None:
    job = job_of(AtmaCup(game.train_meta, game.img_root))
    cutter = FrameCutter(job.listing.medium, job.settings, job.negatives)
    results, seconds = cut_some(job, cutter, 2)
    assert seconds > 0
    assert 0 < len(results) < len(job.listing.frames)  # the first one is for loading libraries
    assert all(result.images for result in results)


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
