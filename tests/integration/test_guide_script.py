"""A user's script with the guide's names, run in a folder of its own; and the four troubles."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.game import Game
from lmdb_reid.cli import doctor
from lmdb_reid.cli._survey import look_around
from training import build_open_set_splits_cv

SCRIPT = Path(__file__).with_name("guide_script.py")
META = "inputs/atmaCup22_2nd_meta/train_meta.csv"
LABELS = [0, 1, 2, 4, 5, 6, 8, 9]
"""Of the ten players; 3 and 7 are the first fold's strangers (seed 42)."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(game: Game, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script runs: the guide's inputs, negatives not made yet."""
    place = tmp_path_factory.mktemp("guide")
    (place / META).parent.mkdir(parents=True)
    shutil.copy(game.train_meta, place / META)
    shutil.copytree(game.img_root, place / "inputs/images")
    return place


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def facts(run: Run) -> dict[str, Any]:
    """What the script printed, after the guide's step 1."""
    words = ["--train_meta", META, "--img_root", "inputs/images"]
    words += ["--output", "inputs/train_negatives.csv"]
    words += ["--num_bg_per_frame", "1", "--num_partial_per_box", "1"]
    made = run("-m", "builders.negatives", *words)
    assert made.returncode == 0, made.stderr
    done = run(SCRIPT)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert len([line for line in lines if re.fullmatch(r"Batch time: \d\.\d{3}s", line)]) > 0
    told: dict[str, Any] = json.loads(last)
    return told


def test_negatives_are_loaded_from_the_csv(facts: dict[str, Any]) -> None:
    assert facts["negatives"] == 12 + 120  # one of each frame, one of each box
    assert facts["negative_labels"] == [-1]


def test_splits_have_the_guides_folds(facts: dict[str, Any]) -> None:
    assert facts["known_labels"] == facts["labels_of_known"] == LABELS
    assert facts["unknown_labels"] == [3, 7]
    assert facts["known"] == 96
    assert facts["unknown"] == 24 + 132
    known, unknown, known_labels, unknown_labels = facts["plain"]
    assert (known, known_labels, unknown_labels) == (96, 8, 2)
    assert unknown == 24 + 12  # partial negatives were not asked for


def test_boxes_are_cropped_at_run_time(facts: dict[str, Any]) -> None:
    assert facts["run_time_cropping"] == {
        "batches": 6,
        "shape": [3, 64, 32],
        "dtype": "torch.float32",
        "labels": np.repeat(LABELS, 12).tolist(),
        "label_dtype": "torch.int64",
    }


def test_both_views_of_a_player(facts: dict[str, Any]) -> None:
    assert facts["both_views"]["pairs"] == 48
    assert facts["both_views"]["shapes"] == [[4, 3, 64, 32]] * 2
    assert set(facts["both_views"]["labels"]) <= set(LABELS)


def test_cropped_files_are_read_once(facts: dict[str, Any]) -> None:
    cropped = facts["cropped_files"]
    assert (cropped["batches"], cropped["dtype"]) == (3, "torch.float32")
    assert (cropped["cache"]["hits"], cropped["cache"]["misses"]) == (24, 24)


def test_data_modules_give_epochs(facts: dict[str, Any], folder: Path) -> None:
    plain, folds = facts["data_modules"]["plain"], facts["data_modules"]["cv"]
    assert plain["train"]["shape"] == folds["train"]["shape"] == [3, 64, 64]
    # Side views only: 60 boxes, of each of ten players int(6 * 0.8) to train on.
    assert len(plain["train"]["labels"]) == 32  # of 40: a last batch that is not full is left out
    assert set(plain["train"]["labels"]) == set(range(10))
    assert plain["val"]["labels"] == np.repeat(np.arange(10), 2).tolist()
    assert len(folds["train"]["labels"]) == 64  # of 72
    assert folds["val"]["labels"] == np.repeat(np.arange(8), 3).tolist()
    stores = [path.parent for path in folder.rglob("manifest.json")]
    assert sorted(path.parent.name for path in stores) == ["atmaCup22_2nd_meta", "cache"]


def test_the_published_training_script_runs_over_its_cached_crops(
    facts: dict[str, Any],
) -> None:
    trained = facts["trained"]
    assert trained["cache"]["num_files"] == 120
    for fold in ("fold 0", "fold 1"):
        found = trained[fold]
        assert (found["num_classes"], found["train_samples"], found["val_samples"]) == (8, 72, 24)
        assert found["val_labels"] == list(range(8))
        assert found["batches"] == 72 // 16
        assert found["val_loss"] > 0
    assert trained["fold 0"]["unknown"] == [3, 7]


def test_the_published_inference_script_gets_its_splits(facts: dict[str, Any]) -> None:
    found = facts["inferred"]
    assert found["known"] == 96
    assert found["saved"] == [72, 24, [3, 7]]
    assert found["unknown"] == 24 + facts["negatives"]
    assert (found["unknown_labels"], sorted(found["folds"])) == ([3, 7], [3, 7])
    assert (found["pairs"], found["iou"]) == (48, 1.0)
    assert 0 < found["backgrounds"] <= 12 and found["partials"] > 48


def test_only_import_lines_differ_from_the_guides() -> None:
    text = SCRIPT.read_text()
    imports = re.findall(
        r"^from (lmdb_reid|builders|training)\b.*  # from src\.", text, re.MULTILINE
    )
    assert sorted(imports) == ["lmdb_reid", "training"]
    assert not re.search(r"lmdb_reid\.|Store\(|make_loader|builders", text)


def test_the_imports_and_examples_of_the_page_work() -> None:
    page = (SCRIPT.parents[2] / "docs/guide.md").read_text()
    ours = re.findall(r"`(from (?:lmdb_reid|builders|training)[\w.]* import [^`]+)`", page)
    assert len(ours) >= 6
    for line in ours:
        exec(line, {})
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        for line in re.findall(r"^from .+$", example, re.MULTILINE):
            exec(line, {})
        compile(example, "docs/guide.md", "exec")


# -- troubleshooting -------------------------------------------------------------------------------


def test_missing_negatives_say_what_makes_them(folder: Path, run: Run) -> None:
    with pytest.raises(FileNotFoundError, match="Negatives CSV not found") as caught:
        build_open_set_splits_cv(
            train_meta_path=folder / META,
            img_root=folder / "inputs/images",
            neg_csv_path=folder / "inputs/other.csv",
        )
    command = re.search(r"lmdb-reid (negatives .+)$", str(caught.value))
    assert command is not None
    made = run("-m", "lmdb_reid.cli", *command[1].split())
    assert made.returncode == 0, made.stderr
    assert (folder / "inputs/other.csv").is_file()


def test_a_cache_beyond_memory_says_what_to_reduce() -> None:
    free = 8 * 10**9
    survey = dataclasses.replace(look_around(), memory_free_bytes=free)
    image = 224 * 224 * 3
    plan = doctor.CachePlan(items=10_000, size=(224, 224), processes=8)
    (finding,) = [found for found in doctor.judge(survey, plan) if "cache" in found.what]
    assert finding.problem
    assert "10,000 images of 224x224 in each of 8 processes" in finding.what
    size = re.search(r"cache_size=(\d+) \(or LRUCache\(bytes=(\d+)\)\)", finding.change)
    assert size is not None
    items, limit = map(int, size.groups())
    assert limit == items * image
    assert 0.7 * free < 8 * limit < free
    fitting = doctor.CachePlan(items=items, size=(224, 224), processes=8)
    assert not [found for found in doctor.judge(survey, fitting) if "cache" in found.what]


def test_doctor_takes_the_plan_from_its_options(run: Run) -> None:
    done = run("-m", "lmdb_reid.cli", "doctor", "--cache-size", str(10**9), "--num-workers", "4")
    assert done.returncode == 1
    assert "1,000,000,000 images of 256x128 in each of 4 processes" in done.stdout
    assert run("-m", "lmdb_reid.cli", "doctor", "--cache-size", "0").returncode == 2


def test_too_many_open_files_says_what_to_change() -> None:
    survey = dataclasses.replace(look_around(), open_files_soft=1024, open_files_hard=None)
    (finding,) = [found for found in doctor.judge(survey) if "files" in found.what]
    assert "Too many open files" in finding.what
    assert "num_workers" in finding.what
    assert "ulimit -n" in finding.change


def test_what_is_slow_is_advised_on(folder: Path, facts: dict[str, Any], run: Run) -> None:
    (store, _) = sorted(path.parent for path in folder.rglob("manifest.json"))
    words = ["bench", str(store), "--seconds", "2", "--step-ms", "1", "--json"]
    done = run("-m", "lmdb_reid.cli", *words)
    assert done.returncode == 0, done.stderr
    advice = json.loads(done.stdout)["advice"]
    assert re.search(
        r"num_workers=|cache=DecodedTier|lmdb-reid warm|--size|nothing to change", advice
    )
