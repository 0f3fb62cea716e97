"""`lmdb-reid sheet`, and what it shows of a training recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import Store, codec
from lmdb_reid.cli.main import main


def shown(file: Path) -> np.ndarray:
    return codec.read_source(file.read_bytes())


def test_a_recipe_is_shown_on_a_sample(
    store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again, other = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"
    arguments = ["sheet", str(store_path), "f000#001", "--augment", "bot"]
    assert main([*arguments, "--seed", "3", "-o", str(first)]) == 0
    assert "1 sample, 12 draws of each" in capsys.readouterr().out
    assert main([*arguments, "--seed", "3", "-o", str(again)]) == 0
    assert main([*arguments, "--seed", "4", "-o", str(other)]) == 0
    assert np.array_equal(shown(first), shown(again))
    assert not np.array_equal(shown(first), shown(other))


def test_colour_is_shown_too(store_path: Path, tmp_path: Path) -> None:
    plain, coloured = tmp_path / "a.png", tmp_path / "b.png"
    assert main(["sheet", str(store_path), "f000#001", "-o", str(plain)]) == 0
    assert (
        main(["sheet", str(store_path), "f000#001", "--augment", "guide", "-o", str(coloured)]) == 0
    )
    assert len(np.unique(shown(coloured).reshape(-1, 3), axis=0)) > 2 * len(
        np.unique(shown(plain).reshape(-1, 3), axis=0)
    )


def test_a_recipe_of_no_such_name(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sheet", str(store_path), "--augment", "bott"]) == 2
    assert "nearest is 'bot'" in capsys.readouterr().err
    with Store(store_path) as store:
        assert len(store) == 8
