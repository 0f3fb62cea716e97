"""From a folder in Market-1501's layout to mAP, on photographs outside the repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmdb_reid.cli.main import main

pytestmark = [pytest.mark.data, pytest.mark.slow]


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    assert main([*map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_folder_comes_to_map_by_build_split_and_train(
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = shared_data / "reid_rugby"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    monkeypatch.chdir(tmp_path)
    build = ["build", "--format", "market1501", "--root", root, "--out", "rugby.lmdb"]
    assert said(capsys, *build, "--size", "64x32")["samples"] == 859
    split = said(capsys, "split", "rugby.lmdb", "--rule", "identity", "-o", "split.json", "--hash")
    assert split["leaks"] == [] and split["looked_for"] == ["identities", "copies", "near"]
    train = ["train", "--store", "rugby.lmdb", "--split", "split.json", "--out", "run"]
    command = [sys.executable, "-m", "lmdb_reid.cli", *train, "--max-epochs", "1", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    best: dict[str, Any] = json.loads(run.stdout)
    assert best["queries"] == split["answered_queries"]
    assert best["queries"] + best["left_out"] == split["parts"]["query"]["samples"]
    assert best["same_camera"] and best["mAP"] > 0.05, "features at random give 0.02"
    ranked = said(
        capsys, "rank", "rugby.lmdb", "--split", "split.json", "--ckpt", best["checkpoint"]
    )
    assert ranked["mAP"] == pytest.approx(best["mAP"], abs=1e-4)
