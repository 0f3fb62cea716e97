"""How much of a person a negative may show."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from builders import AtmaCup, BoxRow, BuildSettings, Frame, build, plan
from builders.game import Game, draw_game
from builders.negatives import random_negatives
from lmdb_reid.cli.main import main
from lmdb_reid.schema import Box, Kind
from lmdb_reid.store import Store

SIZE = (720, 1280)


def crowd(number: int) -> Frame:
    """Eighteen people who stand close together, small beside the largest backgrounds."""
    boxes = [
        Box(40.0 + 64 * at + 7 * number, 200.0 + 90 * (at % 3), 40.0, 90.0) for at in range(18)
    ]
    rows = tuple(BoxRow(number=at, label=at, box=box) for at, box in enumerate(boxes))
    return Frame(key=f"f{number}", rows=rows, boxes=tuple(boxes))


def shown(negative: Box, person: Box) -> float:
    """The part of a person's box that a negative shows."""
    w = min(negative.x + negative.w, person.x + person.w) - max(negative.x, person.x)
    h = min(negative.y + negative.h, person.y + person.h) - max(negative.y, person.y)
    return max(w, 0) * max(h, 0) / person.area


FRAMES = [crowd(number) for number in range(12)]


def drawn(**settings: Any) -> list[tuple[Frame, Any]]:
    negatives = random_negatives(BuildSettings(num_bg_per_frame=4, **settings))
    found = negatives(FRAMES, [SIZE] * len(FRAMES))
    return [(frame, one) for frame, some in zip(FRAMES, found, strict=True) for one in some]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5])
def test_no_background_shows_more_of_anybody(share: float) -> None:
    found = [pair for pair in drawn(max_person_share=share) if pair[1].kind == Kind.BACKGROUND]
    assert len(found) > 20
    worst = max(shown(one.box, box) for frame, one in found for box in frame.boxes)
    assert worst <= share
    usual = [pair for pair in drawn(max_person_share=1) if pair[1].kind == Kind.BACKGROUND]
    assert max(shown(one.box, box) for frame, one in usual for box in frame.boxes) > 0.9


def test_no_partial_shows_more_of_anybody_else() -> None:
    near = [Box(100.0, 100.0, 60.0, 150.0), Box(130.0, 100.0, 60.0, 150.0)]
    rows = tuple(BoxRow(number=at, label=at, box=box) for at, box in enumerate(near))
    frame = Frame(key="f", rows=rows, boxes=tuple(near))

    def most(share: float) -> tuple[int, float]:
        settings = BuildSettings(num_partial_per_box=50, max_person_share=share)
        (found,) = random_negatives(settings)([frame], [SIZE])
        parts = [one for one in found if one.kind == Kind.PARTIAL]
        others = [shown(one.box, near["#000p" in one.id]) for one in parts]
        return len(parts), max(others)

    assert most(1.0)[0] == 100
    assert most(1.0)[1] > 0.25
    count, share = most(0.1)
    assert count > 50
    assert share <= 0.1


def test_a_replaced_box_is_no_other_person() -> None:
    outlier, other = Box(90.0, 90.0, 120.0, 200.0), Box(600.0, 90.0, 60.0, 150.0)
    row = BoxRow(number=0, label=0, box=Box(100.0, 100.0, 60.0, 150.0))
    frame = Frame(key="f", rows=(row,), boxes=(other, outlier))
    settings = BuildSettings(num_partial_per_box=20, max_person_share=0.0)
    (found,) = random_negatives(settings)([frame], [SIZE])
    assert sum(one.kind == Kind.PARTIAL for one in found) == 20


def digest_of(found: list[tuple[Frame, Any]]) -> str:
    return hashlib.sha256(repr([(one.id, *one.box) for _, one in found]).encode()).hexdigest()[:16]


def test_golden_negatives() -> None:
    # Of the rule on IoU alone, and of the usual limit: every store's negatives hang on these.
    assert digest_of(drawn(max_person_share=1.0)) == "8540fedcc7fb0230"
    assert digest_of(drawn()) == "80cf46a60f481434"


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    return draw_game(tmp_path_factory.mktemp("game"), quarters=1, frames=2, size=(180, 320))


def test_places_that_were_given_up_are_counted(game: Game, tmp_path: Path, capsys: Any) -> None:
    source = AtmaCup(game.train_meta, game.img_root)
    settings = BuildSettings(size=(64, 32), num_bg_per_frame=20, max_person_share=0.0)
    planned = plan(source, tmp_path / "o", settings)
    report = build(source, tmp_path / "o", settings)
    wanted = game.frames * 20 + game.boxes
    assert report.given_up == planned.given_up > 0
    assert report.given_up + report.samples == wanted + game.boxes
    assert f"  negatives   {report.given_up:,} places had room for none" in report.lines()
    with Store(tmp_path / "o") as store:
        assert store.manifest.build["max_person_share"] == 0.0
    words = ["build", "--format", "atmacup", "--train-meta", str(game.train_meta), "--dry-run"]
    words += ["--img-root", str(game.img_root), "--out", str(tmp_path / "p")]
    words += ["--max-person-share", "0", "--num-bg-per-frame", "20"]
    assert main(words) == 0
    assert f"{report.given_up:,} places had room for none" in capsys.readouterr().out


def test_a_resumed_build_counts_what_was_given_up_before(game: Game, tmp_path: Path) -> None:
    source = AtmaCup(game.train_meta, game.img_root)
    settings = BuildSettings(size=(64, 32), num_bg_per_frame=20, max_person_share=0.0)

    def stop(done: int, total: int, crops: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    whole = build(source, tmp_path / "whole", settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmdb_reid.store._growing.COMMIT_BYTES", 1)
        with pytest.raises(KeyboardInterrupt):
            build(source, tmp_path / "o", settings, progress=stop)
    assert build(source, tmp_path / "o", settings, resume=True).given_up == whole.given_up
