"""`lmdb-reid embed` and `lmdb-reid rank`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.cli.main import main
from lmdb_reid.schema import Roles
from training.embedding import DATA
from training.evaluation import evaluate
from training.features import Features
from training.model import Embedder
from training.splits import Split, save_split

MOMENTS = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures of 5 people in three colours of noise, query and gallery said by a column."""
    path = tmp_path_factory.mktemp("stores") / "people.lmdb"
    random = np.random.default_rng(0)
    with StoreWriter(path, roles=Roles(camera="cam", split="part")) as writer:
        for number in range(30):
            picture = random.integers(0, 60, (32, 16, 3)) + 40 * (number % 5)
            record = {
                "label": number % 5,
                "cam": number // 5 % 3,
                "part": "query" if number < 10 else "gallery",
            }
            writer.put(f"{number:03d}", codec.encode(picture.astype(np.uint8)), record)
        writer.seal()
    return path


@pytest.fixture
def own(store_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store_path, tmp_path / "own.lmdb"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    weights = {f"backbone.{name}": value for name, value in Embedder(8, 4).state_dict().items()}
    saved = {"hyper_parameters": {"embedding": 8, "width": 4}, "state_dict": weights}
    torch.save(saved | {DATA: {"size": [32, 16], "normalize": MOMENTS}}, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


def told(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    assert main([str(word) for word in words]) == code
    found = capsys.readouterr()
    return found.err if code else found.out


def test_embed_and_rank(
    own: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = told(capsys, "embed", own, "--ckpt", checkpoint)
    assert re.fullmatch(
        r".*own\.lmdb\.features/best\.npy: 8 numbers \(float32\) for each of 30 samples, in .* s\n",
        out,
    )
    out = told(capsys, "rank", own, "--features", "best")
    with Store(own) as store:
        features = Features.load(store, "best")
        split = Split(parts={"query": np.arange(10), "gallery": np.arange(10, 30)}, labels=[])
        found = evaluate(store, features, split, metric="cosine")
    lines = out.splitlines()
    assert lines[:5] == [
        "queries    10 (query), 0 of them left out: no match in the gallery",
        "gallery    20 (gallery), 20 compared",
        "features   best, 8 numbers, by best.ckpt",
        "distance   cosine",
        "rules      market1501: the query's identity by its own camera is left out",
    ]
    assert f"mAP        {found.scores.mAP:>7.2%}" in lines
    assert f"CMC-10     {found.scores.cmc[10]:>7.2%}" in lines
    whole = json.loads(told(capsys, "rank", own, "--features", "best", "--json"))
    assert whole["mAP"] == found.scores.mAP
    assert whole["features"]["made_by"] == features.made_by
    assert whole["parts"]["gallery"] == {"name": "gallery", "samples": 20}
    strips = tmp_path / "lists.png"
    told(capsys, "rank", own, "--features", "best", "--strips", strips, "--count", "2")
    picture = codec.read_source(strips.read_bytes())
    green = (picture == (70, 190, 90)).all(2)
    assert green.any()
    assert picture.shape[0] > 4 * 160 and picture.shape[1] > 11 * 88


def test_rank_makes_features_once(
    own: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = told(capsys, "rank", own, "--ckpt", checkpoint)
    (file,) = Path(f"{own}.features").iterdir()
    made_at = file.stat().st_mtime_ns
    assert told(capsys, "rank", own, "--ckpt", checkpoint) == first
    assert file.stat().st_mtime_ns == made_at
    told(capsys, "rank", own, "--ckpt", checkpoint, "--normalize", "imagenet")
    assert file.stat().st_mtime_ns > made_at  # of other settings
    file.write_bytes(file.read_bytes()[:-1])
    assert told(capsys, "rank", own, "--ckpt", checkpoint) == first


def test_anybody_s_array_and_a_split_of_one_s_own(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = np.random.default_rng(0).standard_normal((30, 4))
    np.save(tmp_path / "theirs.npy", array)
    with Store(own) as store:
        labels = np.asarray(store.columns["label"])
        parts = {
            "train": np.flatnonzero(labels < 3)[:9],
            "val": np.flatnonzero(labels < 3)[9:],
            "unknown": np.flatnonzero(labels >= 3),
        }
        save_split(tmp_path / "s.json", Split(parts=parts, labels=[0, 1, 2]), store.ids, labels)
    words = ["rank", own, "--features", tmp_path / "theirs.npy", "--split", tmp_path / "s.json"]
    out = told(capsys, *words)
    assert "distance   euclidean" in out
    assert "queries    9 (val)" in out and "gallery    9 (train)" in out
    assert "macro F1" in out and "BAKS" in out and "BAUS" in out and "ROC area" in out
    found = json.loads(told(capsys, *words, "--json", "--metric", "cosine", "--rerank"))
    assert (found["metric"], found["reranked"]) == ("cosine", True)
    assert found["open_set"].keys() == {
        "macro_f1", "baks", "baus", "auc", "threshold", "known", "unknown"
    }  # fmt: skip
    out = told(capsys, *words, "--parts", "unknown", "train", code=2)
    assert "must have right answers in the gallery, got none" in out


def test_some_samples_in_half_the_space(
    own: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", own, "--ckpt", checkpoint, "-o", "few", "--query", "label == 1", "--half"]
    found = json.loads(told(capsys, *words, "--json"))
    assert (found["samples"], found["numbers"], found["dtype"]) == (6, 8, "float16")
    assert "24 of" not in told(capsys, "rank", own, "--features", "few", code=1)
    assert "no features in" in told(capsys, "rank", own, "--features", "few", code=1)
    assert Features.load(own, "few").array.dtype == np.float16


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["rank", "STORE"], 2, "one of --features NAME, --ckpt FILE is required"),
        (["rank", "STORE", "--features", "bets"], 1, "no features beside"),
        (["rank", "none.lmdb", "--features", "best"], 1, "no store at"),
        (["rank", "STORE", "--features", "x.npy"], 1, "no features at x.npy"),
        (["rank", "STORE", "--features", "a", "--strips", "a.gif"], 2, "must end in .jpg or .png"),
        (["rank", "STORE", "--features", "a", "--count", "0"], 2, "--count must be 1 or more"),
        (["rank", "STORE", "--features", "a", "--split", "no.json"], 1, "no split at"),
        (["rank", "STORE", "--ckpt", "no.ckpt"], 2, "no checkpoint at no.ckpt"),
        (["embed", "STORE"], 2, "--ckpt FILE is required"),
        (["embed", "STORE", "--ckpt", "CKPT", "-o", "a/b"], 2, "the name of features must be"),
        (["embed", "STORE", "--ckpt", "CKPT", "--query", "label == 9"], 2, "no sample matches"),
        (["embed", "STORE", "--ckpt", "CKPT", "--normalize", "1,2"], 2, "six numbers"),
        (["embed", "STORE", "--ckpt", "CKPT", "--batch-size", "0"], 2, "--batch-size must be 1"),
    ],
)
def test_wrong_use_is_said_in_a_line(
    store_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    named = {"STORE": str(store_path), "CKPT": str(checkpoint)}
    assert main([named.get(word, word) for word in words]) == code
    error = capsys.readouterr().err.splitlines()[0]
    assert error.startswith(f"lmdb-reid {words[0]}: error: ")
    assert message in error
    assert not Path(f"{store_path}.features").exists()


def test_a_store_without_such_a_column_needs_a_split(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StoreWriter(tmp_path / "plain.lmdb") as writer:
        writer.put("a", codec.encode(np.zeros((8, 8, 3), np.uint8)), {"label": 0})
        writer.seal()
    error = told(capsys, "rank", tmp_path / "plain.lmdb", "--features", "a", code=2)
    assert "no column that says what is query and gallery. Use --split" in error


def test_numbers_that_overflow_half_the_space_are_refused(
    own: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    saved["state_dict"]["backbone.project.bias"] += 1e5
    torch.save(saved, checkpoint)
    words = ["embed", own, "--ckpt", checkpoint]
    error = told(capsys, *words, "--half", code=2)
    assert "features must be finite, got NaN or infinity in rows 0, 1, 2" in error
    assert "for each of 30" in told(capsys, *words)
