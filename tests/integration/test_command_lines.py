"""Wrong command lines: each ends in one or two lines that say what is wrong and what helps."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from builders import AtmaCup, BuildSettings, build
from builders.game import draw_game
from lmdb_reid.cli.main import main
from lmdb_reid.store import Store

BUILD = "build --format atmacup --train-meta META --img-root FRAMES --out new.lmdb"


class Places(NamedTuple):
    meta: Path
    frames: Path
    store: Path
    sample: str


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("places")
    game = draw_game(folder / "game", quarters=1, frames=1, size=(180, 320))
    source = AtmaCup(game.train_meta, game.img_root)
    build(source, folder / "games.lmdb", BuildSettings(size=(32, 16)))
    with Store(folder / "games.lmdb") as store:
        return Places(game.train_meta, game.img_root, folder / "games.lmdb", store.ids[0])


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Lightning 2.6 calls what jsonargparse 4.53 gave another name.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []  # wrong use writes nothing


LINES: list[tuple[str, int, list[str]]] = [
    # the command
    ("-v", 2, ["unknown option -v", "tip: -V prints the version, -q shows no progress"]),
    ("--verison", 2, ["unknown option --verison", "tip: a similar option exists: --version"]),
    ("verfy STORE", 2, ["unknown command 'verfy'", "tip: a similar command exists: verify"]),
    ("trian", 2, ["unknown command 'trian'", "tip: a similar command exists: train"]),
    ("ls STORE", 2, ["unknown command 'ls'", "tip: a similar command exists: query"]),
    ("help biuld", 2, ["unknown command 'biuld'", "tip: a similar command exists: build"]),
    ("frobnicate", 2, ["unknown command 'frobnicate'", "For all commands: lmdb-reid --help"]),
    # build
    ("build", 2, ["--format FORMAT and --out STORE are required", "--format auto --root DIR"]),
    ("build --train-meta META --img-root FRAMES --out x", 2, ["--format FORMAT is required"]),
    ("build --format market1502 --root FRAMES --out x", 2, ["Did you mean 'market1501'?"]),
    ("build --format atmacup --out x", 2, ["needs --train-meta CSV and --img-root DIR"]),
    ("build --format atmacup --train-meta no.csv --img-root FRAMES --out x", 1, ["no.csv"]),
    ("build --format atmacup --train-meta META --img-root no --out x", 1, ["no folder of frames"]),
    (
        BUILD.replace("meta", "met"),
        2,
        ["--train-met", "tip: a similar option exists: --train-meta"],
    ),
    (BUILD.replace("train-meta", "trainmeta"), 2, ["a similar option exists: --train-meta"]),
    (f"{BUILD} --sise 64x32", 2, ["unknown option --sise", "a similar option exists: --size"]),
    (f"{BUILD} --workers 2", 2, ["unknown option --workers", "exists: --num-workers"]),
    (f"{BUILD} --force", 2, ["unknown option --force", "a similar option exists: --overwrite"]),
    (f"{BUILD} --fromat csv", 2, ["unknown option --fromat", "a similar option exists: --format"]),
    (f"{BUILD} --size 128", 2, ["size must be HEIGHTxWIDTH, such as 256x128", "got '128'"]),
    (f"{BUILD} --size 128,64", 2, ["size must be HEIGHTxWIDTH", "got '128,64'"]),
    (f"{BUILD} --size", 2, ["--size needs a value: --size HxW"]),
    (f"{BUILD} --quality 0", 2, ["quality must be 1 to 100, got 0"]),
    (f"{BUILD} --expand 0.2", 2, ["expand must be 1.0 (the box as it is) to 10.0, got 0.2"]),
    (f"{BUILD} --expand wide", 2, ["--expand must be a number, got 'wide'"]),
    (f"{BUILD} --bbox-mode foo", 2, ["--bbox-mode must be one of drop, interp, keep, got 'foo'"]),
    (f"{BUILD} --bbox-mode drp", 2, ["tip: a similar value exists: drop"]),
    (f"{BUILD} --num-workers 0", 2, ["num_workers must be at least 1, got 0"]),
    (f"{BUILD} --num-workers abc", 2, ["--num-workers must be a whole number, got 'abc'"]),
    (f"{BUILD} --strict=yes", 2, ["--strict takes no value, got 'yes'"]),
    (f"{BUILD} --resume --overwrite", 2, ["--overwrite and --resume exclude each other"]),
    # info, get, query
    ("info", 2, ["STORE is required", "For all options: lmdb-reid info --help"]),
    ("info nothing.lmdb", 1, ["no store at", "nothing.lmdb"]),
    ("info .", 1, ["no store at"]),
    ("info META", 1, ["no store at"]),
    ("info STORE STORE", 2, ["unexpected argument", "tip: the command is lmdb-reid info STORE"]),
    ("info --jsn STORE", 2, ["unknown option --jsn", "a similar option exists: --json"]),
    ("get STORE", 2, ["ID is required", "tip: lmdb-reid query STORE prints the ids"]),
    ("get STORE nosuch", 1, ["nosuch"]),
    ("get STORE Q1-000__side__00__01#3", 1, ["Did you mean 'Q1-000__side__00__01#003'?"]),
    ("get SAMPLE STORE", 2, ["STORE must come before ID", "Write: lmdb-reid get "]),
    ("query STORE ''", 2, ["EXPRESSION must be a condition such as 'label == 3', got an empty"]),
    ("query STORE 'label == 3' --limit 0", 2, ["--limit must be at least 1, got 0"]),
    ("query STORE --query 'label == 3'", 2, ["tip: the condition follows the store"]),
    ("query STORE 'label == 3' --colums id", 2, ["a similar option exists: --columns"]),
    # sheet
    ("sheet STORE --query 'labl == 3'", 2, ["names a column 'labl'", "Did you mean 'label'?"]),
    ("sheet STORE --query 'label = 3'", 2, ["got an assignment", "Did you mean 'label == 3'?"]),
    ("sheet STORE --query 'label == 99999'", 2, ["no sample matches 'label == 99999'"]),
    ("sheet STORE --query 'label == '", 2, ["'label ==' cannot be evaluated"]),
    ("""sheet STORE --query "__import__('os').getcwd()\"""", 2, ["__import__"]),
    ("sheet STORE -o x.xyz", 2, ["x.xyz", ".jpg or .png"]),
    ("sheet STORE -o /dev/null/x.jpg", 1, ["/dev/null/x.jpg cannot be written"]),
    ("sheet STORE --columns 0", 2, ["--columns must be at least 1, got 0"]),
    ("sheet STORE --count 0", 2, ["--count must be 1 to 1,000, got 0"]),
    ("sheet STORE --count -3", 2, ["--count must be 1 to 1,000, got -3"]),
    ("sheet STORE --limit 3", 2, ["a similar option exists: --count"]),
    # bench, warm, doctor, train
    ("bench nothing.lmdb", 1, ["no store at"]),
    ("bench STORE --engine thread", 2, ["got 'thread'", "tip: a similar value exists: threads"]),
    ("bench STORE --transform foo", 2, ["foo"]),
    ("bench STORE --transform os:nothing", 2, ["os:nothing"]),
    ("bench STORE --num-workers 1,two", 2, ["--num-workers must be numbers such as 1,2,4"]),
    ("bench STORE --plot x.gif", 2, ["--plot must end in .png, .svg", "got x.gif"]),
    ("warm STORE --size 64x32", 2, ["--size needs --decoded"]),
    ("doctor --cache-size 0", 2, ["--cache-size must be at least 1, got 0"]),
    ("train", 2, ["--store STORE is required, or --train-meta CSV with --img-root FRAMES"]),
    ("train --store nothing", 1, ["no store at"]),
    ("train games.lmdb", 2, ["'games.lmdb'", "tip: pass a store as --store games.lmdb"]),
    ("train --stor STORE --fold 9", 2, ["unknown option --stor", "exists: --store"]),
    ("train --store STORE --epochs 3", 2, ["a similar option exists: --max-epochs"]),
    ("train --store STORE --lr 0.1", 2, ["tip: settings of the model,", "-- --model.lr 0.002"]),
    ("train --store STORE --model.lr 0.1", 2, ["follow a bare --, as in -- --model.lr 0.002"]),
    ("train --store STORE --fold 9", 2, ["fold must be 0 to 4, one of 5 folds, got 9"]),
    ("completion fish", 2, ["SHELL must be one of bash, zsh, got 'fish'"]),
    ("completion", 2, ["SHELL is required"]),
]


@pytest.mark.parametrize(("line", "code", "told"), LINES, ids=[line for line, _, _ in LINES])
def test_a_wrong_line_ends_in_what_helps(
    line: str, code: int, told: list[str], places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"META": places.meta, "FRAMES": places.frames, "STORE": places.store}
    names |= {"SAMPLE": places.sample}
    words = [str(names.get(word, word)) for word in shlex.split(line)]
    assert main(words) == code
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert shown.out == ""
    assert 1 <= len(lines) <= 2, shown.err
    assert lines[0].startswith("lmdb-reid") and ": error: " in lines[0]
    assert not {"usage:", "Traceback"} & set(shown.err.split())
    for part in told:
        assert part in shown.err
    assert "--help is" not in shown.err and "exists: --help" not in shown.err


@pytest.mark.parametrize("where", ["before", "after"])
def test_with_json_an_error_is_an_object_too(
    where: str, places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    words = ["info", "nothing.lmdb"]
    assert main(["--json", *words] if where == "before" else [*words, "--json"]) == 1
    shown = capsys.readouterr()
    told: dict[str, Any] = json.loads(shown.out)["error"]
    assert (told["type"], told["exit_code"]) == ("StoreNotFoundError", 1)
    assert shown.err == f"lmdb-reid info: error: {told['message']}\n"
