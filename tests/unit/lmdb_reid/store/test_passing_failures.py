"""A store that cannot be opened now is not called damaged: the next try may succeed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import lmdb
import lmdb.verify
import pytest

from lmdb_reid import Store
from lmdb_reid.errors import ResourceError, StoreDamagedError, StoreError


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def opening(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(lmdb, "open", opening)


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (lmdb.MemoryError("b'/x/data.mdb': Cannot allocate memory"), "ulimit -v"),
        (lmdb.Error("/x/data.mdb: No such device"), "local disk"),
        (lmdb.Error("/x/data.mdb: Too many open files"), "ulimit -n"),
        (lmdb.Error("/x/data.mdb: Input/output error"), "Try again"),
        (lmdb.ReadonlyError("/x/data.mdb: Permission denied"), "right to read"),
        (lmdb.ReadersFullError("/x/data.mdb: MDB_READERS_FULL"), "Try again"),
        (OSError(errno.ESTALE, "Stale file handle"), "Try again"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_system_refuses_may_pass(
    error: Exception, cure: str, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_open(monkeypatch, error)
    with pytest.raises(ResourceError, match="may be whole") as caught:
        Store(store_path)
    assert cure in str(caught.value)
    assert not isinstance(caught.value, StoreError)
    monkeypatch.undo()
    with Store(store_path) as store:
        assert len(store) == 8


@pytest.mark.parametrize(
    "error", [lmdb.InvalidError("MDB_INVALID"), lmdb.CorruptedError("MDB_CORRUPTED")]
)
def test_what_lmdb_finds_in_the_file_is_damage(
    error: Exception, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_open(monkeypatch, error)
    with pytest.raises(StoreDamagedError, match="cannot be opened by LMDB"):
        Store(store_path)


@pytest.mark.parametrize("name", ["data.mdb", "label.bin", "quarter.json"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_file_that_cannot_be_looked_at_is_neither_missing_nor_damaged(
    code: int, name: str, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat: Callable[..., os.stat_result] = Path.stat

    def failing(path: Path, **options: bool) -> os.stat_result:
        if path.name == name:
            raise OSError(code, os.strerror(code))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", failing)
    with pytest.raises(ResourceError, match=os.strerror(code)):
        Store(store_path)


def test_a_data_file_that_is_not_there_is_missing(store_path: Path) -> None:
    (store_path / "data.mdb").unlink()
    with pytest.raises(StoreDamagedError, match="No such file"):
        Store(store_path)


def test_an_empty_data_file_is_damage(store_path: Path) -> None:
    (store_path / "data.mdb").write_bytes(b"")
    with pytest.raises(StoreDamagedError):
        Store(store_path)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_a_walk_over_the_pages_that_is_refused_may_pass(
    code: int, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lmdb.verify, "verify", refused)
    with pytest.raises(ResourceError, match=os.strerror(code)):
        Store(store_path, check="structure")
    with Store(store_path) as store:
        assert os.strerror(code) in store.verify().problems[0]
