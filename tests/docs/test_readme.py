"""Every block of README.md runs as it stands; its figures are those of the results in the tree."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import Store, codec
from lmdb_reid.cli.main import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
RESULT = json.loads((ROOT / "benchmarks/results/2026-11-25-loaders.json").read_text())["engines"]
MAKEFILE = (ROOT / "Makefile").read_text()
PLAYERS, FRAMES = 20, 5


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def lines(block: str) -> list[list[str]]:
    """The commands of a block of shell, as words."""
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


def train(words: list[str]) -> None:
    call = [sys.executable, "-m", "lmdb_reid", *words, "--max-epochs", "1"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(call, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mAP" in done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has: the csv of the page, with more rows of its kind, and its frames."""
    at = tmp_path_factory.mktemp("own")
    (page,) = blocks("csv")
    table = list(csv.DictReader(io.StringIO(page)))
    rng = np.random.default_rng(0)
    for frame in range(3, 3 + FRAMES):
        for player in range(PLAYERS):
            left, top = 60 * player, 40 + rng.integers(200)
            place = {"left": left, "top": top, "width": 50, "height": 130, "player": player}
            table.append({"file": f"game1/{frame:06}.jpg", **place})
    with (at / "boxes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, page.splitlines()[0].split(","))
        writer.writeheader()
        writer.writerows(table)
    (at / "frames" / "game1").mkdir(parents=True)
    for name in {row["file"] for row in table}:
        picture = np.repeat(rng.integers(0, 255, (90, 160, 3), np.uint8), 8, 0).repeat(8, 1)
        (at / "frames" / name).write_bytes(codec.encode(picture))
    return at


def test_no_block_is_of_a_kind_that_is_not_tested() -> None:
    assert {name for name, _ in BLOCKS} == {"bash", "csv", "python", "text"}
    indented = [line for line in TEXT.splitlines() if line.startswith("    ")]
    assert all(line in "".join(text for _, text in BLOCKS) for line in indented)


def test_every_block_runs_in_the_order_of_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "README.md", "exec"), names)
        for line in lines(block) if language == "bash" else ():
            words = line
            if words[0] == "pip":
                assert words[1] == "install"
                continue  # below
            if words[0] == "make":
                (recipe,) = re.findall(rf"^{words[1]}:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
                if words[1] == "test":  # these very tests
                    assert "pytest" in recipe
                    continue
                words = recipe.replace("$(BIN)/", "").split()
            assert words[0] == "lmdb-reid"
            capsys.readouterr()
            if words[1] == "train":  # Lightning changes signals and warnings of its process
                train(words[1:])
                continue
            few = ["--quarters", "1", "--frames", "1"] if words[1] == "demo" else []
            assert main([*words[1:], *few]) == 0, (words, capsys.readouterr())
    images, labels, rows = names["images"], names["labels"], names["rows"]
    assert (str(images.dtype), tuple(images.shape)) == ("torch.float32", (64, 3, 256, 128))
    assert (str(labels.dtype), str(rows.dtype)) == ("torch.int64", "torch.int64")
    assert {"player.jpg", "player7.jpg", "split.json"} <= {path.name for path in folder.iterdir()}
    names["store"].close()


def test_the_demo_ends_as_the_page_shows(folder: Path) -> None:
    """Its commands are of the demo that the block above them starts."""
    (shown,) = blocks("text")
    pattern = r"ours [\d,]+ crops/s, PIL files [\d,]+ \([\d.]+ times\), run-time cropping"
    assert re.match(pattern, shown)
    with Store(folder / "data" / "demo" / "demo.lmdb") as store:
        words = next(words for words in lines(shown.partition("next:\n")[2]) if words[1] == "get")
        assert words[3] in store


def test_every_extra_is_in_the_table_and_no_other() -> None:
    named = set(re.findall(r'pip install (?:-c constraints.txt )?"\.\[(.+?)\]"', TEXT))
    assert {name for each in named for name in each.split(",")} == set(EXTRAS) - {"dev"}


def test_the_table_of_speed_is_the_kept_result() -> None:
    table = TEXT.partition("## Speed")[2].partition("With augmentation on")[0]
    shown = [int(text.replace(",", "")) for text in re.findall(r"\b\d+,\d{3}\b", table)]
    kept = [round(engine["crops_per_s"]["median"]) for engine in RESULT.values()]
    rates = [rate for rate in shown if rate not in {11104, 8664}]  # the crops; the guide's store
    assert len(rates) == 17
    assert set(rates) <= set(kept)
    guide = json.loads((ROOT / "benchmarks/results/2026-11-25-guide.json").read_text())["rows"]
    assert "run-time cropping 175 " in guide[0]["measured"]
    assert "store 8,664 " in guide[0]["measured"]


def test_the_table_with_augmentation_is_that_of_the_page_of_benchmarks() -> None:
    """Which says how they were measured; no file of that run was kept."""
    table = TEXT.partition("With augmentation on")[2].partition("[docs/benchmarks.md]")[0]
    shown = re.findall(r"\b\d+,\d{3}\b|\b\d{3}\b", table)
    assert len(shown) == 9
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    results = page.partition("### Results with the recipe")[2].partition("## ")[0]
    assert set(shown) <= set(re.findall(r"\b\d+,\d{3}\b|\b\d{3}\b", results))


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_page_can_be_reached_from_here() -> None:
    pages = {path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md")}
    pages |= {path.relative_to(ROOT) for path in ROOT.glob("*.md")} | {Path("data/README.md")}
    reached, new = {Path("README.md")}, {Path("README.md")}
    while new:
        links = {
            Path(os.path.normpath(page.parent / link))
            for page in new
            for link in re.findall(r"\]\(([^)#:]+\.md)", (ROOT / page).read_text(encoding="utf-8"))
        }
        new = links - reached
        reached |= new
    assert pages - reached == set()
