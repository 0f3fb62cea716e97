"""What a decoded tier serves are the pixels that were decoded, whatever lies in its files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lmdb_reid import DecodedTier, ReIDDataset, Store, _disk
from lmdb_reid.cli.main import main
from lmdb_reid.errors import UntrustedError, WriteError

COUNT = 8
NOBODY = 65534
Pixels = npt.NDArray[np.uint8]
MakeStore = Callable[..., Path]

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store(store_path)


@pytest.fixture
def wanted(store: Store) -> Pixels:
    return read(ReIDDataset(store))


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Path:
    """The folder of a tier that holds every row."""
    read(ReIDDataset(store, cache=DecodedTier(store, tmp_path / "tier")))
    (folder,) = (tmp_path / "tier").iterdir()
    return folder


def read(dataset: ReIDDataset) -> Pixels:
    out = np.empty((COUNT, *dataset.size, 3), np.uint8)
    dataset.crops.read(np.arange(COUNT), out)
    return out


def again(store: Store, folder: Path) -> tuple[Pixels, dict[str, int]]:
    """All rows as another process reads them, and what it counted."""
    tier = DecodedTier(store, folder.parent)
    return read(ReIDDataset(store, cache=tier)), tier.stats()


def flip(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte[0] ^ 1]))


def with_another(folder: Path, name: str, make: Callable[[Path], object]) -> None:
    (folder / name).unlink()
    make(folder / name)


def other_pictures(folder: Path) -> None:
    """A whole tier of other pictures, under the name of this one."""
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"source": "0" * 64 + "-32x16-x-accurate"}))


def test_a_flipped_bit_is_decoded_and_written_again(
    store: Store, filled: Path, wanted: Pixels
) -> None:
    nbytes = wanted[0].nbytes
    flip(filled / "pixels.bin", 3 * nbytes + 7)
    flip(filled / "done.bin", 4 * 5)
    found, stats = again(store, filled)
    assert np.array_equal(found, wanted)
    assert stats == {"hits": COUNT - 2, "misses": 2, "damaged": 2, "kept": 2}
    found, stats = again(store, filled)
    assert np.array_equal(found, wanted)
    assert stats == {"hits": COUNT, "misses": 0, "damaged": 0, "kept": 0}


def test_zeros_where_pixels_were_are_not_served(store: Store, filled: Path, wanted: Pixels) -> None:
    with (filled / "pixels.bin").open("r+b") as file:
        file.write(bytes(4 * wanted[0].nbytes))
    found, stats = again(store, filled)
    assert np.array_equal(found, wanted)
    assert stats["damaged"] == 4


def test_a_row_is_compared_once_in_a_process(store: Store, filled: Path, wanted: Pixels) -> None:
    tier = DecodedTier(store, filled.parent)
    dataset = ReIDDataset(store, cache=tier)
    read(dataset)
    flip(filled / "done.bin", 0)  # would show if it were looked at again
    assert np.array_equal(read(dataset), wanted)
    assert tier.stats() == {"hits": 2 * COUNT, "misses": 0, "damaged": 0, "kept": 0}


def test_a_picture_whose_checksum_is_zero_is_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Pixels
) -> None:
    monkeypatch.setattr("lmdb_reid.cache._tier_files.zlib.crc32", lambda _: 0)
    for hits in (0, COUNT):
        tier = DecodedTier(store, tmp_path / "tier")
        assert np.array_equal(read(ReIDDataset(store, cache=tier)), wanted)
        assert tier.stats()["hits"] == hits


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "done.bin").write_bytes(b"\1" * COUNT),
        lambda folder: (folder / "meta.json").write_text('{"boot": null}'),
        lambda folder: (folder / "meta.json").write_text("[]"),
        lambda folder: (folder / "meta.json").unlink(),
        lambda folder: (folder / "pixels.bin").chmod(0o666),
        lambda folder: (folder / "done.bin").chmod(0o664),
        lambda folder: folder.chmod(0o777),
        lambda folder: with_another(folder, "pixels.bin", os.mkfifo),
        lambda folder: with_another(folder, "done.bin", os.mkfifo),
        lambda folder: with_another(folder, "meta.json", os.mkfifo),
        lambda folder: with_another(folder, "meta.json", os.mkdir),
        lambda folder: with_another(
            folder, "pixels.bin", lambda file: file.symlink_to("/dev/zero")
        ),
        other_pictures,
    ],
    ids=[
        *("marks of an older version", "meta of an older version", "meta a list", "no meta"),
        *("pixels for all to write", "marks for a group to write", "folder for all to write"),
        *("pixels a pipe", "marks a pipe", "meta a pipe", "meta a folder", "pixels a link"),
        "another tier of this name",
    ],
)
def test_what_is_not_to_be_used_is_made_anew(
    change: Callable[[Path], object], store: Store, filled: Path, wanted: Pixels
) -> None:
    change(filled)
    began = time.monotonic()
    found, stats = again(store, filled)
    assert np.array_equal(found, wanted)
    assert stats["kept"] == COUNT
    assert time.monotonic() - began < 10
    assert again(store, filled)[1]["hits"] == COUNT


@as_root
@pytest.mark.parametrize("name", ["", ".", "pixels.bin", "done.bin", "meta.json"])
def test_what_belongs_to_somebody_else_is_refused(store: Store, filled: Path, name: str) -> None:
    theirs = filled.parent if name == "." else filled / name
    os.chown(theirs, NOBODY, NOBODY)
    with pytest.raises(UntrustedError, match=rf"{NOBODY}, who could put other pixels there"):
        again(store, filled)
    assert (filled / "pixels.bin").stat().st_size, "nothing of theirs is removed"
    assert isinstance(UntrustedError(), PermissionError)


@as_root
def test_the_attack_of_a_shared_folder(
    store: Store, filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody makes the tier first, in a place where everybody may write, with his own pixels."""
    place = tmp_path / "shm"
    place.mkdir()
    place.chmod(0o1777)
    shutil.copytree(filled, place / filled.name)
    for path in (place / filled.name, *(place / filled.name).iterdir()):
        os.chown(path, NOBODY, NOBODY)
    assert main(["warm", str(store.path), "--decoded", "--dir", str(place)]) == 1
    assert f"belongs to the user with number {NOBODY}" in capsys.readouterr().err


def test_nobody_else_can_keep_a_tier_from_being_made(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    place = tmp_path / "tier"
    place.mkdir()
    locked: list[Path] = []
    lock = _disk.lock

    def locking(path: Path, *, wait: bool) -> object:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, "whoever can open it can hold its lock"
        locked.append(path)
        return lock(path, wait=wait)

    monkeypatch.setattr(_disk, "lock", locking)
    # As another user may: whoever can list a folder can hold its lock.
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        done = threading.Thread(
            target=lambda: read(ReIDDataset(store, cache=DecodedTier(store, place))), daemon=True
        )
        done.start()
        done.join(20)
        assert not done.is_alive()
    finally:
        os.close(descriptor)
    assert len(locked) == 1
    assert [path.is_dir() for path in place.iterdir()] == [True], "the lock is removed"


@as_root
def test_a_lock_of_somebody_else_is_refused(store: Store, tmp_path: Path, filled: Path) -> None:
    place = tmp_path / "other"
    place.mkdir()
    lock = place / f"{filled.name}.lock"
    lock.touch()
    os.chown(lock, NOBODY, NOBODY)
    with pytest.raises(UntrustedError, match=str(lock)):
        read(ReIDDataset(store, cache=DecodedTier(store, place)))


def test_a_place_where_everybody_may_rename_is_refused(store: Store, tmp_path: Path) -> None:
    for mode, refused in ((0o777, True), (0o1777, False), (0o775, False)):
        place = tmp_path / f"{mode:o}"
        place.mkdir()
        place.chmod(mode)
        tier = DecodedTier(store, place)
        if refused:
            with pytest.raises(UntrustedError, match="everybody may rename"):
                read(ReIDDataset(store, cache=tier))
        else:
            read(ReIDDataset(store, cache=tier))


@pytest.fixture
def open_to_the_group() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_to_the_group")
def test_a_tier_is_its_users_alone_whatever_the_umask(store: Store) -> None:
    for misses in (COUNT, 0):
        tier = DecodedTier(store)
        read(ReIDDataset(store, cache=tier))
        tier.sync()
        assert tier.stats()["misses"] == misses
    made = [tier.path, *tier.path.rglob("*")]
    assert len(made) == 5
    assert not [path for path in made if path.stat().st_mode & 0o022]


def test_verify_says_that_it_does_not_look_at_a_tier(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verify", str(store.path)]
    assert main(words) == 0
    assert "not looked at" not in capsys.readouterr().out
    read(ReIDDataset(store, cache=DecodedTier(store)))
    assert main(words) == 0
    assert f"{store.path}.decoded is not looked at" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["not_checked"] == [f"{store.path}.decoded"]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_that_fails_is_an_error_of_ours(
    store: Store, wanted: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(now: str, path: Path) -> None:
        if now == call and path.name == "pixels.bin":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(_disk, "watch", fail)
    tier = DecodedTier(store, tmp_path / "tier")
    with pytest.raises(WriteError, match="Input/output error"):
        read(ReIDDataset(store, cache=tier))
        tier.sync()
    monkeypatch.setattr(_disk, "watch", None)
    pixels, _ = again(store, next((tmp_path / "tier").iterdir()))
    np.testing.assert_array_equal(pixels, wanted)
