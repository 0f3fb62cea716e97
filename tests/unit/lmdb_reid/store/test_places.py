"""Where a store cannot be written, which is told before anything is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lmdb_reid import StoreWriter, _disk
from lmdb_reid.errors import StoreBusyError, StoreWriteError

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
    monkeypatch.setattr(_disk, "is_mount", out.__eq__)
    with pytest.raises(StoreWriteError, match=r"mount point.* name a folder inside it"):
        StoreWriter(out, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_there_are_no_locks_nothing_is_left_behind(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(code, monkeypatch)
    with pytest.raises(StoreWriteError, match="file system gives no locks"):
        StoreWriter(tmp_path / "games.lmdb")
    assert not list(tmp_path.iterdir())


def test_an_unfinished_build_stays_where_locks_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StoreWriter(tmp_path / "games.lmdb").close()
    no_locks(errno.ENOSYS, monkeypatch)
    with pytest.raises(StoreWriteError, match="file system gives no locks"):
        StoreWriter(tmp_path / "games.lmdb", resume=True)
    assert (tmp_path / "games.lmdb.partial").exists()


def test_a_lock_that_somebody_holds_is_no_missing_lock(tmp_path: Path) -> None:
    with pytest.raises(StoreBusyError), StoreWriter(tmp_path / "games.lmdb"):
        StoreWriter(tmp_path / "games.lmdb", resume=True)


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="the system has no mount ids")
def test_mount_points_are_told_from_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/proc")
    assert _disk.is_mount(Path("/proc"))
    for name in ("folder", "link", "nothing"):
        assert not _disk.is_mount(tmp_path / name)
