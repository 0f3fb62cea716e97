"""Other toolboxes train on a store as on their own files: the same losses for the same order."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.bridges import ENVS, TOOLBOXES, write_files
from benchmarks.peers._install import interpreter, missing
from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.schema import Roles
from training.splits import Split, save_split

PEOPLE, SHOTS = 12, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 crops of 12 people, six to train on: a store, its split, and files of the same bytes."""
    folder = tmp_path_factory.mktemp("people")
    random = np.random.default_rng(0)
    looks = random.integers(0, 255, (PEOPLE, 8, 4, 3))
    with StoreWriter(folder / "people.lmdb", roles=Roles(camera="cam")) as writer:
        for number in range(PEOPLE * SHOTS):
            picture = looks[number % PEOPLE].repeat(8, 0).repeat(8, 1)
            picture = (picture + random.integers(-40, 40, picture.shape)).clip(0, 255)
            record = {"label": number % PEOPLE, "cam": number // PEOPLE % 2}
            writer.put(f"{number:03d}", codec.encode(picture.astype(np.uint8)), record)
    with Store(folder / "people.lmdb") as store:
        labels = store.columns["label"]
        rows = np.arange(len(store))
        parts = {
            "train": rows[labels < 6],
            "query": rows[(labels >= 6) & (rows < 2 * PEOPLE)],
            "gallery": rows[(labels >= 6) & (rows >= 2 * PEOPLE)],
        }
        save_split(folder / "split.json", Split(parts=parts, labels=range(6)), store.ids, labels)
        for name, chosen in parts.items():
            write_files(store, chosen, labels, store.columns["cam"], folder / "files" / name)
    return folder


def run(toolbox: str, folder: Path) -> dict[str, Any]:
    """What a script prints in the toolbox's environment."""
    envs = Path(os.environ.get("LMDB_REID_PEERS", ENVS)).expanduser()
    why = missing(TOOLBOXES[toolbox], envs)
    if why is not None:
        pytest.skip(f"{toolbox}: {why} (python -m benchmarks.bridges --install)")
    script = Path(__file__).with_name(f"{toolbox}_run.py")
    done = subprocess.run(
        [interpreter(TOOLBOXES[toolbox], envs), script, folder],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("toolbox", "losses"), [("torchreid", ["softmax", "triplet"]), ("boxmot", ["triplet"])]
)
def test_losses_and_scores_are_those_of_files(
    toolbox: str, losses: list[str], folder: Path
) -> None:
    found = run(toolbox, folder)
    for loss in losses:
        ours, theirs = found[f"{loss} store"], found[f"{loss} files"]
        assert len(ours["losses"]) == len(theirs["losses"]) > 1
        assert np.isfinite(ours["losses"]).all()
        np.testing.assert_allclose(ours["losses"], theirs["losses"], atol=1e-4)
        assert ours["losses"][-1] != ours["losses"][0]
        assert ours["mAP"] == pytest.approx(theirs["mAP"], abs=1e-4)
        assert ours["rank1"] == pytest.approx(theirs["rank1"], abs=1e-4)
