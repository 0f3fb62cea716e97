"""The table of JPEG qualities: what it is told, and what it counts. Nothing here measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality
from builders.game import draw_game
from lmdb_reid import StoreWriter, codec


def pictures(count: int, size: tuple[int, int] = (32, 16)) -> list[quality.Pixels]:
    draws = np.random.default_rng(count)
    coarse = draws.integers(0, 256, (count, size[0] // 8, size[1] // 8, 3)).astype(np.uint8)
    return [codec.resize(picture, size) for picture in coarse]


def test_psnr_is_of_the_mean_squared_error() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert quality.psnr(black, black) == float("inf")
    assert quality.psnr(black, black + np.uint8(255)) == pytest.approx(0.0)
    assert quality.psnr(black, black + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_a_higher_quality_has_more_bytes_and_is_nearer() -> None:
    rows = quality.measured(pictures(40), [50, 80, 99], 2, 1)
    assert [row["quality"] for row in rows] == [50, 80, 99]
    for name in ("bytes", "psnr", "psnr_of_worst_20th"):
        values = [row[name] for row in rows]
        assert values == sorted(values)
        assert values[0] < values[-1]
    assert all(len(row["decode"]) == len(row["loader"]) == 1 for row in rows)
    assert quality.table(rows).count("\n") == 4


def test_crops_of_a_game_are_taken_from_its_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_game(tmp_path / "game", quarters=1, frames=2, size=(180, 320))
    words = ["--data", str(tmp_path / "game"), "--small", "--crops", "6", "--quality", "80,95"]
    assert quality.main(words) == 0
    told = capsys.readouterr().out
    assert told.startswith("6 crops of 256x128")
    assert "| 80 |" in told
    assert "| 95 |" in told


def test_a_store_of_two_sizes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = [*pictures(2), *pictures(1, (16, 16))]
    with StoreWriter(tmp_path / "s.lmdb") as writer:
        writer.put_group("", ((f"{at}", codec.encode(crop), {}) for at, crop in enumerate(crops)))
        writer.seal()
    assert quality.main(["--store", str(tmp_path / "s.lmdb"), "--small"]) == 2
    assert "one size, got 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["--store", "s", "--quality", "0"], ["--store", "s", "--crops", "0"]]
)
def test_wrong_use_ends_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        quality.arguments(words)
    assert stop.value.code == 2
