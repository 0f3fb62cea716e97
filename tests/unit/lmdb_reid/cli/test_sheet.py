"""`lmdb-reid sheet`, and what it shows of a training recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import Store, StoreWriter, codec
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "10000"], "--count must be 1 to 1,000, got 10,000"),
        (["--count", "0"], "--count must be 1 to 1,000, got 0"),
        (["--count", "77", "--augment", "bot"], "--count must be 1 to 76, got 77"),
        (["--query", "label == 99"], "no sample matches 'label == 99', so there is nothing"),
        (["--query", ""], "query must be a condition"),
        (["f000#001", "--query", ""], "ID and --query exclude each other"),
        (["f000#1"], "Did you mean 'f000#001'"),
        (["--by", "labl"], "Did you mean 'label'"),
        (["--columns", "0"], "--columns must be at least 1"),
        (["--output", "a.txt"], "must end in .jpg or .png"),
    ],
)
def test_sheets_of_nothing_or_too_much(
    words: list[str], said: str, store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sheet", str(store_path), *words]) in (1, 2)
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") <= 2
    assert shown.out == ""


def test_too_many_ids(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sheet", str(store_path), *["f000#001"] * 1001]) == 2
    assert "ID must name at most 1,000 samples, got 1,001" in capsys.readouterr().err


def test_groups_are_chosen_by_name(store_path: Path, tmp_path: Path) -> None:
    sheets = {}
    for by in ("auto", "none", "label", "quarter"):
        file = tmp_path / f"{by}.png"
        assert main(["sheet", str(store_path), "--by", by, "-o", str(file)]) == 0
        sheets[by] = shown(file)
    assert not np.array_equal(sheets["label"], sheets["quarter"])
    assert not np.array_equal(sheets["label"], sheets["none"])
    assert np.array_equal(sheets["auto"], sheets["none"]), "eight of three labels are few"


def test_an_id_of_markup_and_controls_is_drawn_and_printed_as_text(
    tmp_path: Path, jpeg: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e\u2066$\\frac{$#000"
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put(hostile, jpeg(), {"label": 1})
    file = tmp_path / "a.jpg"
    for words in ([hostile], ["--json"], ["--augment", "bot"]):
        assert main(["sheet", str(tmp_path / "a.lmdb"), *words, "-o", str(file)]) == 0
        told = capsys.readouterr()
        assert (told.out + told.err).replace("\n", "").isprintable()
        assert shown(file).any()
