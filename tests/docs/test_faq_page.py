"""The commands and Python of docs/faq.md run as they are; its table of names is the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from builders import AtmaCup, build
from builders.game import draw_game
from lmdb_reid import Store
from lmdb_reid.cli.main import main
from lmdb_reid.dataset import _guesses as of_dataset
from lmdb_reid.loaders import _guesses as of_loader
from lmdb_reid.store import _guesses as of_store
from lmdb_reid.store import _sample

PAGE = Path(__file__).parents[2] / "docs" / "faq.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)
NAMES = [row.split(" | ")[0] for row in TEXT.partition("| you write")[2].splitlines()[2:]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("faq")
    game = draw_game(at / "game", quarters=1, frames=2, size=(360, 640))
    build(AtmaCup(game.train_meta, game.img_root), at / "games.lmdb")
    return at


def test_every_block_runs_in_the_order_of_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert {language for language, _ in BLOCKS} == {"bash", "python"}
    names: dict[str, Any] = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), names)
            continue
        for line in block.splitlines():
            words = shlex.split(line)
            assert words[0] == "lmdb-reid"
            assert main(words[1:]) == 0, (line, capsys.readouterr().err)
    assert (names["players"].labels >= 0).all()
    assert names["copy"].rows.tolist() == names["players"].rows.tolist()
    with Store("corrected.lmdb") as corrected:
        assert corrected.digest == names["store"].digest
    names["store"].close()


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", TEXT)
    assert links
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []


@pytest.mark.parametrize(
    ("what", "known"),
    [
        (r"\bstore\.(\w+)(?!\w*\((?:ncols|nrow))", of_store.STORE.works),
        (r"\bsample\.(\w+)", _sample._GUESSES.works),
        (r"\bdataset\.(?!split)(\w+)", of_dataset.DATASET.works),
        (r"ReIDDataset\((.*?)\)", of_dataset.RENAMED),
        (r"dataset\.split\((.*?)\)", of_dataset.SPLIT),
        (r"make_loader\((.*?)\)", of_loader.RENAMED),
        (r"sheet\((.*?)\)", of_store.ROW_OF_SHEET),
    ],
)
def test_the_table_has_the_names_that_work(what: str, known: Any) -> None:
    found = [name for cell in NAMES for name in re.findall(what, cell)]
    names = {name for each in found for name in re.split(r"=,? ?", each) if name}
    assert names == set(known)
