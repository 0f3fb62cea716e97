"""The drawn game: what its csv says is what its pictures show, and the sample is what it draws."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from builders.game import COLUMNS, KITS, Game, draw_game
from builders.game.__main__ import main
from lmdb_reid.codec import decode
from lmdb_reid.errors import UsageError, WriteError
from lmdb_reid.schema import Box, iou

DATA = Path(__file__).resolve().parents[3] / "data"
SIZE = (360, 640)
FRAMES = 24


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    return draw_game(tmp_path_factory.mktemp("game"), quarters=3, frames=FRAMES, size=SIZE, seed=5)


@pytest.fixture(scope="module")
def boxes(game: Game) -> pd.DataFrame:
    return pd.read_csv(game.train_meta)


def pixels(path: Path) -> npt.NDArray[np.int16]:
    return decode(path.read_bytes()).astype(np.int16)


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "images").iterdir())}


def frames_of(game: Game, boxes: pd.DataFrame, angle: str):
    """(quarter, pictures [frames, H, W, 3], one list of ten boxes a frame) for each quarter."""
    for quarter, rows in boxes[boxes.angle == angle].groupby("quarter"):
        names = [f"{quarter}__{angle}__00__{frame:02d}.jpg" for frame in range(1, FRAMES + 1)]
        images = np.stack([pixels(game.img_root / name) for name in names])
        ten = [
            [Box(r.x, r.y, r.w, r.h) for r in of_frame.sort_values("label_id").itertuples()]
            for _, of_frame in rows.groupby("frame")
        ]
        yield quarter, images, ten


def alone(ten: list[Box]) -> list[int]:
    """Labels whose box, with some room about it, meets no other and no edge of the picture."""

    def free(label: int) -> bool:
        room = ten[label].grown(1.3)
        others = (box for i, box in enumerate(ten) if i != label)
        inside = room.clipped(SIZE).area > room.area - 1e-6
        return inside and all(iou(room, box) == 0 for box in others)

    return [label for label in range(10) if free(label)]


def test_the_csv_names_every_picture_in_order(game: Game, boxes: pd.DataFrame) -> None:
    assert game.train_meta.read_text().splitlines()[0] == COLUMNS
    assert (game.frames, game.boxes) == (3 * 2 * FRAMES, 3 * 2 * FRAMES * 10)
    assert len(boxes) == game.boxes
    assert list(boxes.quarter.unique()) == ["Q1-000", "Q1-001", "Q2-000"]
    keys = ["quarter", "angle", "session", "frame", "label_id"]
    assert boxes[keys].equals(boxes[keys].sort_values(keys, ignore_index=True))
    assert not boxes.duplicated(keys).any()
    named = {
        f"{r.quarter}__{r.angle}__{r.session:02d}__{r.frame:02d}.jpg" for r in boxes.itertuples()
    }
    assert named == {path.name for path in game.img_root.iterdir()}
    assert len(named) == game.frames
    assert pixels(game.img_root / min(named)).shape == (*SIZE, 3)


def test_a_seed_is_a_game(tmp_path: Path) -> None:
    a, b, c = (
        draw_game(tmp_path / name, quarters=2, frames=2, size=SIZE, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert a.train_meta.read_bytes() == b.train_meta.read_bytes() != c.train_meta.read_bytes()
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b")
    ours, others = pictures(tmp_path / "a"), pictures(tmp_path / "c")
    assert all(ours[name] != others[name] for name in ours)


def test_a_frame_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    draw_game(tmp_path / "long", quarters=2, frames=3, size=SIZE, seed=1)
    draw_game(tmp_path / "short", quarters=2, frames=1, size=SIZE, seed=1, angles=["top"])
    long, short = pictures(tmp_path / "long"), pictures(tmp_path / "short")
    assert set(short) == {"Q1-000__top__00__01.jpg", "Q2-000__top__00__01.jpg"}
    assert short == {name: long[name] for name in short}
    rows = (tmp_path / "long" / "train_meta.csv").read_text().splitlines()
    assert set((tmp_path / "short" / "train_meta.csv").read_text().splitlines()) <= set(rows)


def test_a_shirt_has_the_kit_of_its_label(game: Game, boxes: pd.DataFrame) -> None:
    assert KITS[0][0] - KITS[0][2] > 100 and KITS[1][2] - KITS[1][0] > 100  # a red, a blue kit
    seen = np.zeros(10, int)
    for quarter, images, tens in frames_of(game, boxes, "side"):
        for image, ten in zip(images, tens, strict=True):
            for label in alone(ten):
                x, y, w, h = ten[label]
                shirt = image[
                    round(y + 0.2 * h) : round(y + 0.48 * h),
                    round(x + 0.28 * w) : round(x + 0.72 * w),
                ]
                warm = shirt[..., 0] - shirt[..., 2]  # red less blue: the number's white is neutral
                share = [(warm > 40).mean(), (warm < -40).mean()]
                assert share[label // 5] > 0.35, (quarter, label, share)  # a "32" takes half
                assert share[1 - label // 5] < 0.05, (quarter, label, share)
                seen[label] += 1
    assert seen.min() >= 10  # of 72 frames; every identity was looked at


@pytest.mark.parametrize(("angle", "looked_at"), [("side", 0.85), ("top", 0.9)])
def test_boxes_are_tight(game: Game, boxes: pd.DataFrame, angle: str, looked_at: float) -> None:
    """What moves before the still court ends where the box does, on the edges without a shadow."""
    gaps = []
    for _, images, tens in frames_of(game, boxes, angle):
        still = np.median(images, axis=0)
        for image, ten in zip(images, tens, strict=True):
            moved = np.abs(image - still).sum(axis=2) > 110
            for label in alone(ten):
                box = ten[label]
                x0, y0, x1, y1 = box.grown(1.3).pixels(SIZE)
                if angle == "side":
                    y1 = round(box.y + 0.85 * box.h)  # the shadow lies about the feet
                rows, columns = np.nonzero(moved[y0:y1, x0:x1])
                gaps.append((x0 + columns.min() - box.x, y0 + rows.min() - box.y))
    assert len(gaps) > 150
    # Hands err by -1 to 2 pixels, blur and JPEG by two more. Few boxes are near the ball.
    assert np.mean(np.abs(gaps) <= 4) > looked_at
    assert np.all(np.abs(np.median(gaps, axis=0)) <= 2)


def test_boxes_reach_past_the_edge_by_two_pixels_at_most(boxes: pd.DataFrame) -> None:
    past = np.stack(
        [-boxes.x, -boxes.y, boxes.x + boxes.w - SIZE[1], boxes.y + boxes.h - SIZE[0]]
    ).max(axis=0)
    assert past.max() in (1, 2)
    assert (past > 0).mean() < 0.1
    assert (boxes[["w", "h"]] >= 20).all(axis=None)


def test_tracks_move_from_frame_to_frame(boxes: pd.DataFrame) -> None:
    for _, track in boxes.groupby(["quarter", "angle", "label_id"]):
        centres = np.stack([track.x + track.w / 2, track.y + track.h / 2], axis=1)
        steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
        assert np.median(steps) > 2
        assert steps.max() < 30


def test_the_sample_is_what_its_readme_says(tmp_path: Path) -> None:
    command = re.search(
        r"^ +python -m builders\.game (.+)$", (DATA / "README.md").read_text(), re.M
    )
    assert command is not None
    out, *options = shlex.split(command[1])
    assert out == "data/sample"
    assert main([str(tmp_path / "sample"), *options]) == 0

    sample = DATA / "sample"
    again = tmp_path / "sample"
    assert (again / "train_meta.csv").read_bytes() == (sample / "train_meta.csv").read_bytes()
    names = {path.name for path in (sample / "images").iterdir()}
    assert names == {path.name for path in (again / "images").iterdir()}
    for name in names:
        # Other versions of the drawing and JPEG libraries may round otherwise; no more than that.
        difference = np.abs(pixels(sample / "images" / name) - pixels(again / "images" / name))
        assert difference.mean() < 1.0, name
        assert np.quantile(difference, 0.999) < 24, name
    assert sum(path.stat().st_size for path in sample.rglob("*") if path.is_file()) < 1_000_000


def test_an_earlier_game_is_replaced_only_when_asked(tmp_path: Path) -> None:
    draw_game(tmp_path, quarters=1, frames=1, size=SIZE, seed=1)
    before, csv = pictures(tmp_path), (tmp_path / "train_meta.csv").read_bytes()
    (tmp_path / "images" / "mine.jpg").write_bytes(b"kept")
    with pytest.raises(WriteError, match=r"train_meta\.csv already exists"):
        draw_game(tmp_path, quarters=1, frames=1, size=SIZE, seed=2)
    assert pictures(tmp_path) == before | {"mine.jpg": b"kept"}
    assert (tmp_path / "train_meta.csv").read_bytes() == csv

    draw_game(tmp_path, quarters=1, frames=1, size=SIZE, seed=2, overwrite=True)
    after = pictures(tmp_path)
    assert after["mine.jpg"] == b"kept"
    assert all(after[name] != before[name] for name in before)
    assert (tmp_path / "train_meta.csv").read_bytes() != csv


def test_a_folder_that_cannot_be_made_is_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="cannot be written"):
        draw_game(tmp_path / "file", quarters=1, frames=1, size=SIZE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quarters": 0},
        {"frames": 0},
        {"size": (100, 640)},
        {"quality": 0},
        {"quality": 101},
        {"angles": []},
        {"angles": ["side", "side"]},
        {"angles": ["front"]},
    ],
)
def test_arguments_that_cannot_be_meant(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        draw_game(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [str(tmp_path / "out"), "--quarters", "1", "--frames", "1", "--size", "360x640"]
    assert main(small) == 0
    assert "2 pictures with 20 boxes" in capsys.readouterr().out
    assert main(small) == 1
    assert "train_meta.csv already exists" in capsys.readouterr().err
    assert main([*small, "--overwrite"]) == 0
    assert main([str(tmp_path / "other"), "--size", "native"]) == 2
