"""`lmdb-reid build`, as it is typed."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from builders.game import Game, draw_game
from lmdb_reid import progress
from lmdb_reid.cli.main import main
from lmdb_reid.store import Store


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    return draw_game(tmp_path_factory.mktemp("game"), quarters=1, frames=2, size=(180, 320))


def words(game: Game, out: Path, *more: str) -> list[str]:
    given = ["--train-meta", str(game.train_meta), "--img-root", str(game.img_root)]
    return ["build", "--format", "atmacup", *given, "--out", str(out), *more]


def test_it_builds_and_tells(game: Game, tmp_path: Path, capsys: Any) -> None:
    assert main(words(game, tmp_path / "o.lmdb")) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"wrote {tmp_path / 'o.lmdb'}\n")
    assert "40 person" in told.out
    assert "10 identities" in told.out
    assert "crops/s" in told.out
    assert told.err == ""  # a short build shows no progress in a pipe
    with Store(tmp_path / "o.lmdb") as store:
        assert store.size == (256, 128)


def test_every_option_arrives(game: Game, tmp_path: Path) -> None:
    options = "--size 64x32 --expand 1.5 --quality 80 --bbox-mode interp --num-bg-per-frame 2"
    options += " --num-partial-per-box 3 --seed 7 --num-workers 1 --max-skipped 0.5"
    assert main(words(game, tmp_path / "o.lmdb", *options.split())) == 0
    with Store(tmp_path / "o.lmdb") as store:
        built = store.manifest.build
        assert store.size == (64, 32)
    wanted = {"size": [64, 32], "expand": 1.5, "quality": 80, "bbox_mode": "interp", "seed": 7}
    wanted |= {"num_bg_per_frame": 2, "num_partial_per_box": 3}
    assert wanted.items() <= built.items()


def test_options_may_have_underscores(game: Game, tmp_path: Path) -> None:
    spelt = [w.replace("-", "_") if w.startswith("--") else w for w in words(game, tmp_path / "o")]
    spelt = [word.replace("__", "--", 1) if word.startswith("__") else word for word in spelt]
    assert "--train_meta" in spelt
    assert main([*spelt, "--num_bg_per_frame=0", "--bbox_mode", "keep"]) == 0
    with Store(tmp_path / "o") as store:
        assert "background" not in store.kinds


def test_native(game: Game, tmp_path: Path) -> None:
    assert main(words(game, tmp_path / "o.lmdb", "--size", "native")) == 0
    with Store(tmp_path / "o.lmdb") as store:
        assert store.size is None


def test_json_is_the_report(game: Game, tmp_path: Path, capsys: Any) -> None:
    assert main(words(game, tmp_path / "o.lmdb", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kinds"]["person"] == game.boxes
    assert told["samples"] == sum(told["kinds"].values())
    assert told["store"] == str(tmp_path / "o.lmdb")
    assert told["skipped"] == []
    assert told["bytes"] == sum(f.stat().st_size for f in (tmp_path / "o.lmdb").rglob("*.*"))
    assert not {"out", "size_bytes"} & told.keys()


def test_a_dry_run(game: Game, tmp_path: Path, capsys: Any) -> None:
    assert main(words(game, tmp_path / "o.lmdb", "--dry-run")) == 0
    assert capsys.readouterr().out.startswith(f"would write {tmp_path / 'o.lmdb'}\n")
    assert list(tmp_path.iterdir()) == []
    assert main(words(game, tmp_path / "o.lmdb", "--dry-run", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] is True
    assert min(told["seconds"], told["estimated_seconds"], told["estimated_bytes"]) > 0
    assert "crops_per_second" not in told


@pytest.mark.parametrize(("more", "told"), [([], "--max-skipped"), (["--strict"], "--strict")])
def test_a_dry_run_refuses_what_a_build_would(
    game: Game, tmp_path: Path, capsys: Any, more: list[str], told: str
) -> None:
    (tmp_path / "m.csv").write_text(
        game.train_meta.read_text().replace(",0\n", ",nobody\n")
        if not more
        else game.train_meta.read_text().replace(",0\n", ",nobody\n", 1)
    )
    given = words(game, tmp_path / "o.lmdb", *more)
    given[given.index("--train-meta") + 1] = str(tmp_path / "m.csv")
    errors = []
    for dry in (["--dry-run"], []):
        assert main([*given, *dry]) == 1
        errors.append(capsys.readouterr().err)
    assert errors[0] == errors[1]
    assert told in errors[0]


def test_the_word_for_an_existing_store(game: Game, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "o.lmdb"
    assert main(words(game, out)) == 0
    capsys.readouterr()
    assert main(words(game, out)) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("lmdb-reid build: error: ")
    assert "--overwrite" in told
    assert main(words(game, out, "--overwrite", "--seed", "3")) == 0
    with Store(out) as store:
        assert store.manifest.build["seed"] == 3


def test_resume_of_a_finished_store_has_nothing_to_do(
    game: Game, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "o.lmdb"
    assert main(words(game, out, "--resume")) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    wrote = capsys.readouterr().out
    assert wrote.startswith(f"wrote {out}\n")
    assert main(words(game, out, "--resume")) == 0
    with Store(out) as store:
        count = len(store)
    shown = capsys.readouterr().out
    assert shown == f"{out} is complete ({count} samples): nothing is left to build\n"
    assert main(words(game, out, "--resume", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["was_complete"], told["samples"], told["store"]) == (True, count, str(out))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_resume_refuses_a_finished_store_of_something_else(
    game: Game, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "o.lmdb"
    assert main(words(game, out)) == 0
    assert main(words(game, out, "--resume", "--quality", "80", "--seed", "3")) == 1
    err = capsys.readouterr().err
    assert "is complete, but was built from other quality, seed. Use --overwrite" in err
    frames = sorted(game.img_root.iterdir())
    stamp = frames[0].stat()
    os.utime(frames[0], ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000))
    try:
        assert main(words(game, out, "--resume")) == 1
        assert "was built from other frames" in capsys.readouterr().err
    finally:
        os.utime(frames[0], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert main(words(game, out, "--resume")) == 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--size", "256"], "must be HEIGHTxWIDTH"),
        (["--size", "0x128"], "must be HEIGHTxWIDTH"),
        (["--size", "99999x1"], "16,384"),
        (["--expand", "0.5"], "to 10.0, got 0.5"),
        (["--expand", "nan"], "to 10.0, got nan"),
        (["--quality", "101"], "quality must be 1 to 100, got 101"),
        (["--num-workers", "0"], "num_workers must be at least 1, got 0"),
        (["--num-workers", "0", "--dry-run"], "num_workers must be at least 1, got 0"),
        (["--num-workers", "two"], "--num-workers must be a whole number, got 'two'"),
        (["--num-bg-per-frame", "-1"], "num_bg_per_frame must be 0 to 1000, got -1"),
        (["--max-skipped", "1.5"], "must be a share from 0 to 1, got 1.5"),
        (["--bbox-mode", "median"], "--bbox-mode must be one of drop, interp, keep, got 'median'"),
        (["--resume", "--overwrite"], "--overwrite and --resume exclude each other"),
        (["--no-such-option"], "unknown option --no-such-option"),
    ],
)
def test_wrong_use(game: Game, tmp_path: Path, capsys: Any, more: list[str], told: str) -> None:
    assert main(words(game, tmp_path / "o.lmdb", *more)) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["--train-meta", "--img-root"])
def test_the_layout_needs_both_places(
    game: Game, tmp_path: Path, capsys: Any, missing: str
) -> None:
    given = words(game, tmp_path / "o.lmdb")
    at = given.index(missing)
    assert main(given[:at] + given[at + 2 :]) == 2
    assert "needs --train-meta CSV and --img-root DIR" in capsys.readouterr().err


def test_help_has_an_example(capsys: Any) -> None:
    assert main(["build", "--help"]) == 0
    told = capsys.readouterr().out
    assert "examples:" in told
    assert "--train-meta train_meta.csv" in told


def test_plain_lines_tell_rate_and_time_left(
    game: Game, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_EVERY", 0.0)
    assert main(words(game, tmp_path / "o.lmdb")) == 0
    with Store(tmp_path / "o.lmdb") as store:
        crops = len(store)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == game.frames
    assert lines[-1].startswith(f"cutting: 4 of 4 frames, {crops} crops, ")
    assert "frames/s, 0 s left" in lines[-1]


def test_a_bar_on_a_terminal(game: Game, tmp_path: Path, monkeypatch: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_REDRAWN_EVERY", 0.0)
    assert main(words(game, tmp_path / "o.lmdb")) == 0
    assert re.search(r"\r\x1b\[Kcutting: (\[#+\] )?4 of 4 frames, ", terminal.getvalue())
    assert terminal.getvalue().endswith("\r\x1b[K")  # gone when the build is done
