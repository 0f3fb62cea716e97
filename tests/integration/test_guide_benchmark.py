from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import guide, harness
from builders.game import Game

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_row_of_the_page_is_measured(
    game: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    data = str(game.train_meta.parent)
    rows = guide.main(["--data", data, "--repeats", "2", "--crops", "20", "--num-workers", "2"])
    page = (ROOT / "docs/guide.md").read_text()
    printed = capsys.readouterr().out
    for row in rows:
        start = f"| {row.promise} | {row.claim} | {row.wanted} | "
        assert start in page
        assert start in printed
    assert page.count(
        "\n| ", page.index("| the guide's promise"), page.index("## The guide's")
    ) == (len(rows) + 1)
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    assert kept["passport"]["cores"] >= 1
    assert [row["promise"] for row in kept["rows"]] == [row.promise for row in rows]
    for row in kept["rows"]:
        for value in row["values"].values():
            assert 0 < value["min"] <= value["median"] <= value["max"]
