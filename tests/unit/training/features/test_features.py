from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid import Store, StoreWriter, _disk, codec
from lmdb_reid.errors import (
    FeaturesError,
    FeaturesNotFoundError,
    StaleFeaturesError,
    UsageError,
    WriteError,
)
from lmdb_reid.store import merge
from training.features import Features, _file

MADE_BY = {"checkpoint": "best.ckpt", "sha256": "ab12", "size": [64, 32]}


def write_store(path: Path, count: int, *, grey: int = 0, name: str = "a") -> Path:
    with StoreWriter(path) as writer:
        for number in range(count):
            picture = np.full((16, 8, 3), grey + number, np.uint8)
            writer.put(f"{name}{number:02d}", codec.encode(picture), {"label": number % 3})
        writer.seal()
    return path


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("stores") / "a.lmdb", 7)


@pytest.fixture
def store(sealed: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(sealed, tmp_path / "own.lmdb"))


def numbers(count: int, length: int = 4, dtype: str = "float32") -> Any:
    return np.random.default_rng(count).standard_normal((count, length)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4"])
def test_what_is_saved_is_loaded_and_mapped(store: Store, dtype: str) -> None:
    array = numbers(7, dtype=dtype)
    saved = Features.save(store, "best", array, made_by=MADE_BY)
    assert saved.path == store.path.with_name("own.lmdb.features") / "best.npy"
    found = Features.load(store.path, "best", made_by=MADE_BY)
    assert np.array_equal(found.array, array)
    assert isinstance(found.array, np.memmap)
    assert not found.array.flags.writeable
    assert found.array.dtype == np.dtype(dtype).newbyteorder("<")
    assert (found.name, found.rows, dict(found.made_by)) == ("best", None, MADE_BY)
    assert np.array_equal(found.of(np.array([5, 0, 5])), array[[5, 0, 5]])


def test_any_numpy_reads_the_file(store: Store) -> None:
    array = numbers(3)
    saved = Features.save(store, "some", array, made_by={}, rows=["a06", "a00", "a03"])
    assert np.array_equal(np.load(saved.path), array)
    assert np.array_equal(np.load(saved.path, mmap_mode="r"), array)


def test_features_of_some_rows_know_which(store: Store) -> None:
    array = numbers(3)
    found = Features.save(store, "two", array[:2], made_by={}, rows="label == 1")
    assert found.rows is not None
    assert found.rows.tolist() == [1, 4]
    shuffled = Features.save(store, "some", array, made_by={}, rows=np.array([6, 2, 4]))
    assert np.array_equal(shuffled.of(np.array([2, 4, 6])), array[[1, 2, 0]])
    with pytest.raises(FeaturesError, match=r"2 of 3 samples have no features .* in row 3") as at:
        shuffled.of(np.array([2, 3, 0]))
    assert at.value.rows == (3, 0)


def test_tensors_do_as_well(store: Store) -> None:
    tensor = torch.from_numpy(numbers(7)).requires_grad_()
    assert np.array_equal(Features.save(store, "t", tensor, made_by={}).array, tensor.detach())
    half = Features.save(store, "t", tensor.bfloat16(), made_by={}).array
    assert half.dtype == np.float32  # numpy has no bfloat16


@pytest.mark.parametrize(
    ("array", "settings", "message"),
    [
        (
            numbers(6),
            {},
            "one row for each of 7 samples, got 6. If they are of other samples, pass rows=",
        ),
        (numbers(7, dtype="float64"), {}, "float16 or float32, got float64"),
        (np.ones((7, 2), int), {}, "must be of floats"),
        (numbers(7)[:, 0], {}, r"got \(7,\)"),
        (numbers(2), {"rows": [3, 3]}, "rows must be distinct, got row 3 more than once"),
        (numbers(2), {"rows": [3, 7]}, r"rows must be 0..6"),
        (numbers(7), {"made_by": {"a": object()}}, "made_by must be what JSON takes"),
        (numbers(7), {"made_by": {"a": float("nan")}}, "made_by must be what JSON takes"),
        (numbers(7), {"name": "a/b"}, "the name of features must be"),
        (numbers(7), {"name": "../b"}, "the name of features must be"),
        (numbers(7), {"name": ""}, "the name of features must be"),
        (numbers(7), {"name": "b.npy"}, "not end in .npy"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_is_written(
    store: Store, array: Any, settings: dict[str, Any], message: str
) -> None:
    name = settings.pop("name", "bad")
    with pytest.raises(UsageError, match=message):
        Features.save(store, name, array, **({"made_by": {}} | settings))
    assert not store.path.with_name("own.lmdb.features").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused_with_their_rows(store: Store, bad: float) -> None:
    array = numbers(7)
    array[[2, 5], 1] = bad
    with pytest.raises(
        UsageError, match="features must be finite, got NaN or infinity in rows 2, 5"
    ):
        Features.save(store, "bad", array, made_by={})


def test_features_of_another_store_are_refused(store: Store, tmp_path: Path) -> None:
    saved = Features.save(store, "best", numbers(7), made_by={})
    other = Store(write_store(tmp_path / "other.lmdb", 7, grey=50))
    for name in (saved.path, str(saved.path)):
        with pytest.raises(StaleFeaturesError, match=r"made of another store than .*other\.lmdb"):
            Features.load(other, name)
    folder = tmp_path / "other.lmdb.features"
    shutil.copytree(saved.path.parent, folder)
    with pytest.raises(RuntimeError, match="Make the features again"):
        Features.load(other, "best")
    moved = Store(shutil.copytree(store.path, tmp_path / "moved.lmdb"))
    assert len(Features.load(moved, saved.path).array) == 7  # the same store at another place


def test_features_of_another_order_of_the_same_parts_are_refused(tmp_path: Path) -> None:
    parts = [write_store(tmp_path / f"{name}.lmdb", 3, name=name) for name in "xy"]
    merge(parts, tmp_path / "xy.lmdb", names=["x", "y"])
    merge(parts[::-1], tmp_path / "yx.lmdb", names=["y", "x"])
    one, other = Store(tmp_path / "xy.lmdb"), Store(tmp_path / "yx.lmdb")
    assert one.digest == other.digest
    saved = Features.save(one, "best", numbers(6), made_by={})
    assert np.array_equal(saved.of(np.array([one.row("y/y01")])), numbers(6)[[4]])
    with pytest.raises(StaleFeaturesError, match="the same samples in another order"):
        Features.load(other, saved.path)
    assert len(Features.load(one, "best").array) == 6


def test_features_made_by_something_else_are_refused_where_that_matters(store: Store) -> None:
    Features.save(store, "best", numbers(7), made_by=MADE_BY)
    assert len(Features.load(store, "best").array) == 7
    with pytest.raises(StaleFeaturesError, match=r"made by .*ab12.* and not by .*cd34"):
        Features.load(store, "best", made_by=MADE_BY | {"sha256": "cd34"})


def test_a_name_that_is_not_there_is_said_with_the_nearest(store: Store) -> None:
    with pytest.raises(FeaturesNotFoundError, match="lmdb-reid embed makes them"):
        Features.load(store, "best")
    for name in ("best", "last"):
        Features.save(store, name, numbers(7), made_by={})
    with pytest.raises(FileNotFoundError, match="the nearest of 2: 'best'"):
        Features.load(store, "bset")
    with pytest.raises(FeaturesNotFoundError, match=r"no features at .*none\.npy"):
        Features.load(store, "none.npy")


def test_anybody_s_array_is_taken_if_its_rows_are_the_store_s(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "theirs.npy"
    for array in (numbers(7, dtype="float64"), np.asfortranarray(numbers(7))):
        np.save(file, array)
        found = Features.load(store, file)
        assert np.array_equal(found.array, array)
        assert found.made_by == {}
    for array, message in (
        (numbers(6), "a row for each of the 7 samples of .*, got 6"),
        (np.ones((7, 2), int), r"floats \[N, D\], got int64 \[7, 2\]"),
        (np.ones(7), r"floats \[N, D\], got float64 \[7\]"),
        (np.array([{}] * 7), "cannot be read as features"),
    ):
        np.save(file, array)
        with pytest.raises(FeaturesError, match=message):
            Features.load(store, file)
    with pytest.raises(StaleFeaturesError, match=r"made by \{\}"):
        np.save(file, numbers(7))
        Features.load(store, file, made_by=MADE_BY)


@pytest.mark.parametrize("rows", [None, [0, 4, 2]])
def test_every_damage_is_noticed(store: Store, rows: list[int] | None) -> None:
    array = numbers(7 if rows is None else 3)
    path = Features.save(store, "best", array, made_by=MADE_BY, rows=rows).path
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for at in [0, 9, len(whole) - 1, *random.integers(0, len(whole), 60).tolist()]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(FeaturesError, match="cannot be read as features"):
            Features.load(store, "best")
    for end in (0, 1, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(FeaturesError, match="cannot be read as features"):
            Features.load(store, "best")
    path.write_bytes(whole)
    Features.load(store, "best")


def test_a_file_of_a_later_version_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_file, "_VERSION", 2)
    Features.save(store, "best", numbers(7), made_by={})
    monkeypatch.setattr(_file, "_VERSION", 1)
    with pytest.raises(FeaturesError, match="of version 2, this code reads 1"):
        Features.load(store, "best")


def test_writing_that_fails_at_any_call_leaves_what_was_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = numbers(7), numbers(7) + 1
    path = Features.save(store, "best", old, made_by={}).path
    seen: list[str] = []
    monkeypatch.setattr(_disk, "watch", lambda call, _: seen.append(call))
    Features.save(store, "best", old, made_by={})
    assert seen[-3:] == ["fsync", "rename", "fsync"]
    for number in range(len(seen)):
        calls = itertools.count()

        def fail(call: str, at: Path, calls: Any = calls, number: int = number) -> None:
            if next(calls) == number:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(_disk, "watch", fail)
        with pytest.raises(WriteError, match="No space left"):
            Features.save(store, "best", new, made_by={})
        is_renamed = number == len(seen) - 1  # the folder's sync comes after
        assert np.array_equal(np.load(path), new if is_renamed else old)
        assert [file.name for file in path.parent.iterdir()] == ["best.npy"]


def test_pieces_make_one_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_file, "_CHUNK", 40)
    array = numbers(7, length=30)
    saved = Features.save(store, "best", array, made_by={})
    assert np.array_equal(saved.array, array)
    end = saved.path.read_bytes()
    note = json.loads(end[end.rindex(b'{"version"') : -20])
    assert note["store"] == store.digest


def test_what_made_them_may_be_left_unsaid_and_is_then_nothing(sealed: Path) -> None:
    array = np.ones((7, 3), np.float32)
    assert Features.save(sealed, "unsaid", array).made_by == {}
    assert Features.load(sealed, "unsaid").of([6, 0]).shape == (2, 3)
    with pytest.raises(StaleFeaturesError, match="was made by"):
        Features.load(sealed, "unsaid", made_by=MADE_BY)
    some = Features.save(sealed, "some", array[:2], rows=[1, 2])
    with pytest.raises(FeaturesError, match=r"no features.*the first in row 5"):
        some.of([1, 5])


def forged(store: Store, array: Any, note: Any, rows: bytes = b"") -> str:
    """A file as somebody would write it who knows the format."""
    head = io.BytesIO()
    np.save(head, array)
    text = note if isinstance(note, bytes) else json.dumps(note).encode()
    body = head.getvalue() + rows + text
    end = _file._END.pack(len(text), zlib.crc32(body), _file._MARK)
    folder = store.path.with_name(store.path.name + ".features")
    folder.mkdir(exist_ok=True)
    (folder / "forged.npy").write_bytes(body + end)
    return "forged"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (b"[" * 10_000, "nested deeper"),
        ([], "its note must be a map"),
        (None, "its note must be a map"),
        ({"made_by": [1]}, "made_by must be a map"),
        ({"store": 5}, "store must be a text"),
        ({"rows": 1}, "rows must be true or false"),
        ({"version": 2}, "of version 2"),
        ({"rows": True}, "not as many rows"),
    ],
)
def test_a_hostile_note_is_refused(store: Store, change: Any, message: str) -> None:
    note = {"version": 1, "store": store.manifest.fingerprint, "made_by": {}, "rows": False}
    assert Features.load(store, forged(store, numbers(7), note)).array.shape == (7, 4)
    given = note | change if isinstance(change, dict) else change
    with pytest.raises(FeaturesError, match=message):
        Features.load(store, forged(store, numbers(7), given))


@pytest.mark.parametrize("rows", [[-1, 0], [0, 7], [0, 0], [0]])
def test_a_note_of_rows_that_are_not_the_store_s(store: Store, rows: list[int]) -> None:
    note = {"version": 1, "store": store.manifest.fingerprint, "made_by": {}, "rows": True}
    name = forged(store, numbers(2), note, np.array(rows, "<i8").tobytes())
    with pytest.raises(FeaturesError, match="rows"):
        Features.load(store, name)


HEADS = {
    "a shape beyond int64": "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 1"
    + "0" * 21
    + ")}",
    "a negative shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}",
    "open brackets": "(" * 5000,
    "many signs": "-" * 9000 + "1",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (7, 4)}",
}


@pytest.mark.parametrize("name", HEADS)
def test_a_hostile_head_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    head = HEADS[name].encode() + b"\n"
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"0" * 112)
    with pytest.raises(FeaturesError, match=r"cannot be read as features: it (is not|was cut)"):
        Features.load(store, path)


def test_what_is_no_npy_is_not_opened_or_waited_for(store: Store, tmp_path: Path) -> None:
    archive, pipe = tmp_path / "z.npy", tmp_path / "pipe.npy"
    with archive.open("wb") as file:
        np.savez(file, a=numbers(7))
    os.mkfifo(pipe)
    with pytest.raises(FeaturesError, match=r"it is not a \.npy"):
        Features.load(store, archive)
    with pytest.raises(FeaturesError, match="not a regular file"):
        Features.load(store, pipe)
    for name in (None, 5, b"a"):
        with pytest.raises(UsageError, match="by their name or by a path"):
            Features.load(store, name)  # type: ignore[arg-type]


def test_rows_beyond_the_store_have_no_features(store: Store) -> None:
    found = Features.save(store, "all", numbers(7))
    for rows in ([-1], [7]):
        with pytest.raises(FeaturesError, match="1 of 1 samples have no features"):
            found.of(np.array(rows))
    for given in (np.ones(7, bool), [0.5], "label == 3", None):
        with pytest.raises(UsageError, match="rows must be a list of whole numbers"):
            found.of(given)  # type: ignore[arg-type]


def test_what_cannot_be_saved_is_said(store: Store) -> None:
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"a": deep}
    for made_by in (deep, {"a": "\ud800"}):
        with pytest.raises(UsageError, match="made_by must be what JSON takes"):
            Features.save(store, "x", numbers(7), made_by=made_by)
    with pytest.raises(UsageError, match=r"\[rows, numbers\]"):
        Features.save(store, "x", [[1.0], [1.0, 2.0]])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the name of features"):
        Features.save(store, None, numbers(7))  # type: ignore[arg-type]
