"""docs/cli.md says what the commands are and print."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from builders.game import Game, draw_game
from lmdb_reid.cli.main import SUMMARIES, main

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.+?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def rows(section: str) -> dict[str, str]:
    """The second cells of a section's table by the first, which is code."""
    found = re.findall(r"^\| `(.+?)` \| (.+?) \|(?:.*\|)?$", SECTIONS[section], re.MULTILINE)
    return dict(found)


def test_every_command_is_on_the_page_with_its_summary() -> None:
    listed = {
        name: re.sub(r" \(\[.*?\]\(.*?\)\)", "", text) for name, text in rows("Commands").items()
    }
    assert listed == SUMMARIES


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    return draw_game(tmp_path_factory.mktemp("drawn"), quarters=1, frames=1, size=(180, 320))


def test_the_keys_of_json_are_those_of_the_page(
    game: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = shlex.join(["--train-meta", str(game.train_meta), "--img-root", str(game.img_root)])
    build = f"build --format atmacup {source} --size 32x16 --out g.lmdb"
    lines = {
        "build --dry-run": f"{build} --dry-run",
        "build": build,
        "negatives": f"negatives {source} --output n.csv",
        "info": "info g.lmdb",
        "verify": "verify g.lmdb",
        "merge": "merge g.lmdb other.lmdb --out both.lmdb",
        "query": "query g.lmdb 'label == 1'",
        "get": "get g.lmdb Q1-000__side__00__01#000",
        "export": "export g.lmdb --to csv -o exported",
        "sheet": "sheet g.lmdb --count 2",
        "warm": "warm g.lmdb",
        "warm --decoded": "warm g.lmdb --decoded --num-workers 1",
        "split": "split g.lmdb --rule stratified",
        "doctor": "doctor",
    }
    documented = rows("JSON")
    for name, line in lines.items():
        if name == "merge":
            assert main([*shlex.split(build), "--out", "other.lmdb", "--quality", "80"]) == 0
            capsys.readouterr()
        code = main([*shlex.split(line), "--json"])
        shown = capsys.readouterr()
        assert code == 0 or name == "doctor", shown.err
        keys = json.loads(shown.out).keys()
        assert keys == set(re.findall(r"`(\w+)`", documented[name])), name
    # The others need torch; their own tests have keys.
    assert documented.keys() - lines.keys() == {"bench", "train", "train --split", "embed", "rank"}
