"""A build that goes on trusts nothing that an earlier run left."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from lmdb_reid import Store, StoreWriter
from lmdb_reid.errors import LmdbReidError, StoreDamagedError, StoreWriteError
from lmdb_reid.store import _format, _resumed
from lmdb_reid.store._growing import Growing

Jpegs = Callable[..., bytes]
InChild = Callable[[Callable[[], object]], int]
FRAMES = 4
FILES = ("data.mdb", "work/journal.mdb", "work/settings.json")


@pytest.fixture
def build(jpeg: Jpegs) -> Callable[..., str]:
    """Builds a store as builders do, or the beginning of one; returns its digest."""

    def run(path: Path, *, resume: bool = False, upto: int = FRAMES, seal: bool = True) -> str:
        with StoreWriter(path, settings={"size": [64, 32]}, resume=resume) as writer:
            done = {} if writer.complete else writer.marks()
            for frame in range(upto if not writer.complete else 0):
                samples = [
                    (f"f{frame}#{n}", jpeg(10 * frame + n, (64, 32)), {"label": n, "x": n / 2})
                    for n in range(3)
                ]
                if f"f{frame}" not in done:
                    writer.put_group(f"f{frame}", samples, note={"samples": 3})
            if not seal:
                writer.commit()
                writer.close()
                return ""
            writer.seal()
        with Store(path) as store:
            assert store.verify(deep=True).ok
            return store.digest

    return run


@pytest.fixture
def begun(build: Callable[..., str], tmp_path: Path) -> Path:
    """An unfinished build that lacks its last frame."""
    build(tmp_path / "begun.lmdb", upto=FRAMES - 1, seal=False)
    return tmp_path / "begun.lmdb.partial"


def resumed(begun: Path, name: str) -> Path:
    """The path of a store whose unfinished build is a copy of `begun`."""
    path = begun.with_name(name)
    shutil.copytree(begun, begun.with_name(f"{name}.partial"))
    return path


def stored(partial: Path, key: bytes) -> tuple[Path, int]:
    """(file, place) of the bytes of a stored image."""
    data = partial / "data.mdb"
    with lmdb.open(str(data), subdir=False, lock=False, readonly=True, max_dbs=2) as env:
        with env.begin(db=env.open_db(b"images", create=False)) as txn:
            image = txn.get(key)
    return data, data.read_bytes().index(image)


def flip(file: Path, at: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1 << bit
    file.write_bytes(data)


def test_a_damaged_picture_is_taken_out_with_its_frame_and_cut_again(
    begun: Path, build: Callable[..., str], tmp_path: Path
) -> None:
    wanted = build(tmp_path / "whole.lmdb")
    path = resumed(begun, "a.lmdb")
    file, at = stored(path.with_name("a.lmdb.partial"), b"f1#2")
    flip(file, at + 300)
    with StoreWriter(path, settings={"size": [64, 32]}, resume=True) as writer:
        assert set(writer.marks()) == {"f0", "f2"}
        writer.close()
    assert build(path, resume=True) == wanted


@pytest.mark.parametrize("what", ["image", "record", "facts", "mark"])
def test_what_is_missing_of_a_frame_takes_the_frame_out(
    what: str, begun: Path, build: Callable[..., str], tmp_path: Path
) -> None:
    wanted = build(tmp_path / "whole.lmdb")
    path = resumed(begun, "a.lmdb")
    partial = path.with_name("a.lmdb.partial")
    file = partial / ("data.mdb" if what in ("image", "record") else "work/journal.mdb")
    name = {"image": b"images", "record": b"records", "facts": b"facts", "mark": b"marks"}[what]
    with lmdb.open(str(file), subdir=False, lock=False, max_dbs=3) as env:
        database = env.open_db(name)
        with env.begin(write=True, db=database) as txn:
            assert txn.delete(b"f1" if what == "mark" else b"f1#1")
    with StoreWriter(path, settings={"size": [64, 32]}, resume=True) as writer:
        assert set(writer.marks()) == {"f0", "f2"}
        writer.close()
    assert build(path, resume=True) == wanted


def test_a_sample_without_a_mark_is_an_error_when_damaged(tmp_path: Path, jpeg: Jpegs) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path) as writer:
        for row in range(5):
            writer.put(f"s{row}", jpeg(row, (64, 32)), {"label": row})
        writer.commit()
        writer.close()
    file, at = stored(tmp_path / "a.lmdb.partial", b"s3")
    flip(file, at + 200)
    with pytest.raises(StoreDamagedError, match=r"'s3' .* without a mark: --overwrite"):
        StoreWriter(path, resume=True)
    with StoreWriter(path, overwrite=True) as writer:
        writer.put("s", jpeg(), {})
        writer.seal()


def test_one_mark_of_two_groups_counts_both(tmp_path: Path, jpeg: Jpegs) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path) as writer:
        writer.put_group("m", [("a", jpeg(1), {}), ("b", jpeg(2), {})], note=1)
        writer.put_group("m", [("c", jpeg(3), {})], note=2)
        writer.commit()
        writer.close()
    with StoreWriter(path, resume=True) as writer:
        assert writer.marks() == {"m": 2}
        writer.seal()
    assert list(Store(path)) == ["a", "b", "c"]


def test_settings_that_cannot_be_read_are_not_passed_over(begun: Path) -> None:
    path = resumed(begun, "a.lmdb")
    for text in ("", "[1]", '{"size"', "[" * 100_000):
        (path.with_name("a.lmdb.partial") / "work" / "settings.json").write_text(text)
        with pytest.raises(StoreDamagedError, match=r"settings .* cannot be read: --overwrite"):
            StoreWriter(path, settings={"size": [64, 32]}, resume=True)


def test_a_finished_build_is_compared_before_it_gets_its_name(
    tmp_path: Path, build: Callable[..., str], jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, partial = tmp_path / "a.lmdb", tmp_path / "a.lmdb.partial"
    with monkeypatch.context() as patch:
        patch.setattr("lmdb_reid.store._writer._places.give_name", lambda *_, **__: None)
        with StoreWriter(path, settings={"size": [64, 32]}) as writer:
            writer.put_group("f", [("s", jpeg(1, (64, 32)), {})])
            writer.seal()
    assert (partial / "manifest.json").exists()
    file, at = stored(partial, b"s")
    flip(file, at + 100)
    with pytest.raises(StoreWriteError, match=r"s: its image .* --overwrite"):
        build(path, resume=True)
    flip(file, at + 100)
    assert build(path, resume=True)


def test_a_build_that_was_not_resumed_compares_nothing(
    tmp_path: Path, build: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("nothing is to be compared")

    for name in ("check_structure", "fill_up", "take_out_damaged"):
        monkeypatch.setattr(f"lmdb_reid.store._unfinished.{name}", refused)
    assert build(tmp_path / "a.lmdb")


def test_pages_that_lmdb_freed_before_it_wrote_them_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, chance, kept = tmp_path / "a.mdb", random.Random(0), dict[bytes, int]()
    growing = Growing(file, (_format.IMAGES_DB,))
    database = growing.dbs[_format.IMAGES_DB]

    def missing() -> int:
        info, page = growing.env.info(), growing.env.stat()["psize"]
        return int((info["last_pgno"] + 1) * page - file.stat().st_size)

    for _ in range(100):
        for _ in range(chance.randrange(1, 40)):
            if kept and chance.random() < 0.5:
                key = chance.choice(list(kept))
                del kept[key]
                growing.txn.delete(key, db=database)
            else:
                key, size = b"%06d" % chance.randrange(10**6), chance.choice((100, 3000, 9000))
                kept[key] = size
                growing.txn.put(key, b"v" * size, db=database)
        growing.commit()
        if missing() > 0:
            break
    assert missing() > 0
    with monkeypatch.context() as patch, pytest.raises(StoreDamagedError, match="last page ends"):
        patch.setattr(_resumed, "_MOST_MISSING", 0)
        _resumed.fill_up(growing, file)
    _resumed.fill_up(growing, file)
    assert missing() == 0
    _resumed.check_structure(file)
    with growing.env.begin() as txn:
        assert {key: len(txn.get(key, db=database)) for key in kept} == kept
    growing.close()


def test_journal_entries_that_are_none() -> None:
    for entry in (b"", b"\0", b"\0\0\0\0", struct.pack("<I", 1) + b"x" * 64):
        with pytest.raises(StoreDamagedError, match="is damaged"):
            _format.Facts.unpack(b"a", entry)
        with pytest.raises(StoreDamagedError, match="is damaged"):
            _resumed.unpacked_mark(b"a", entry)
    facts = _format.Facts(1, 2, 3, 4, 5, 6, -1, bytes(range(32)), "m", {"blur": 0.5})
    assert _format.Facts.unpack(b"a", facts.pack(b"a")) == facts
    with pytest.raises(StoreDamagedError, match="'b' is damaged"):
        _format.Facts.unpack(b"b", facts.pack(b"a"))


def test_single_faults_in_an_unfinished_build_end_in_the_right_store_or_in_an_error(
    begun: Path, build: Callable[..., str], tmp_path: Path, in_child: InChild
) -> None:
    """In a child, which a fault that LMDB met unchecked would end by a signal."""
    wanted = build(tmp_path / "whole.lmdb")
    notes = tmp_path / "notes.json"

    def all_of_them() -> None:
        random_number, found = random.Random(7), Counter[str]()
        for number in range(120):
            path = resumed(begun, f"{number}.lmdb")
            file = path.with_name(f"{number}.lmdb.partial") / FILES[number % 3]
            size = file.stat().st_size
            if number % 10 == 9 and number % 3 < 2:
                with file.open("r+b") as opened:
                    opened.truncate(random_number.randrange(size))
            else:
                flip(file, random_number.randrange(size), random_number.randrange(8))
            try:
                digest = build(path, resume=True)
                found["right" if digest == wanted else f"wrong after {number}"] += 1
            except LmdbReidError as error:
                assert str(error), number
                found["typed"] += 1
            for left in path.parent.glob(f"{number}.lmdb*"):
                shutil.rmtree(left)
        notes.write_text(json.dumps(found))

    assert in_child(all_of_them) == 0
    found = json.loads(notes.read_text())
    assert set(found) == {"right", "typed"}, found
    assert found["right"] > 60, found
