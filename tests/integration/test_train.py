"""`lmdb-reid train`, from a store or from frames to a checkpoint."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from builders import AtmaCup, BuildSettings, build
from builders.game import Game, draw_game
from lmdb_reid.cli.main import main
from lmdb_reid.store import Store
from training.module import PlayerReIDModule
from training.splits import by_identity, load_split, save_split

Train = Callable[..., "subprocess.CompletedProcess[str]"]

_EPOCH = r"epoch \d of \d, loss \d+\.\d{4}, macro F1 0\.\d{4}, threshold -?\d\.\d{4}\n"
_RESULT = r"macro F1 (0\.\d{4}) at threshold (0\.\d{4}), epoch (\d) of (\d): (.+best\.ckpt)\n"
_SEARCHED = r"epoch \d of \d, loss \d+\.\d{4}, mAP [01]\.\d{4}, CMC-1 [01]\.\d{4}\n"
_RANKED = (
    r"mAP ([01]\.\d{4})(?:, CMC-\d+ [01]\.\d{4}){3} \((\d+) queries, 0 left out\), epoch (\d) of"
    r" (\d): (.+best\.ckpt)\n"
)
_ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Game:
    """48 frames with 480 boxes of 10 players. Shared: never write into its folders."""
    return draw_game(tmp_path_factory.mktemp("drawn"), quarters=3, frames=8, size=(360, 640))


@pytest.fixture(scope="session")
def store(drawn: Game, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 64x32 crops. Shared: never write into it."""
    path = tmp_path_factory.mktemp("stores") / "drawn.lmdb"
    build(AtmaCup(drawn.train_meta, drawn.img_root), path, BuildSettings(size=(64, 32)))
    return path


def train(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lmdb_reid.cli", "train", *map(str, words)],
        cwd=folder,
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def trained(
    store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A fold of six epochs: the folder it ran in, and what it said."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["--store", store, "--folds", "5", "--fold", "0", "--max-epochs", "6"]
    return folder, train(folder, *words, "--batch-size", "32", "--num-workers", "2")


def test_it_learns_who_is_who(trained: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = trained
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(_RESULT, done.stdout)
    assert found is not None, done.stdout
    # Eight players, two strangers and background: by chance, or saying "nobody" always, about 0.1.
    assert float(found[1]) > 0.4
    assert (found[4], Path(found[5]).is_file()) == ("6", True)


def test_in_a_pipe_it_tells_epochs_and_nothing_else(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert re.fullmatch(rf"({_EPOCH}){{6}}", trained[1].stderr), trained[1].stderr


def test_a_run_leaves_logs_settings_fold_and_checkpoints(
    trained: tuple[Path, subprocess.CompletedProcess[str]], store: Path
) -> None:
    folder, done = trained
    run = folder / "runs" / "fold0"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    kept = {"metrics.csv", "config.yaml", "hparams.yaml", "split.csv"}
    checkpoints = {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    assert names == {f"version_0/{name}" for name in kept} | checkpoints
    with Store(store) as opened:
        split = load_split(run / "version_0" / "split.csv", opened.ids)
    model = PlayerReIDModule.load_from_checkpoint(run / "checkpoints" / "best.ckpt")
    assert model.classes.tolist() == split.labels
    with (run / "version_0" / "metrics.csv").open() as file:
        scores = {row["val_f1"]: row for row in csv.DictReader(file) if row["val_f1"]}
    best = scores[max(scores, key=float)]
    assert len(scores) == 6
    assert float(best["val_threshold"]) == pytest.approx(float(model.threshold), abs=1e-6)
    told = re.fullmatch(_RESULT, done.stdout)
    assert told is not None
    assert float(told[1]) == pytest.approx(float(best["val_f1"]), abs=1e-4)
    assert int(told[3]) == int(best["epoch"]) + 1


def test_its_checkpoint_makes_features_that_are_ranked(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = trained[0] / "runs" / "fold0"
    own = shutil.copytree(store, tmp_path / "own.lmdb")
    words = ["rank", str(own), "--ckpt", str(run / "checkpoints" / "best.ckpt")]
    words += ["--split", str(run / "version_0" / "split.csv"), "--json"]
    assert main(words) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    made_by = found["features"]["made_by"]
    assert made_by["checkpoint"] == "best.ckpt"
    assert (made_by["size"], made_by["normalize"]) == ([64, 32], [[0.5] * 3, [0.25] * 3])
    assert {side: part["name"] for side, part in found["parts"].items()} == {
        "query": "val",
        "gallery": "train",
    }
    assert found["metric"] == "cosine"
    assert found["cmc"]["1"] > 0.5  # eight players: by chance 0.125
    assert found["open_set"]["unknown"] > 20


def test_a_csv_and_frames_train_too_and_leave_a_store(drawn: Game, tmp_path: Path) -> None:
    words = ["--train_meta", drawn.train_meta, "--img_root", drawn.img_root, "--fold", "1"]
    few = ["--data.image_size", "[64,32]", "--data.cache_dir", "cache"]
    few += ["--trainer.limit_train_batches", "1"]
    done = train(tmp_path, *words, "--max-epochs", "1", "--json", "--out", "run", "--", *few)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    scores = {"macro_f1", "threshold", "epoch", "epochs", "checkpoint"}
    assert result.keys() == {"store", "seconds"} | scores
    assert (result["epoch"], result["epochs"]) == (1, 1)
    (path,) = (tmp_path / "cache").glob("*.lmdb")
    with Store(path) as opened:
        assert opened.size == (64, 32)
    assert "building" in done.stderr and "Warning" not in done.stderr


def test_a_split_with_query_and_gallery_ends_with_map(store: Path, tmp_path: Path) -> None:
    with Store(store) as opened:
        split = by_identity(opened)
        save_split(tmp_path / "split.json", split, opened.ids, opened.columns["label"])
    words = ["--store", store, "--split", "split.json", "--max-epochs", "2", "--num-workers", "2"]
    done = train(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"({_SEARCHED}){{2}}", done.stderr), done.stderr
    found = re.fullmatch(_RANKED, done.stdout)
    assert found is not None, done.stdout
    assert (found[2], found[4]) == (str(len(split["query"])), "2")
    best = tmp_path / "runs" / "split" / "checkpoints" / "best.ckpt"
    assert Path(found[5]) == best.relative_to(tmp_path) or Path(found[5]) == best
    saved = torch.load(best, weights_only=True)["ranking"]
    assert saved["mAP"] == pytest.approx(float(found[1]), abs=1e-4)
    with (best.parents[1] / "version_0" / "metrics.csv").open() as file:
        scores = [float(row["val_mAP"]) for row in csv.DictReader(file) if row["val_mAP"]]
    assert max(scores) == pytest.approx(saved["mAP"], abs=1e-6) and len(scores) == 2


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--store", "STORE", "--split", "none.json"], 1, "no split at none.json"),
        (
            ["--store", "STORE", "--split", "s.json", "--fold", "1"],
            2,
            "--split and --fold, --folds exclude each other",
        ),
        ([], 2, "--store STORE is required, or --train-meta CSV with"),
        (["--store", "none.lmdb"], 1, "no store at"),
        (["--store", "STORE", "--fold", "5"], 2, "fold must be 0 to 4, one of 5 folds, got 5"),
        (["--store", "STORE", "--folds", "9"], 2, "there are 10"),
        (["--store", "STORE", "--max-epochs", "0"], 2, "--max-epochs must be at least 1, got 0"),
        (["--store", "STORE", "--", "--data.nosuch", "1"], 2, "--data.nosuch"),
        (["--store", "STORE", "--", "--model.width", "many"], 2, "model.width"),
        (["--store", "STORE", "--", "--model.lr", "-1"], 2, "lr must be above 0"),
        pytest.param(
            ["--store", "STORE", "--", "--trainer.accelerator", "gpu"],
            2,
            "gpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: right use"),
        ),
        (["--store", "STORE", "--out", "full"], 2, "must be a new or empty folder, got full"),
        (["--resume", "full"], 2, "no checkpoints/last.ckpt"),
        (["word"], 2, "word"),
    ],
)
def test_wrong_use_is_told_in_a_line_and_leaves_nothing(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    told: str,
) -> None:
    # Lightning 2.6 calls what jsonargparse 4.53 gave another name.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["train", *(str(store) if word == "STORE" else word for word in words)]) == code
    error = capsys.readouterr().err
    assert error.startswith("lmdb-reid train: error: ") and error.count("\n") in (1, 2)
    assert told in error
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--store", "STORE", "--split", "none.json"], 1, "no split at none.json"),
        (["--store", "STORE", "--split", "no.csv"], 1, "no.csv is not a split: line 1 must be"),
        (["--store", "STORE", "--split", "s.txt"], 2, "must end in .csv or .json; got s.txt"),
        (["--store", "none.lmdb"], 1, "no store at"),
        (["--train-meta", "none.csv", "--img-root", "."], 1, "no csv at none.csv (--train-meta)"),
        (["--train-meta", "no.csv", "--img-root", "none"], 1, "no folder of frames at none"),
        (["--store", "STORE", "--fold", "5"], 2, "fold must be 0 to 4, one of 5 folds, got 5"),
        (["--store", "STORE", "--folds", "3", "--fold", "3"], 2, "one of 3 folds, got 3"),
        (["--store", "STORE", "--fold", "-1"], 2, "fold must be 0 to 4"),
        (["--store", "STORE", "--folds", "0"], 2, "--folds must be at least 1, got 0"),
        (["--store", "STORE", "--max-epochs", "0"], 2, "--max-epochs must be at least 1, got 0"),
        (["--store", "STORE", "--batch-size", "0"], 2, "--batch-size must be at least 1, got 0"),
        (["--store", "STORE", "--num-workers", "-1"], 2, "--num-workers must be at least 0"),
        (["--store", "STORE", "--seed", "-1"], 2, "--seed must be 0 to 4294967295, got -1"),
        (["--store", "STORE", "--augment", "bott"], 2, "The nearest is 'bot'"),
    ],
)
def test_wrong_numbers_and_files_need_no_torch(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    told: str,
) -> None:
    (tmp_path / "no.csv").write_text("a,b\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "training.runs", None)  # which loads them
    assert main(["train", *(str(store) if word == "STORE" else word for word in words)]) == code
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["no.csv"]


def test_the_checks_before_a_training_load_no_torch() -> None:
    script = (
        "import sys, training.commands._train_checks\n"
        "print({'torch', 'lightning'} & {*sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_trial_run_ends_well_and_has_no_best_epoch(store: Path, tmp_path: Path) -> None:
    done = train(tmp_path, "--store", store, "--out", "run", "--", "--trainer.fast_dev_run", "true")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_run_that_diverges_says_so(store: Path, tmp_path: Path) -> None:
    words = ["--store", store, "--out", "run", "--", "--model.lr", "1e30"]
    done = train(tmp_path, *words)
    assert done.returncode == 1
    assert "the training has diverged. Lower the learning rate" in done.stderr


@pytest.mark.slow
def test_a_run_can_be_gone_on_with(store: Path, tmp_path: Path) -> None:
    words = ["--store", store, "--batch-size", "32", "--fold", "2", "--out", "run"]
    assert train(tmp_path, *words, "--max-epochs", "1").returncode == 0
    done = train(tmp_path, "--resume", "run", "--max-epochs", "3")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"epoch (\d) of (\d),", done.stderr) == [("2", "3"), ("3", "3")]
    assert re.fullmatch(rf"({_EPOCH}){{2}}", done.stderr), done.stderr
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 2
    # Another fold's weights are not gone on with.
    done = train(tmp_path, "--resume", "run", "--max-epochs", "4", "--fold", "3")
    assert done.returncode == 2
    assert "Use the fold that the model was trained on" in done.stderr


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(store: Path, tmp_path: Path) -> None:
    words = ["--store", store, "--batch-size", "32", "--max-epochs", "2", "--seed", "3"]
    done = [
        train(tmp_path, *words, "--num-workers", num_workers, "--out", f"run{num_workers}").stdout
        for num_workers in ("0", "2")
    ]
    assert done[0].rpartition(":")[0] == done[1].rpartition(":")[0] != ""


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_can_be_gone_on_with(store: Path, tmp_path: Path) -> None:
    words = ["--store", store, "--max-epochs", "9", "--out", "run", "--batch-size", "32"]
    running = subprocess.Popen(
        [sys.executable, "-m", "lmdb_reid.cli", "train", *map(str, words)],
        cwd=tmp_path,
        env=_ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    for epoch in (1, 2):  # the second is told after the first was saved
        assert running.stderr.readline().startswith(f"epoch {epoch} of 9")
    running.send_signal(signal.SIGINT)
    _, rest = running.communicate(timeout=120)
    assert running.returncode == 130
    assert rest.splitlines()[-1] == "lmdb-reid train: interrupted"
    assert train(tmp_path, "--resume", "run", "--max-epochs", "3").returncode == 0


_RANKS = """
import json, sys
from lightning.pytorch import Callback, Trainer, seed_everything
from training.commands._data import TrainData
from training.module import PlayerReIDModule, _steps

class Rows(Callback):
    rows = {"train": [], "val": []}
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.rows["train"] += batch.rows.tolist()
    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self.rows["val"] += batch.rows.tolist()

def counted(predicted, scores, labels, real=_steps.tuned_threshold):
    Rows.rows["scored"] = len(labels)
    return real(predicted, scores, labels)

_steps.tuned_threshold = counted

if __name__ == "__main__":
    csv, frames, out = sys.argv[1:]
    seed_everything(0)
    data = TrainData(csv, frames, image_size=(64, 32), num_workers=1, cache_dir=out)
    seen = Rows()
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, callbacks=[seen], logger=False,
        use_distributed_sampler=True, enable_progress_bar=False, num_sanity_val_steps=0,
        enable_checkpointing=False,
    )
    trainer.fit(PlayerReIDModule(embedding=16, width=8), datamodule=data)
    split = data.split
    told = seen.rows | {
        "f1": float(trainer.callback_metrics["val_f1"]),
        "wanted": {
            "train": split["train"].tolist(),
            "val": split.rows("val", "unknown").tolist(),
        },
    }
    with open(f"{out}/rank{trainer.global_rank}.json", "w") as file:
        json.dump(told, file)
"""


@pytest.mark.slow
def test_two_processes_share_a_fold_without_lightnings_sampler(drawn: Game, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(_RANKS)
    # One box less makes odd numbers: ranks repeat a sample to have equally many.
    table = tmp_path / "train_meta.csv"
    table.write_text("".join(drawn.train_meta.read_text().splitlines(keepends=True)[:-1]))
    done = subprocess.run(
        [sys.executable, script, str(table), str(drawn.img_root), str(tmp_path)],
        cwd=tmp_path,
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["f1"] == ranks[1]["f1"]
    assert ranks[0]["scored"] == ranks[1]["scored"] == len(ranks[0]["wanted"]["val"])
    for part in ("train", "val"):
        mine, theirs = (ranks[rank][part] for rank in range(2))
        wanted = ranks[0]["wanted"][part]
        assert len(wanted) % 2 == 1
        assert sorted({*mine, *theirs}) == wanted
        assert len(mine) == len(theirs)
        assert len(set(mine) & set(theirs)) == len(mine) * 2 - len(wanted)
