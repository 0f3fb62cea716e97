from __future__ import annotations

import ast
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import Store, StoreWriter, _disk
from lmdb_reid.cache import DecodedTier
from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import (
    StoreBusyError,
    StoreWriteError,
    WriteError,
)
from lmdb_reid.store import _handles, _places

Jpegs = Callable[..., bytes]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """(call, name) of everything that changes the disk."""
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(_disk, "watch", lambda call, path: seen.append((call, path.name)))
    yield seen


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def fail_at(number: int, error: BaseException) -> Callable[[str, Path], None]:
    """A watch that raises in place of the call of this number, counted from 0."""
    left = number

    def watch(call: str, path: Path) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise error

    return watch


# -- one file


def test_a_whole_file_is_synced_before_its_name_and_its_name_after(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    _disk.write_whole(tmp_path / "a.json", b"new")
    assert [call for call, _ in calls] == ["open", "write", "fsync", "rename", "fsync"]
    assert calls[-2][1] == "a.json"
    assert calls[-1][1] == tmp_path.name
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert names(tmp_path) == ["a.json"]


def test_a_file_that_fails_at_any_call_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number in range(5):
        (tmp_path / "a").write_bytes(b"old")
        monkeypatch.setattr(_disk, "watch", fail_at(number, OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            _disk.write_whole(tmp_path / "a", b"new")
        found.append((tmp_path / "a").read_bytes())
        assert names(tmp_path) == ["a"], "a draft stays"
    assert found == [b"old"] * 4 + [b"new"]


def test_a_text_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), _disk.whole_text(path) as file:
        file.write("new")
        file.write(str(1 / 0))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


def test_a_text_is_utf_8_with_lines_as_written_in_folders_made_for_it(tmp_path: Path) -> None:
    with _disk.whole_text(tmp_path / "x" / "y" / "a.csv") as file:
        file.write("é\r\nb\n")
    assert (tmp_path / "x" / "y" / "a.csv").read_bytes() == "é\r\nb\n".encode()


def test_a_text_never_takes_the_place_of_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WriteError, match="cannot be written: it is not a regular file") as caught:
        with _disk.whole_text(tmp_path / "pipe"):
            pytest.fail("it was opened")
    assert caught.value.path == str(tmp_path / "pipe")


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    tree = tmp_path / "tree"
    (tree / "deep" / "deeper").mkdir(parents=True)
    (tree / "deep" / "file").touch()
    (tree / "link").symlink_to(tmp_path / "kept")
    (tree / "deep" / "broken").symlink_to("nowhere")
    _disk.remove(tree)
    _disk.remove(tree)
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    _disk.remove(tmp_path / "link")
    assert names(tmp_path) == ["kept"]
    assert names(tmp_path / "kept") == ["file"]


def test_a_reserved_file_has_its_length_and_its_place(tmp_path: Path) -> None:
    _disk.reserve(tmp_path / "a", 100_000)
    status = (tmp_path / "a").stat()
    assert status.st_size == 100_000
    assert status.st_blocks * 512 >= 100_000
    descriptor = _disk.open_to_write(tmp_path / "a")
    _disk.write_at(descriptor, b"xyz", 50_000)
    os.close(descriptor)
    assert (tmp_path / "a").read_bytes() == bytes(50_000) + b"xyz" + bytes(49_997)


# -- locks


def test_a_lock_that_is_held_is_refused_or_waited_for(tmp_path: Path) -> None:
    order = []
    with _disk.lock(tmp_path, wait=False):
        with pytest.raises(BlockingIOError), _disk.lock(tmp_path, wait=False):
            pytest.fail("two hold it")

        def wait() -> None:
            with _disk.lock(tmp_path, wait=True):
                order.append("second")

        waiting = threading.Thread(target=wait)
        waiting.start()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def rename_before_flock(monkeypatch: pytest.MonkeyPatch, folder: Path, *, again: bool) -> None:
    """Between the open and the lock the folder gets another name; another comes in its place."""

    def watch(call: str, path: Path) -> None:
        if call == "flock" and path == folder:
            monkeypatch.setattr(_disk, "watch", None)
            folder.rename(folder.with_name("gone"))
            if again:
                folder.mkdir()
                (folder / "work").mkdir()

    monkeypatch.setattr(_disk, "watch", watch)


@pytest.mark.parametrize("again", [True, False])
def test_the_lock_of_a_folder_that_was_renamed_is_not_the_one_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    rename_before_flock(monkeypatch, folder, again=again)
    with pytest.raises(BlockingIOError, match="renamed"), _disk.lock(folder, wait=False):
        pytest.fail("it is the lock of another folder")


def test_a_lock_that_is_waited_for_is_that_of_the_folder_with_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    rename_before_flock(monkeypatch, folder, again=True)
    with _disk.lock(folder, wait=True):
        with pytest.raises(BlockingIOError), _disk.lock(folder, wait=False):
            pytest.fail("two hold it")


# -- stores


@pytest.mark.parametrize("again", [True, False])
def test_a_build_does_not_empty_the_one_that_took_its_name(
    tmp_path: Path, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    path = tmp_path / "a.lmdb"
    StoreWriter(path).close()
    rename_before_flock(monkeypatch, tmp_path / "a.lmdb.partial", again=again)
    with pytest.raises(StoreBusyError):
        StoreWriter(path, overwrite=True)
    assert (tmp_path / "a.lmdb.partial" / "work").exists() is again
    assert (tmp_path / "gone" / "work").exists()


def built(path: Path, image: bytes, **arguments: bool) -> str:
    with StoreWriter(path, **arguments) as writer:
        writer.put("a", image, {"label": 1})
        writer.seal()
    return Store(path).digest


@pytest.mark.parametrize("left", [False, True])
def test_an_overwrite_that_is_cut_at_any_call_of_its_begin_is_resumed(
    tmp_path: Path, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    path = tmp_path / "a.lmdb"
    built(path, jpeg(1))
    settings = {"seed": 1}
    cut = 0
    while True:
        if left:  # an unfinished build of other settings is to be discarded
            with StoreWriter(path, settings={"seed": 0}, overwrite=True) as writer:
                writer.put("b", jpeg(3), {})
                writer.commit()
                writer.close()
        there = (tmp_path / "a.lmdb.partial").exists()
        monkeypatch.setattr(_disk, "watch", fail_at(cut, KeyboardInterrupt()))
        try:
            StoreWriter(path, settings=settings, overwrite=True).close()
        except KeyboardInterrupt:
            monkeypatch.setattr(_disk, "watch", None)
            partial = tmp_path / "a.lmdb.partial"
            if partial.exists() and not (there and (partial / "work" / "settings.json").exists()):
                with StoreWriter(path, settings=settings, resume=True) as writer:
                    writer.put("a", jpeg(2), {"label": 1})
                    writer.seal()
                assert list(Store(path).ids) == ["a"]
                assert not (path / "discarded").exists()
                built(path, jpeg(1), overwrite=True)
            else:
                StoreWriter(path, settings=settings, overwrite=True).close()
                _disk.remove(partial)
            cut += 1
            continue
        break
    assert cut > 5


def test_an_old_store_with_a_link_for_columns_is_replaced_and_the_linked_stays(
    tmp_path: Path, jpeg: Jpegs
) -> None:
    path = tmp_path / "a.lmdb"
    built(path, jpeg(1))
    (path / "columns").rename(tmp_path / "elsewhere")
    (path / "columns").symlink_to(tmp_path / "elsewhere")
    new = built(path, jpeg(2), overwrite=True)
    assert names(tmp_path) == ["a.lmdb", "elsewhere"]
    assert Store(path).digest == new
    assert (tmp_path / "elsewhere" / "id.bin").exists()


def test_a_last_sync_that_fails_says_that_the_store_is_in_place(
    tmp_path: Path, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(call: str, path: Path) -> None:
        if call == "fsync" and path == tmp_path:
            raise OSError(5, "Input/output error")

    writer = StoreWriter(tmp_path / "a.lmdb")
    writer.put("a", jpeg(1), {})
    monkeypatch.setattr(_disk, "watch", watch)
    with pytest.raises(StoreWriteError, match="complete and in place") as caught:
        writer.seal()
    assert "--resume" not in str(caught.value)
    assert Store(tmp_path / "a.lmdb").verify(deep=True).ok


def test_a_store_that_does_not_open_gets_no_name(
    tmp_path: Path, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lmdb"
    old = built(path, jpeg(1))
    column = tmp_path / "a.lmdb.partial" / "columns" / "label.bin"

    def cut_short(call: str, at: Path) -> None:
        if call == "rmdir" and at.name == "work":
            column.write_bytes(b"")

    monkeypatch.setattr(_disk, "watch", cut_short)
    with pytest.raises(StoreWriteError, match="cannot be opened"):
        built(path, jpeg(2), overwrite=True)
    assert Store(path).digest == old


def test_a_disk_that_fails_while_sealing_is_no_damaged_store(
    tmp_path: Path, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lmdb

    class Failing:
        def __init__(self, *_: object) -> None:
            raise lmdb.Error("data.mdb: Input/output error")

    writer = StoreWriter(tmp_path / "a.lmdb")
    writer.put("a", jpeg(1), {})
    with monkeypatch.context() as patch, pytest.raises(StoreWriteError, match="--resume"):
        patch.setattr(_handles, "Handle", Failing)
        writer.seal()
    with StoreWriter(tmp_path / "a.lmdb", resume=True) as writer:
        writer.seal()
    assert list(Store(tmp_path / "a.lmdb").ids) == ["a"]


def test_a_manifest_that_the_disk_cannot_read_is_not_told_as_no_store(
    tmp_path: Path, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lmdb"
    built(path, jpeg(1))

    def failing(file: Path, limit: int) -> bytes:
        raise OSError(5, "Input/output error", str(file))

    monkeypatch.setattr(_places, "read_limited", failing)
    with pytest.raises(StoreWriteError, match="Input/output error"):
        StoreWriter(path, overwrite=True)
    with pytest.raises(OSError, match="Input/output error"):
        _places._is_store(path)


def test_a_tier_that_was_synced_is_synced_with_its_names(
    tmp_path: Path, jpeg: Jpegs, calls: list[tuple[str, str]]
) -> None:
    built(tmp_path / "a.lmdb", jpeg(1))
    tier = DecodedTier(Store(tmp_path / "a.lmdb"))
    data = ReIDDataset(Store(tmp_path / "a.lmdb"), cache=tier)
    data[0]
    del calls[:]
    tier.sync()
    synced = [name for call, name in calls if call == "fsync"]
    assert synced[:2] == ["pixels.bin", "done.bin"]
    meta = [call for call, name in calls if "meta.json" in name]
    assert meta == ["open", "write", "fsync", "rename"]
    folder = next((tmp_path / "a.lmdb.decoded").iterdir())
    assert synced[-3:] == [folder.name, "a.lmdb.decoded", tmp_path.name]
    assert np.array_equal(data[0][0], ReIDDataset(Store(tmp_path / "a.lmdb"))[0][0])


# -- the door is the only one

_MUTATING = {
    "os": {
        *("chmod", "fsync", "ftruncate", "link", "makedirs", "mkdir", "mkfifo", "posix_fallocate"),
        *("pwrite", "remove", "rename", "renames", "replace", "rmdir", "symlink", "truncate"),
        *("unlink", "write", "writev", "fdatasync", "pwritev", "removedirs"),
    },
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree"},
    "fcntl": {"flock", "lockf"},
}
_PATH_METHODS = {
    *("hardlink_to", "mkdir", "rmdir", "symlink_to", "touch", "unlink", "write_bytes"),
    "write_text",
}


def _names(node: ast.expr) -> str:
    return ast.unparse(node)


def _is_mutating(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Name):
        return function.id == "open" and _writes(call.args[1:2], call)
    if not isinstance(function, ast.Attribute):
        return False
    owner, name = _names(function.value), function.attr
    if owner in _MUTATING:
        if (owner, name) == ("os", "open"):
            return "O_RDONLY" not in _names(call.args[1])
        return name in _MUTATING[owner]
    if owner == "_disk":
        return False
    if name == "open":
        return _writes(call.args[:1], call)
    if name in ("rename", "replace"):  # of a path: one argument; str.replace has two
        return len(call.args) == 1 and not call.keywords
    return name in _PATH_METHODS


def _writes(mode: list[ast.expr], call: ast.Call) -> bool:
    given = [*mode, *(word.value for word in call.keywords if word.arg == "mode")]
    return any(
        isinstance(text, ast.Constant)
        and isinstance(text.value, str)
        and bool(set(text.value) & set("wax+"))
        for text in given
    )


def mutating_calls(source: str) -> list[str]:
    """The calls of a module that change the disk without `_disk`."""
    tree = ast.parse(source)
    found = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _is_mutating(node)
    ]
    imported = [
        f"from {node.module} import {alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in _MUTATING.get(node.module or "", ())
    ]
    return found + imported


def test_what_changes_the_disk_is_recognised() -> None:
    bad = [
        *("os.replace(a, b)", "shutil.rmtree(a)", "a.unlink(missing_ok=True)", "open(a, 'wb')"),
        *("a.open('w')", "a.rename(b)", "fcntl.flock(a, b)", "from os import fsync"),
        *("os.open(a, os.O_RDWR)", "open(a, mode='r+')", "a.write_text('x')", "os.pwrite(a, b, 0)"),
    ]
    good = [
        *("os.open(a, os.O_RDONLY)", "open(a)", "a.open('rb')", "'a'.replace('b', 'c')"),
        *("dataclasses.replace(a, b=c)", "_disk.rename(a, b)", "a.read_bytes()", "os.close(a)"),
    ]
    assert [line for line in bad if not mutating_calls(line)] == []
    assert [line for line in good if mutating_calls(line)] == []


@pytest.mark.parametrize("package", ["lmdb_reid/store", "lmdb_reid/cache", "builders", "training"])
def test_nothing_else_changes_the_disk(package: str) -> None:
    # What ships as a test makes its own folders.
    files = sorted(f for f in (ROOT / package).rglob("*.py") if f.name != "testing.py")
    assert files
    found = {
        str(file.relative_to(ROOT)): calls
        for file in files
        if (calls := mutating_calls(file.read_text()))
    }
    assert found == {}
