"""Where a store cannot be written, which is told before anything is."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lmdb_reid import Store, StoreWriter, _disk, _mounts
from lmdb_reid.errors import StoreBusyError, StoreNotFoundError, StoreWriteError
from lmdb_reid.store import _places

fcntl = pytest.importorskip("fcntl")


def no_locks(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refusing)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_mount_point_is_refused_before_the_first_sample(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(_mounts, "is_mount", out.__eq__)
    with pytest.raises(StoreWriteError, match=r"mount point.* name a folder inside it"):
        StoreWriter(out, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_there_are_no_locks_nothing_is_left_behind(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(code, monkeypatch)
    with pytest.raises(StoreWriteError, match="file system supports no locks"):
        StoreWriter(tmp_path / "games.lmdb")
    assert not list(tmp_path.iterdir())


def test_an_unfinished_build_stays_where_locks_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StoreWriter(tmp_path / "games.lmdb").close()
    no_locks(errno.ENOSYS, monkeypatch)
    with pytest.raises(StoreWriteError, match="file system supports no locks"):
        StoreWriter(tmp_path / "games.lmdb", resume=True)
    assert (tmp_path / "games.lmdb.partial").exists()


def test_a_lock_that_somebody_holds_is_no_missing_lock(tmp_path: Path) -> None:
    with pytest.raises(StoreBusyError), StoreWriter(tmp_path / "games.lmdb"):
        StoreWriter(tmp_path / "games.lmdb", resume=True)


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="the system has no mount ids")
def test_mount_points_are_told_from_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/proc")
    assert _mounts.is_mount(Path("/proc"))
    for name in ("folder", "link", "nothing"):
        assert not _mounts.is_mount(tmp_path / name)


# -- two renames in place of an exchange


@pytest.fixture
def two_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_disk, "exchange", lambda *_: False)


def sealed(path: Path, jpeg: Callable[..., bytes], label: int, **arguments: bool) -> str:
    with StoreWriter(path, **arguments) as writer:
        writer.put("a", jpeg(label), {"label": label})
        writer.seal()
    return Store(path).digest


@pytest.mark.usefixtures("two_renames")
def test_a_reader_between_two_renames_waits_and_moves_nothing(
    tmp_path: Path, jpeg: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lmdb"
    old = sealed(path, jpeg, 1)
    between, found = threading.Event(), []
    rename = _disk.rename

    def slow(source: Path, target: Path) -> None:
        rename(source, target)
        if target.name.endswith(".replaced"):
            between.set()
            time.sleep(0.1)

    def read() -> None:
        between.wait(10)
        assert not path.exists()
        found.append(Store(path).digest)

    monkeypatch.setattr(_disk, "rename", slow)
    reader = threading.Thread(target=read)
    reader.start()
    new = sealed(path, jpeg, 2, overwrite=True)
    reader.join()
    assert found == [new] != [old]
    assert [each.name for each in tmp_path.iterdir()] == ["a.lmdb"]


@pytest.mark.usefixtures("two_renames")
@pytest.mark.parametrize("gone", [False, True], ids=["the build stays", "the build is gone"])
def test_a_reader_after_a_crash_between_them_brings_the_old_store_back(
    gone: bool, tmp_path: Path, jpeg: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lmdb"
    old = sealed(path, jpeg, 1)

    class Crash(BaseException):
        pass

    rename = _disk.rename

    def cut(source: Path, target: Path) -> None:
        if source.name.endswith(".partial"):
            raise Crash
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(_disk, "rename", cut)
        with pytest.raises(Crash):
            sealed(path, jpeg, 2, overwrite=True)
    assert not path.exists()
    if gone:
        _disk.remove(tmp_path / "a.lmdb.partial")
    assert Store(path).digest == old


def test_a_reader_that_may_move_nothing_says_that_there_is_no_store(
    tmp_path: Path, jpeg: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(tmp_path / "a.lmdb", jpeg, 1)
    (tmp_path / "a.lmdb").rename(tmp_path / "a.lmdb.replaced")

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(_disk, "rename", refused)
    with pytest.raises(StoreNotFoundError):
        Store(tmp_path / "a.lmdb")


@pytest.mark.parametrize("make", [os.mkfifo, lambda file: file.symlink_to("/dev/zero")])
def test_what_is_no_manifest_is_not_waited_for(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "a.lmdb").mkdir()
    make(tmp_path / "a.lmdb" / "manifest.json")
    assert not _places._is_store(tmp_path / "a.lmdb")
