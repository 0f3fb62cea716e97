"""`lmdb-reid split`, called as the command line calls it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid.codec import encode
from lmdb_reid.errors import SourceError, SourceNotFoundError, UnknownColumnError, UsageError
from lmdb_reid.schema import Roles
from lmdb_reid.store import Store, StoreWriter
from training.commands import split as command
from training.splits import load_split


def new_store(path: Path, roles: Roles | None = None) -> Path:
    """72 crops of 12 people, 2 cameras, 3 games; s70 is a copy of s00, s71 has its box twice."""
    with StoreWriter(path, roles=roles) as writer:
        for number in range(72):
            seed = 0 if number == 70 else number
            pixels = np.random.default_rng(seed).integers(0, 255, (32, 16, 3), np.uint8)
            record = {
                "label": number // 6,
                "angle": ["side", "top"][number % 2],
                "game": "abc"[number % 3],
                "subset": "train" if number < 36 else ["gallery", "query"][number % 6 == 0],
                **dict(zip("xywh", (float(number), 1.0, 9.0, 9.0), strict=True)),
            }
            writer.put(f"s{number:02d}#000", encode(pixels), record)
            if number == 71:
                writer.put("s71#001", encode(pixels // 2), record)
        writer.seal()
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared: never write into it, nor beside it."""
    folder = tmp_path_factory.mktemp("split")
    return new_store(folder / "s.lmdb", Roles(camera="angle", group=("game",), split="subset"))


def split(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def parts_in(file: Path, store: Path) -> dict[str, int]:
    with Store(store) as opened:
        return {name: len(rows) for name, rows in load_split(file, opened.ids).parts.items()}


def test_a_split_by_identity_is_written_and_counted(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "split.json"
    assert split(store, "--rule", "identity", "-o", file, "--seed", "3") == 0
    assert sum(parts_in(file, store).values()) == 73
    assert parts_in(file, store)["query"] == 12
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["part", "samples", "identities", "cameras"]
    assert said[2].split() == ["query", "12", "6", "2"]
    assert said[4] == "12 of 12 queries have an answer of another camera in the gallery"
    assert said[-1] == f"written to {file}"
    again = tmp_path / "again.json"
    split(store, "--rule", "identity", "-o", again, "--seed", "3")
    assert again.read_bytes() == file.read_bytes()


def test_a_split_without_any_query_is_not_written(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--rule identity found no query"):
        split(store, "--rule", "identity", "--queries", "9", "-o", tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["group", "--folds", "3", "--fold", "1"], {"train", "val"}),
        (["group", "--group", "game,angle", "--folds", "6"], {"train", "val"}),
        (["stratified", "--train-ratio", "0.5"], {"train", "val"}),
        (["given"], {"train", "query", "gallery"}),
        (["given", "--column", "game", "--name", "a=train"], {"train", "b", "c"}),
        (["open-set", "--folds", "2", "--unknown-per-fold", "3"], {"train", "val", "unknown"}),
        (["identity", "--test-ratio", "0.25", "--queries", "2"], {"train", "query", "gallery"}),
    ],
    ids=lambda words: "-".join(words) if isinstance(words, list) else "",
)
def test_every_rule_is_written(
    words: list[str], parts: set[str], store: Path, tmp_path: Path
) -> None:
    assert split(store, "--rule", *words, "-o", tmp_path / "s.csv") == 0
    assert set(parts_in(tmp_path / "s.csv", store)) == parts


def test_a_query_says_who_is_split(store: Path, tmp_path: Path) -> None:
    words = ["--rule", "stratified", "--query", "label < 4 and angle == 'top'"]
    split(store, *words, "-o", tmp_path / "s.json")
    assert sum(parts_in(tmp_path / "s.json", store).values()) == 12


def test_without_an_output_nothing_is_written(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(store.parent.rglob("*"))
    assert split(store, "--rule", "stratified") == 0
    assert capsys.readouterr().out.endswith("nothing was written: -o FILE writes the split\n")
    assert set(store.parent.rglob("*")) == before


# leaks


def test_a_check_finds_what_parts_share(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "split.json"
    split(store, "--rule", "given", "-o", file)
    capsys.readouterr()
    assert split(store, "--check", file) == 1
    said = capsys.readouterr().out
    assert "leak: 1 pictures, byte for byte, in train and gallery (1 and 1 samples)" in said
    assert "s00#000 and s70#000" in said
    assert "leak: 3 groups in train and gallery" in said and "--rule group" in said
    assert "shared, no leak: 6 identities in gallery and query" in said
    assert "not looked for: tracks (no column has that role), near-duplicates (no column" in said
    assert "1 boxes occur several times: s71#000 and s71#001" in said or "twice" in said
    assert split(store, "--check", file, "--apart", "identities,tracks") == 0


def test_a_check_in_json(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "split.json"
    split(store, "--rule", "given", "-o", file)
    capsys.readouterr()
    assert split(store, "--check", file, "--json") == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["parts"]["train"] == {"samples": 36, "identities": 6, "cameras": 2}
    assert found["looked_for"] == ["identities", "groups", "copies"]
    (copies,) = [leak for leak in found["leaks"] if leak["kind"] == "copies"]
    assert copies["parts"] == ["train", "gallery"] and copies["samples"] == [1, 1]
    assert copies["examples"] == [["s00#000", "s70#000"]]
    assert found["answered_queries"] == 6 and found["moved"] is None


def test_near_duplicates_are_found_once_hashes_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = new_store(tmp_path / "own.lmdb", Roles(split="subset"))
    file = tmp_path / "split.json"
    split(store, "--rule", "given", "-o", file, "--hash")
    assert "groups of near-duplicate crops in train and gallery" in capsys.readouterr().out
    assert list((tmp_path / "own.lmdb.phash").iterdir())
    split(store, "--check", file, "--apart", "near")  # kept: no --hash is needed
    assert "leak: 1 groups of near-duplicate crops in train and gallery" in capsys.readouterr().out


def test_a_repaired_split_has_no_leak(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, repaired = tmp_path / "split.json", tmp_path / "repaired.json"
    split(store, "--rule", "given", "-o", file)
    apart = ["--apart", "identities,copies"]
    assert split(store, "--check", file, *apart) == 1
    assert split(store, "--check", file, "--fix", *apart, "-o", repaired) == 0
    assert "moved " in capsys.readouterr().out
    assert split(store, "--check", repaired, *apart) == 0
    assert parts_in(file, store) != parts_in(repaired, store)


def test_what_connects_everything_is_not_repaired(store: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"samples in each part, got none in .*Keep fewer kinds\s+apart"
    ):
        split(store, "--rule", "given", "--fix", "-o", tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


def test_a_store_without_roles_says_what_that_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = new_store(tmp_path / "plain.lmdb")
    split(store, "--rule", "identity")
    said = capsys.readouterr().out
    assert "no column has the role camera, so the rule is without cameras" in said
    assert said.splitlines()[2].split() == ["query", "6", "6", "-"]
    with pytest.raises(UsageError, match=r"no column has that role\. Pass one with group="):
        split(store, "--rule", "group")
    with pytest.raises(UnknownColumnError, match="no column 'split'"):
        split(store, "--rule", "given")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rule", "given", "--seed", "1"], "--rule given takes no --seed; it takes --column"),
        (["--rule", "stratified", "--folds", "2"], "--rule stratified takes no --folds"),
        (["--check", "s.json", "--folds", "2"], "--check s.json takes no --folds"),
        (["--check", "s.json", "--query", "label == 1"], "reads a split as it is"),
        (["--check", "s.json", "-o", "t.json"], "--output with --check needs --fix"),
        (["--rule", "given", "--name", "train"], "--name must be VALUE=PART, got 'train'"),
        (["--rule", "identity", "--apart", "copies,nosuch"], "--apart must be of .* got 'nosuch'"),
        (["--rule", "identity", "-o", "split.txt"], r"must end in \.csv or \.json"),
        (["--rule", "identity", "--query", "label == 3"], "two identities or more; got 1"),
    ],
    ids=str,
)
def test_words_that_do_not_go_together(words: list[str], message: str, store: Path) -> None:
    with pytest.raises(UsageError, match=message):
        split(store, *words)


def test_a_file_that_is_no_split_of_this_store(store: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="no split at"):
        split(store, "--check", tmp_path / "none.json")
    other = tmp_path / "other.json"
    other.write_text('{"version": 1, "labels": [], "parts": {"train": ["x"]}}')
    with pytest.raises(SourceError, match="'x' of part 'train' is not among the 73 samples"):
        split(store, "--check", other)
    other.write_text('{"version": 1, "labels": [], "parts": {"train": []}}')
    with pytest.raises(UsageError, match="the split must have samples, got none"):
        split(store, "--check", other)
