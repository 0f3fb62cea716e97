from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import DecodedTier, ReIDDataset, Store, progress
from lmdb_reid.bench import pages
from lmdb_reid.cli import warm
from lmdb_reid.codec import encode
from lmdb_reid.errors import CorruptSampleError, StoreNotFoundError, UsageError
from lmdb_reid.machine import size_in_words
from lmdb_reid.store import StoreWriter

COUNT, HEIGHT, WIDTH = 300, 16, 8


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "noise.lmdb"
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    with StoreWriter(path) as writer:
        for number, image in enumerate(noise):
            writer.put(f"a#{number:03d}", encode(image), {"label": 0})
        writer.seal()
    return path


def parsed(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    warm.configure(parser)
    return parser.parse_args([str(word) for word in words])


def test_a_store_is_in_memory_afterwards(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = pages.held(store).bytes
    if pages.held(store).share is None:
        pytest.skip("this system does not tell what its page cache holds")
    pages.drop(store)
    assert warm.run(parsed(store)) == 0
    assert pages.held(store).share == 1.0
    line = capsys.readouterr().out
    assert line.startswith(f"{store}: {size_in_words(size)} read in ")
    assert line.endswith(", 100% of it in the page cache\n")


def test_warming_as_json(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert warm.run(parsed(store, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == pages.held(store).bytes
    assert told["resident_share"] == pages.held(store).share


@pytest.mark.parametrize("as_json", [False, True])
def test_what_does_not_stay_in_memory_is_a_problem(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(pages, "held", lambda _: pages.Pages(bytes=100, resident=40))
    assert warm.run(parsed(store, *["--json"] * as_json)) == 1
    out = capsys.readouterr().out
    assert ("does not stay in memory" in out) == (not as_json)
    assert ("40%" in out) or json.loads(out)["resident_share"] == 0.4


def test_a_system_that_cannot_tell_is_no_problem(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "held", lambda _: pages.Pages(bytes=100, resident=None))
    assert warm.run(parsed(store)) == 0
    assert "page cache" not in capsys.readouterr().out


def test_every_image_is_decoded_once(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [store, "--decoded", "--num-workers", "1", "--json"]
    assert warm.run(parsed(*words)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tier"] == f"{store}.decoded"
    assert told["samples"] == told["decoded_now"] == COUNT
    assert told["bytes"] == COUNT * HEIGHT * WIDTH * 3
    with Store(store) as opened:
        tier = DecodedTier(opened)
        rows = np.arange(COUNT)
        plain, kept = (np.empty((COUNT, HEIGHT, WIDTH, 3), np.uint8) for _ in range(2))
        ReIDDataset(opened).crops.read(rows, plain)
        ReIDDataset(opened, cache=tier).crops.read(rows, kept)
    np.testing.assert_array_equal(kept, plain)
    assert tier.stats() == {"hits": COUNT, "misses": 0, "damaged": 0, "kept": 0}
    assert warm.run(parsed(*words)) == 0
    assert json.loads(capsys.readouterr().out)["decoded_now"] == 0


def test_a_tier_has_its_own_place_and_size(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "elsewhere"
    assert warm.run(parsed(store, "--decoded", "--size", "8x4", "--dir", place)) == 0
    out = capsys.readouterr().out
    assert f"ReIDDataset(store, size=(8, 4), cache=DecodedTier(store, {str(place)!r}))" in out
    with Store(store) as opened:
        tier = DecodedTier(opened, place)
        ReIDDataset(opened, size=(8, 4), cache=tier)[7]
    assert tier.stats()["hits"] == 1


def test_a_damaged_image_ends_it_by_name(store: Path) -> None:
    with Store(store) as opened:
        jpeg = opened.at(100).jpeg
    data = store / "data.mdb"
    content = data.read_bytes()
    data.write_bytes(content.replace(jpeg, jpeg[:-9] + b"\0" + jpeg[-8:]))
    with pytest.raises(CorruptSampleError, match="a#100"):
        warm.run(parsed(store, "--decoded"))


@pytest.mark.parametrize("words", [["--size", "8x4"], ["--dir", "x"], ["--num-workers", "2"]])
def test_what_belongs_to_decoded(store: Path, words: list[str]) -> None:
    with pytest.raises(UsageError, match="needs --decoded"):
        warm.run(parsed(store, *words))


@pytest.mark.parametrize("words", [[], ["--decoded"]])
def test_no_store(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(StoreNotFoundError):
        warm.run(parsed(tmp_path, *words))


def test_reading_needs_no_torch(store: Path) -> None:
    code = (
        "import sys; from lmdb_reid.cli.main import main;"
        f"code = main(['warm', {str(store)!r}]); sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


# -- progress --------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_tells_the_rate_and_the_time_left(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(progress, "time", argparse.Namespace(monotonic=lambda: now))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress.shown("reading", "MB", scale=1e6) as told:
        now = 0.05
        told(1_000_000, 100_000_000, 0)  # too soon to be told
        now = 10.0
        told(20_000_000, 100_000_000, 0)
    shown = capsys.readouterr().err
    text = "20 of 100 MB, 2 MB/s, 42 s left"
    drawn = f"\r\x1b[Kreading: [####................] {text}\r\x1b[K"
    assert shown == (drawn if terminal else f"reading: {text}\n")


def test_clearing_a_tier_leaves_what_is_not_its_own(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with Store(store) as opened:
        for place in (folder, None):
            tier = DecodedTier(opened, place)
            out = np.empty((2, HEIGHT, WIDTH, 3), np.uint8)
            ReIDDataset(opened, cache=tier).crops.read(np.arange(2), out)
            assert any(tier.path.glob(f"{opened.digest}-*"))
            tier.clear()
            assert not any(tier.path.glob(f"{opened.digest}-*"))
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    assert not store.with_name(store.name + ".decoded").exists()


def test_a_whole_tier_is_read_where_it_cannot_be_written(store: Path, tmp_path: Path) -> None:
    with Store(store) as opened:
        tier = DecodedTier(opened, tmp_path / "tier")
        out, again = (np.empty((COUNT, HEIGHT, WIDTH, 3), np.uint8) for _ in range(2))
        ReIDDataset(opened, cache=tier).crops.read(np.arange(COUNT), out)

        def no_writing(file: Path, flags: int, *mode: int, dir_fd: int | None = None) -> int:
            if flags & os.O_RDWR:
                raise PermissionError(errno.EACCES, "no", str(file))
            return descriptor(file, flags, *mode, dir_fd=dir_fd)

        descriptor = os.open
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", no_writing)
            other = DecodedTier(opened, tmp_path / "tier")
            ReIDDataset(opened, cache=other).crops.read(np.arange(COUNT), again)
        assert other.stats() == {"hits": COUNT, "misses": 0, "damaged": 0, "kept": 0}
        assert np.array_equal(out, again)
