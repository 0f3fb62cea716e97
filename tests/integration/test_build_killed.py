"""A build that dies at any moment is taken up again, and ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import AtmaCup, BuildSettings, Report, build
from builders.game import Game, draw_game
from lmdb_reid.store import Store

SWEEP = Path(__file__).with_name("crash_sweep.py")
SMALL = 20_000  # bytes between two commits
Rows = list[dict[str, Any]]


def digest_of(path: Path) -> str:
    with Store(path) as store:
        assert store.verify(deep=True).ok
        return store.digest


def words_of(train_meta: Path, img_root: Path, out: Path, *more: str) -> list[str]:
    words = ["build", "--format", "atmacup", "--train-meta", str(train_meta)]
    return [*words, "--img-root", str(img_root), "--out", str(out), *more]


# killed before every one of its file operations


@pytest.fixture(scope="module")
def tiny(scratch: Path) -> Game:
    return draw_game(scratch / "tiny", quarters=1, frames=3, size=(180, 320))


@pytest.fixture(scope="module")
def stores(scratch: Path, tiny: Game) -> dict[str, Path]:
    """What an undisturbed build gives, and an older store of other content."""
    paths = {"new": scratch / "new.lmdb", "old": scratch / "old.lmdb"}
    for name, seed in (("new", 0), ("old", 1)):
        settings = BuildSettings(size=(64, 32), seed=seed)
        build(AtmaCup(tiny.train_meta, tiny.img_root), paths[name], settings)
    return paths


def sweep(scratch: Path, tiny: Game, **options: Any) -> Rows:
    folder = scratch / "sweep" / "folder"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    given = {"train_meta": str(tiny.train_meta), "img_root": str(tiny.img_root)}
    given |= {"folder": str(folder)} | options
    done = subprocess.run(
        [sys.executable, SWEEP, json.dumps(given)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(
    rows: Rows, stores: dict[str, Path], *, frames: int, before: str | None, refused: int = 0
) -> None:
    """What each killed build left, and what resuming made of it.

    `before` is the digest of an older store, `refused` how many of the first rows may find nothing
    to resume but that one.
    """
    wanted = digest_of(stores["new"])
    for number, row in enumerate(rows):
        assert row["found"] in (before, wanted), row  # nothing half-built under the store's name
        assert row.get("overwritten") == wanted, row
        if row["found"] == wanted:  # killed when all was done
            assert row["resumed"] == wanted, row  # it is complete, and resuming says so
            assert row["opened"] == 0, row
        elif number < refused and row["resumed"] != wanted:
            assert row["resumed"].startswith("StoreExistsError"), row
            assert row["opened"] == 0, row
            continue
        else:
            assert row["resumed"] == wanted, row
            assert row["opened"] <= frames, row
        assert row["left"] == ["swept.lmdb"], row


def test_killed_at_every_nineteenth_operation(
    scratch: Path, tiny: Game, stores: dict[str, Path]
) -> None:
    rows = sweep(scratch, tiny, step=19)
    check(rows, stores, frames=tiny.frames, before=None)
    opened = [row["opened"] for row in rows if row["found"] is None]
    assert opened == sorted(opened, reverse=True)  # the later it dies, the less is left to do
    assert any(0 < count < tiny.frames for count in opened)
    assert opened[-1] == 0


def test_killed_while_an_older_store_is_replaced(
    scratch: Path, tiny: Game, stores: dict[str, Path]
) -> None:
    rows = sweep(scratch, tiny, old=str(stores["old"]), last=40, step=2)
    assert {row["found"] for row in rows} == {digest_of(stores[name]) for name in ("old", "new")}
    check(rows, stores, frames=tiny.frames, before=digest_of(stores["old"]))


def test_power_lost_before_any_sync(scratch: Path, tiny: Game, stores: dict[str, Path]) -> None:
    rows = sweep(scratch, tiny, lost=True, step=2)
    assert len(rows) > 5
    check(rows, stores, frames=tiny.frames, before=None)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("replacing", [False, True])
def test_killed_at_every_operation(
    scratch: Path, tiny: Game, stores: dict[str, Path], replacing: bool, lost: bool
) -> None:
    old = {"old": str(stores["old"])} if replacing else {}
    rows = sweep(scratch, tiny, lost=lost, **old)
    assert len(rows) > (20 if lost else 80)
    before = digest_of(stores["old"]) if replacing else None
    check(rows, stores, frames=tiny.frames, before=before, refused=8 if replacing else 0)


# stopped at a frame


def test_a_resumed_build_does_not_start_over(
    game: Game, sealed: Path, tmp_path: Path, watched: Callable[..., Any]
) -> None:
    words = words_of(game.train_meta, game.img_root, tmp_path / "k.lmdb", "--num-workers", "1")
    died = watched(
        *words, folder=game.img_root, commit_bytes=SMALL, stop_at=9, signal=signal.SIGKILL
    )
    assert died.code == -signal.SIGKILL
    assert not (tmp_path / "k.lmdb").exists()
    done = watched(*words, "--resume", folder=game.img_root, commit_bytes=SMALL)
    assert done.code == 0, done.err
    names = sorted(path.name for path in game.img_root.iterdir())
    assert 4 <= len(done.opened) < game.frames
    assert done.opened == dict.fromkeys(names[-len(done.opened) :], 1)
    with Store(sealed) as store:
        assert digest_of(tmp_path / "k.lmdb") == store.digest
    told = Report.from_json((tmp_path / "k.lmdb" / "report.json").read_bytes())
    whole = Report.from_json((sealed / "report.json").read_bytes())
    for name in ("kinds", "identities", "frames", "rows", "skipped", "dropped"):
        assert getattr(told, name) == getattr(whole, name), name


def test_what_was_skipped_before_it_died_is_in_the_report(
    own_game: Game, tmp_path: Path, watched: Callable[..., Any]
) -> None:
    first = min(own_game.img_root.iterdir())
    first.write_bytes(b"no picture")
    words = words_of(own_game.train_meta, own_game.img_root, tmp_path / "k.lmdb")
    words += ["--num-workers", "1", "--max-skipped", "0.2"]
    options = {"folder": own_game.img_root, "commit_bytes": SMALL}
    assert watched(*words, **options, stop_at=9, signal=signal.SIGKILL).code == -signal.SIGKILL
    done = watched(*words, "--resume", **options)
    assert done.code == 0, done.err
    assert first.name not in done.opened
    told = json.loads((tmp_path / "k.lmdb" / "report.json").read_bytes())
    lines = [f"train_meta.csv line {number}" for number in range(2, 12)]
    assert [row["where"] for row in told["skipped"]] == lines
    assert told["kinds"]["person"] == own_game.boxes - 10


def test_interrupted_from_the_keyboard(
    game: Game, sealed: Path, tmp_path: Path, watched: Callable[..., Any]
) -> None:
    words = words_of(game.train_meta, game.img_root, tmp_path / "k.lmdb", "--num-workers", "2")
    options = {"folder": game.img_root, "commit_bytes": SMALL}
    stopped = watched(*words, **options, stop_at=9, signal=signal.SIGINT)
    assert stopped.code == 130
    assert stopped.err.splitlines() == [
        f"{tmp_path / 'k.lmdb'}.partial has what is done: --resume continues",
        "lmdb-reid build: interrupted",
    ]
    assert [path.name for path in tmp_path.glob("k.lmdb*")] == ["k.lmdb.partial"]
    done = watched(*words, "--resume", **options)
    assert done.code == 0, done.err
    assert 0 < len(done.opened) < game.frames
    with Store(sealed) as store:
        assert digest_of(tmp_path / "k.lmdb") == store.digest


# killed from outside, whatever it does


def start(folder: Path, words: list[str]) -> subprocess.Popen[bytes]:
    options = {"folder": str(folder), "log": str(folder / "opened.json"), "commit_bytes": SMALL}
    runner = SWEEP.with_name("watched_build.py")
    return subprocess.Popen(
        [sys.executable, runner, json.dumps(options), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_killed_again_and_again(game: Game, sealed: Path, tmp_path: Path) -> None:
    out, draw = tmp_path / "k.lmdb", random.Random(0)
    partial = out.with_name("k.lmdb.partial")
    words = words_of(game.train_meta, game.img_root, out)
    for _ in range(3):
        process = start(tmp_path, [*words, *(["--resume"] if partial.exists() else [])])
        while not partial.exists():
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(0.15 * draw.random())
        process.kill()
        process.communicate()
        if out.exists():  # the machine was faster than the hand
            break
    else:
        process = start(tmp_path, [*words, "--resume"])
        _, told = process.communicate()
        assert process.returncode == 0, told
    with Store(sealed) as store:
        assert digest_of(out) == store.digest


@pytest.mark.slow
@pytest.mark.data
def test_ten_random_kills_on_real_frames(
    shared_data: Path, tmp_path: Path, watched: Callable[..., Any]
) -> None:
    folder = shared_data / "soccer_snmot116"
    meta, images = folder / "train_meta.csv", folder / "images"
    began = time.monotonic()
    whole = watched(*words_of(meta, images, tmp_path / "whole.lmdb"), folder=images)
    duration = time.monotonic() - began
    assert whole.code == 0, whole.err
    frames, wanted = len(whole.opened), digest_of(tmp_path / "whole.lmdb")
    draw, opened = random.Random(), []
    for turn in range(10):
        out = tmp_path / f"{turn}.lmdb"
        share = 0.97 if turn == 9 else draw.random()  # the last one while it is sealed, or nearly
        process = start(tmp_path, words_of(meta, images, out))
        time.sleep(share * duration)
        process.kill()
        process.communicate()
        if not out.exists():
            done = watched(*words_of(meta, images, out, "--resume"), folder=images)
            assert done.code == 0, (share, done.err)
            opened.append(len(done.opened))
        assert digest_of(out) == wanted, share
        shutil.rmtree(out)
    assert min(opened) < frames  # at least one had something to go on with
