"""Every command of docs/data.md runs as it stands, on folders drawn here; so does its Python."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import Store, codec
from lmdb_reid.cli.main import commands, main

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:^    .*\S.*\n)+", TEXT, re.M)
COMMANDS = [
    line
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip().startswith("lmdb-reid ")
]
FRAME = (720, 640)


@pytest.fixture(scope="module")
def drawn() -> Iterator[Any]:
    pytest.importorskip("av", reason="PyAV is not installed")
    folder = str(PAGE.parents[1] / "tests" / "unit" / "builders")
    sys.path.insert(0, folder)
    yield importlib.import_module("videos")
    sys.path.remove(folder)
    del sys.modules["videos"]


def draw(path: Path, shade: int, size: tuple[int, int] = (128, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(codec.encode(np.full((*size, 3), shade, np.uint8)))


def csv_of(begin: str) -> str:
    """The csv of the page that begins with this line."""
    (block,) = (block for block in BLOCKS if block.startswith(f"    {begin}\n"))
    return "".join(line[4:] + "\n" for line in block.splitlines())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> Path:
    """All that the commands name."""
    at = tmp_path_factory.mktemp("data")
    (at / "crops.csv").write_text(csv_of("file,player"))
    for name in ("ann/01", "bea/07"):
        draw(at / "crops" / f"{name}.jpg", 90)
    (at / "boxes.csv").write_text(csv_of("file,left,top,width,height,player,camera,minute"))
    draw(at / "frames" / "game1" / "000001.jpg", 120, FRAME)
    for split, name in {
        "bounding_box_train": "0002_c1s1_000451_03.jpg",
        "query": "0005_c2s1_000151_00.jpg",
        "bounding_box_test": "0005_c3s1_000201_00.jpg",
    }.items():
        draw(at / "Market-1501" / split / name, 60)
    lists = {
        "train": "train/0000/0000_000_01_0303.jpg 0",
        "query": "test/0000/0000_001_02_11.jpg 0",
    }
    for name, line in lists.items():
        (at / "MSMT17").mkdir(exist_ok=True)
        (at / "MSMT17" / f"list_{name}.txt").write_text(line.partition("/")[2] + "\n")
        draw(at / "MSMT17" / line.partition(" ")[0], 60)
    for split in ("query", "gallery"):
        draw(at / "reid" / "valid" / split / "1-3-7-2-player_team_left-9-a-256x128.png", 60)
    for name in ("ann/1_05", "bea/2_06"):
        draw(at / "people" / f"{name}.jpg", 70)
    gt = "1,1,50,50,60,160,1,1,0.9\n2,1,52,50,60,160,1,1,0.9\n1,2,200,50,60,160,1,7,1\n"
    for root in ("MOT17/train/MOT17-02-FRCNN", "tracks/game1"):
        (at / root / "gt").mkdir(parents=True)
        (at / root / "gt" / "gt.txt").write_text(gt)
    for number in (1, 2):
        image = f"MOT17/train/MOT17-02-FRCNN/img1/{number:06d}.jpg"
        draw(at / image, 60, FRAME)
    draw(at / "images" / "Q1__side__00__01.jpg", 60, FRAME)
    images = [{"id": 1, "file_name": "Q1__side__00__01.jpg"}]
    notes = [{"id": 1, "image_id": 1, "bbox": [10, 20, 60, 160], "category_id": 1, "track_id": 4}]
    kinds = [{"id": 1, "name": "person"}]
    (at / "people.json").write_text(
        json.dumps({"images": images, "annotations": notes, "categories": kinds})
    )
    (at / "train_meta.csv").write_text(
        "quarter,angle,session,frame,x,y,w,h,label_id\nQ1,side,0,1,50,60,60,160,3\n"
    )
    (at / "videos.csv").write_text(csv_of("video,number,left,top,width,height,player"))
    (at / "game1.csv").write_text(
        "number,left,top,width,height,player\n1,136,520,51,135,7\n6,131,521,51,135,7\n"
    )
    drawn.draw_video(at / "videos" / "game1.mp4", 8, size=FRAME)
    return at


def run(words: list[str]) -> int:
    """A command, also one that was not there when the environment was made."""
    if words[0] in commands():
        return main(words)
    module = importlib.import_module(f"lmdb_reid.cli.{words[0]}")
    parser = argparse.ArgumentParser()
    module.configure(parser)
    return int(module.run(parser.parse_args(words[1:])))


def test_the_page_has_a_command_for_each_format() -> None:
    formats = {"csv", "market1501", "msmt17", "soccernet", "folder", "mot", "coco", "atmacup"}
    words = [shlex.split(command) for command in COMMANDS]
    assert {each[each.index("--format") + 1] for each in words if "--format" in each} == formats


def test_the_commands_run_as_they_stand(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(folder)
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        if words[0] == "build":
            words.append("--overwrite")  # several name their store games.lmdb
        capsys.readouterr()
        assert run(words) == 0, (command, capsys.readouterr().err)
        if "--out" in words:
            with Store(words[words.index("--out") + 1]) as store:
                assert store.verify(deep=True).ok
    with Store("again.lmdb") as again, Store("games.lmdb") as games:
        assert again.digest == games.digest
        assert "game1/00000006#000" in games


def test_the_python_runs_as_it_stands(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
    assert len(blocks) == 2
    dataset = [(np.full((64, 32, 3), at, np.uint8), at) for at in range(3)]
    names: dict[str, Any] = {"dataset": dataset}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    with Store("mine.lmdb") as store:
        assert list(store) == ["00000000", "00000001", "00000002"]
    with Store("named.lmdb") as store:
        assert store["ann/000002"].record["frame"] == 2
        assert store.size == (256, 128)
