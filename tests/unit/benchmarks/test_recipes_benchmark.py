"""What a recipe costs in other libraries: its words and its table. Nothing here measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import recipes


def test_ways_that_cannot_be_imported_are_said_and_ours_are_there() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 16, 3)).astype(np.uint8)
    result = recipes.measured(pictures, 2)
    assert {*result["us"], *result["failed"]} == {*recipes.WAYS}
    for name in ("decode", "lmdb_reid, uint8", "lmdb_reid, normalised float32"):
        assert len(result["us"][name]["values"]) == 2
    text = recipes.table(result)
    assert "| lmdb_reid, uint8 |" in text
    assert text.count("\n") == 3 + len(recipes.WAYS)


def test_an_environment_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipes.main(["--draw", "--small", "--envs", str(tmp_path)]) == 2
    assert "run with --install first" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--draw", "--repeats", "0"], ["--draw", "--install"]])
def test_wrong_use_ends_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        recipes.arguments(words)
    assert stop.value.code == 2
