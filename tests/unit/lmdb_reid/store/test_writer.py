from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmdb_reid import Store, StoreWriter, _disk
from lmdb_reid.errors import (
    DuplicateSampleError,
    InvalidSampleError,
    LmdbReidError,
    ResumeError,
    StoreBusyError,
    StoreClosedError,
    StoreDamagedError,
    StoreExistsError,
    StoreNotFoundError,
    StoreWriteError,
    UsageError,
)
from lmdb_reid.store import NewSample, _growing, _places
from lmdb_reid.store._growing import Growing

Jpegs = Callable[..., bytes]
Group = tuple[str, list[tuple[str, bytes, dict[str, Any]]]]
SETTINGS = {"size": [32, 16], "quality": 95}


@pytest.fixture
def groups(jpeg: Jpegs) -> list[Group]:
    """Five frames of three samples, as a builder would put them."""
    return [
        (
            f"f{frame}",
            [(f"f{frame}#{n:03d}", jpeg(10 * frame + n), {"label": n}) for n in range(3)],
        )
        for frame in range(5)
    ]


def build(path: Path, groups: list[Group], **arguments: Any) -> str:
    """A build as a builder does it: resumes what is there, puts what is missing, seals. Returns the
    content digest.
    """
    with StoreWriter(path, settings=SETTINGS, **arguments) as writer:
        if not writer.complete:
            done = writer.marks()
            for at, (mark, samples) in enumerate(groups):
                if mark not in done:
                    writer.put_group(mark, samples, note={"samples": len(samples)})
                if at == 1:
                    writer.commit()
        writer.attach("report.json", b"{}")
        writer.seal()
    return Store(path).digest


def leave(writer: StoreWriter) -> None:
    """End a build without sealing it, all of it on the disk."""
    writer.commit()
    writer.close()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# -- what goes in comes out


def test_what_was_put_comes_back(tmp_path: Path, jpeg: Jpegs) -> None:
    record = {"label": 7, "quarter": "Q1", "x": 1.5, "tags": ["a", 1], "raw": b"\0\xff", "no": None}
    with StoreWriter(tmp_path / "a.lmdb", source={"root": "games"}) as writer:
        writer.put("b#000", jpeg(1), record)
        writer.put("a#000", jpeg(2, (64, 48)), {"kind": 1})
        assert writer.seal() == tmp_path / "a.lmdb"
    store = Store(tmp_path / "a.lmdb")
    assert list(store) == ["a#000", "b#000"]
    sample = store["b#000"]
    assert (sample.jpeg, sample.label, sample.kind) == (jpeg(1), 7, 0)
    assert sample.record == {**record, "kind": 0}
    assert store["a#000"].record == {"label": -1, "kind": 1}
    assert store.columns["height"].tolist() == [64, 32]
    assert store.columns["width"].tolist() == [48, 16]
    assert store.manifest.source["root"] == "games"
    assert store.verify(deep=True).ok


def test_only_the_sealed_store_stands_at_the_end(tmp_path: Path, groups: list[Group]) -> None:
    path = tmp_path / "a.lmdb"
    build(path, groups)
    assert names(tmp_path) == ["a.lmdb"]
    assert names(path) == ["columns", "data.mdb", "manifest.json", "report.json"]


def test_nothing_is_visible_before_sealing(tmp_path: Path, jpeg: Jpegs) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path) as writer:
        writer.put("a", jpeg(), {})
        writer.commit()
        assert names(tmp_path) == ["a.lmdb.partial"]
        with pytest.raises(StoreNotFoundError, match=r"unfinished build.*--resume"):
            Store(path)
        with pytest.raises(StoreNotFoundError):
            Store(tmp_path / "a.lmdb.partial")


@pytest.mark.parametrize(
    "sample_id", ["x" * 511, "é" * 255, "Q1/frame 7#000", "日本#bg000", "#", " ", "\U0001f3c0"]
)
def test_ids_of_any_script_and_length(sample_id: str, tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        for other in ("a", "z", sample_id, "￿"):
            writer.put(other, jpeg(), {"label": len(other)})
        writer.seal()
    store = Store(tmp_path / "a.lmdb")
    assert list(store) == sorted(["a", "z", sample_id, "￿"], key=str.encode)
    assert store[sample_id].label == len(sample_id)
    assert store.ids[store.row(sample_id)] == sample_id


# -- how a block ends


def test_a_block_that_ends_well_seals(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(1), {"label": 7})
        writer.attach("notes.txt", b"mine")
    assert names(tmp_path) == ["a.lmdb"]
    assert (tmp_path / "a.lmdb" / "notes.txt").read_bytes() == b"mine"
    assert Store(tmp_path / "a.lmdb")["a"].label == 7


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_block_that_an_exception_ends_leaves_what_can_be_resumed(
    error: type[BaseException], tmp_path: Path, jpeg: Jpegs
) -> None:
    with pytest.raises(error), StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(1), {})
        writer.commit()
        raise error
    assert names(tmp_path) == ["a.lmdb.partial"]
    with StoreWriter(tmp_path / "a.lmdb", resume=True) as writer:
        writer.put("b", jpeg(2), {})
    assert list(Store(tmp_path / "a.lmdb")) == ["a", "b"]


def test_a_block_whose_writer_was_closed_does_not_seal(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(1), {})
        leave(writer)
    assert names(tmp_path) == ["a.lmdb.partial"]


def test_a_block_that_puts_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidSampleError, match="nothing was put"):
        with StoreWriter(tmp_path / "a.lmdb"):
            pass
    assert names(tmp_path) == ["a.lmdb.partial"]


def test_a_block_seals_what_an_earlier_run_left_whole(
    tmp_path: Path, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lmdb"
    with monkeypatch.context() as patch:
        patch.setattr(_places, "give_name", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(path, groups)
    with StoreWriter(path, settings=SETTINGS, resume=True) as writer:
        assert writer.complete
    assert len(Store(path)) == 15


# -- what cannot go in


@pytest.mark.parametrize("sample_id", ["", "x" * 512, "é" * 256, "a\n", "\0", "\x7f", "\ud800"])
def test_ids_that_cannot_be(sample_id: str, tmp_path: Path, jpeg: Jpegs) -> None:
    with (
        pytest.raises(InvalidSampleError, match="sample id"),
        StoreWriter(tmp_path / "a.lmdb") as writer,
    ):
        writer.put(sample_id, jpeg(), {})


@pytest.mark.parametrize("image", [b"", b"\x89PNG", b"\xff\xd8\xff\xd9", b"GIF89a"])
def test_images_that_are_no_jpeg(image: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidSampleError, match=r"f#1: a store holds JPEG only"):
        with StoreWriter(tmp_path / "a.lmdb") as writer:
            writer.put("f#1", image, {})


@pytest.mark.parametrize(
    "record",
    [
        {"label": 1.0},
        {"label": "1"},
        {"label": None},
        {"label": True},
        {"label": -2},
        {"label": 1 << 63},
        {"label": np.float64(3)},
        {"label": np.int64(-2)},
        {"kind": 5},
        {"kind": -1},
        {"kind": "person"},
        {"kind": False},
        {"kind": 1, "label": 4},
        {"kind": 2, "label": 0},
        {"kind": 3, "label": 9},
        {"x": object()},
        {"x": np.zeros(1)},
        {"x": {1, 2}},
        {"x": 1 << 64},
        {"x": "\ud800"},
        {"": 1},
        {7: 1},
    ],
)
def test_records_that_cannot_be(record: Mapping[str, Any], tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        with pytest.raises(InvalidSampleError, match=r"^f#1: "):
            writer.put("f#1", jpeg(), record)
        writer.put("f#2", jpeg(), {"kind": 4, "label": 3})
        writer.seal()
    assert list(Store(tmp_path / "a.lmdb")) == ["f#2"]


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ({"a": [1, None, {"b": 2.5}]}, True),
        ([{"a": {"": [True, "é"]}}], True),
        (b"\0\xff", True),
        ({1: 2}, False),
        ([{"a": {2.5: 1}}], False),
        ({None: 1}, False),
    ],
    ids=str,
)
def test_a_record_that_was_taken_can_be_sealed(
    value: Any, taken: bool, tmp_path: Path, jpeg: Jpegs
) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(), {})
        with contextlib.nullcontext() if taken else pytest.raises(InvalidSampleError):
            writer.put("b", jpeg(), {"x": value})
        writer.seal()
    store = Store(tmp_path / "a.lmdb")
    assert list(store) == (["a", "b"] if taken else ["a"])
    assert not taken or store["b"].record["x"] == value


def test_a_duplicate_leaves_nothing_of_its_group(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put_group("f1", [("f1#0", jpeg(1), {"label": 1})])
        for again in (
            [("f2#0", jpeg(2), {}), ("f1#0", jpeg(3), {}), ("f2#1", jpeg(4), {})],
            [("f3#0", jpeg(5), {}), ("f3#1", jpeg(6), {}), ("f3#0", jpeg(7), {})],
        ):
            with pytest.raises(DuplicateSampleError, match=r"'f(1|3)#0'"):
                writer.put_group("f2", again)
        assert set(writer.marks()) == {"f1"}
        writer.put("f2#0", jpeg(8), {"label": 8})
        writer.seal()
    store = Store(tmp_path / "a.lmdb")
    assert {sample_id: store[sample_id].label for sample_id in store} == {"f1#0": 1, "f2#0": 8}
    assert store["f1#0"].jpeg == jpeg(1)
    assert store.verify(deep=True).ok


def test_a_duplicate_is_found_in_an_earlier_run_too(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(1), {})
        leave(writer)
    with pytest.raises(DuplicateSampleError):
        with StoreWriter(tmp_path / "a.lmdb", resume=True) as writer:
            writer.put("a", jpeg(1), {})


def test_a_bad_sample_leaves_nothing_of_its_group(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        with pytest.raises(InvalidSampleError):
            writer.put_group("f", [("f#0", jpeg(), {}), ("f#1", jpeg(), {"label": -7})])
        writer.put("g#0", jpeg(), {})
        writer.seal()
    assert list(Store(tmp_path / "a.lmdb")) == ["g#0"]


@pytest.mark.parametrize(("mark", "note"), [("f", object()), ("f" * 600, None), ("\ud800", None)])
def test_a_mark_or_note_that_cannot_be_kept_leaves_nothing_of_its_group(
    mark: str, note: object, tmp_path: Path, jpeg: Jpegs
) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        with pytest.raises((UsageError, InvalidSampleError)):
            writer.put_group(mark, [("f#0", jpeg(), {})], note=note)
        writer.put("g#0", jpeg(), {})
        assert writer.marks() == {}
        writer.seal()
    assert list(Store(tmp_path / "a.lmdb")) == ["g#0"]


def test_a_store_of_nothing_is_not_sealed(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        with pytest.raises(InvalidSampleError, match="nothing was put"):
            writer.seal()
    assert names(tmp_path) == ["a.lmdb.partial"]


def test_a_closed_writer_says_so(tmp_path: Path, jpeg: Jpegs) -> None:
    writer = StoreWriter(tmp_path / "a.lmdb")
    writer.put("a", jpeg(), {})
    writer.close()
    writer.close()
    for act in (lambda: writer.put("b", jpeg(), {}), writer.commit, writer.marks, writer.seal):
        with pytest.raises(StoreClosedError):
            act()


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "../a", "manifest.json", "data.mdb", "columns", "work", "replaces", ".", ".."],
)
def test_names_that_cannot_be_attached(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError), StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.attach(name, b"")


def test_settings_that_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        StoreWriter(tmp_path / "a.lmdb", settings={"root": tmp_path})
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_was_put_is_kept_as_it_was(
    kind: Callable[[Any], Any], tmp_path: Path, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Growing puts again what was put before: by then, its owner may have written over it."""
    monkeypatch.setattr(_growing, "FIRST_MAP", 1 << 15)
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        image, record = bytearray(jpeg(0)), {"x": 1}
        writer.put("a", kind(image), record)
        image[:] = bytes(len(image))
        record["x"] = 2
        for row in range(60):
            writer.put(f"b{row:02d}", jpeg(row, (64, 64)), {})
        writer.seal()
    store = Store(tmp_path / "a.lmdb")
    assert store["a"].jpeg == jpeg(0)
    assert store["a"].record["x"] == 1
    assert store.verify(deep=True).ok


# -- digest


def test_the_digest_knows_no_order_and_no_paths(tmp_path: Path, groups: list[Group]) -> None:
    digest = build(tmp_path / "a.lmdb", groups)
    (tmp_path / "elsewhere").mkdir()
    assert (
        build(tmp_path / "elsewhere" / "b.lmdb", groups[::-1], source={"date": "today"}) == digest
    )
    assert build(tmp_path / "c.lmdb", groups[1:]) != digest


@pytest.mark.parametrize("change", ["id", "image", "record"])
def test_the_digest_knows_every_part_of_a_sample(
    change: str, tmp_path: Path, groups: list[Group], jpeg: Jpegs
) -> None:
    digest = build(tmp_path / "a.lmdb", groups)
    mark, samples = groups[2]
    sample_id, image, record = samples[1]
    samples[1] = {
        "id": ("f2#009", image, record),
        "image": (sample_id, jpeg(99), record),
        "record": (sample_id, image, {**record, "x": 1}),
    }[change]
    assert build(tmp_path / "b.lmdb", [*groups[:2], (mark, samples), *groups[3:]]) != digest


def test_digests_of_parts_add_up_to_the_whole(tmp_path: Path, groups: list[Group]) -> None:
    whole = int(build(tmp_path / "whole.lmdb", groups), 16)
    one = int(build(tmp_path / "one.lmdb", groups[:2]), 16)
    other = int(build(tmp_path / "other.lmdb", groups[2:]), 16)
    assert (one + other) % (1 << 256) == whole


# -- map growth


@pytest.mark.parametrize("first_map", [1 << 15, 50_000, 1 << 17])
@pytest.mark.parametrize("group_size", [1, 7, 60])
def test_a_map_that_grows_many_times_loses_nothing(
    first_map: int,
    group_size: int,
    tmp_path: Path,
    jpeg: Jpegs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = [(f"f#{i:03d}", jpeg(i % 7, (64, 64)), {"label": i}) for i in range(60)]
    frames = [
        (f"m{at}", samples[at : at + group_size]) for at in range(0, len(samples), group_size)
    ]
    grown = []

    def grow(env: Growing, plain: Callable[[Growing], None] = Growing.grow) -> None:
        grown.append(env)
        plain(env)

    monkeypatch.setattr(_growing, "FIRST_MAP", first_map)
    monkeypatch.setattr(Growing, "grow", grow)
    path = tmp_path / "a.lmdb"
    with StoreWriter(path) as writer:
        for mark, group in frames:
            writer.put_group(mark, group)
        assert set(writer.marks()) == {mark for mark, _ in frames}
        writer.seal()
    assert len(grown) >= 4 or first_map > 100_000, "this test is about growing"
    store = Store(path)
    assert len(store) == 60
    assert [store.at(row).jpeg for row in range(60)] == [image for _, image, _ in samples]
    assert store.columns["label"].tolist() == list(range(60))
    assert store.verify(deep=True).ok


def test_growing_keeps_marks_notes_and_duplicates_right(
    tmp_path: Path, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_growing, "FIRST_MAP", 1 << 15)
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        for frame in range(40):
            writer.put_group(f"f{frame:02d}", [(f"f{frame:02d}#0", jpeg(frame), {})], note=[frame])
            with pytest.raises(DuplicateSampleError):
                large = [(f"g{frame}#{n}", jpeg(n), {}) for n in range(4)]
                writer.put_group("g", [*large, (f"f{frame:02d}#0", jpeg(1), {})])
        assert writer.marks() == {f"f{frame:02d}": [frame] for frame in range(40)}
        writer.seal()
    store = Store(tmp_path / "a.lmdb")
    assert list(store) == [f"f{frame:02d}#0" for frame in range(40)]
    assert store.verify(deep=True).ok


def test_the_size_of_commits_does_not_matter(
    tmp_path: Path, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = build(tmp_path / "a.lmdb", groups)
    for commit_bytes in (1, 3000, 1 << 30):
        monkeypatch.setattr(_growing, "COMMIT_BYTES", commit_bytes)
        monkeypatch.setattr(_growing, "FIRST_MAP", 1 << 15)
        assert build(tmp_path / f"{commit_bytes}.lmdb", groups) == digest


frames = st.lists(st.integers(0, 12), min_size=1, max_size=14)
events = st.lists(st.sampled_from(["nothing", "commit", "end", "crash", "duplicate", "invalid"]))


@settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(frames=frames, happening=events, commit_bytes=st.sampled_from([1, 20_000, 1 << 30]))
def test_any_history_of_a_build_ends_in_whole_frames(
    frames: list[int], happening: list[str], commit_bytes: int, tmp_path: Path, jpeg: Jpegs
) -> None:
    """Frames in any order, small maps, crashes and bad input: what has a mark is in, and whole."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_growing, "FIRST_MAP", 1 << 15)
        patch.setattr(_growing, "COMMIT_BYTES", commit_bytes)
        path = Path(folder) / "a.lmdb"
        writer = StoreWriter(path)
        for frame, event in zip_longest(frames, happening[: len(frames)], fillvalue="nothing"):
            samples = [
                (f"f{frame:02}#{n}", jpeg(int(frame) * 3 + n, (32, 32)), {"x": n}) for n in range(3)
            ]
            bad = {"duplicate": ("z", *samples[0][1:]), "invalid": ("z", b"", {})}.get(event)
            with contextlib.suppress(DuplicateSampleError, InvalidSampleError):
                writer.put_group(f"f{frame:02}", [*samples, *([bad, bad] if bad else [])])
            if event == "commit":
                writer.commit()
            elif event in ("end", "crash"):
                if event == "end":
                    writer.commit()
                writer.close()
                writer = StoreWriter(path, resume=True)
        writer.put_group("last", [("last", jpeg(99), {})])
        marks = set(writer.marks()) - {"last"}
        writer.seal()
        store = Store(path)
        wanted = [f"{mark}#{n}" for mark in sorted(marks) for n in range(3)]
        assert list(store) == [*wanted, "last"]
        for sample_id in wanted:
            frame, n = int(sample_id[1:3]), int(sample_id[-1])
            assert store[sample_id].jpeg == jpeg(frame * 3 + n, (32, 32))
        assert store.verify(deep=True).ok
        store.close()


# -- how it writes


def test_nothing_is_written_through_a_map(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(), {})
        assert writer._build is not None
        flags = writer._build.data.env.flags()
        assert not flags["writemap"]
        assert not flags.get("map_async", False)
        assert flags["sync"]
        assert flags["metasync"]
        maps = Path("/proc/self/maps")
        if maps.exists():
            mine = [line for line in maps.read_text().splitlines() if str(tmp_path) in line]
            assert mine
            assert not [line for line in mine if "w" in line.split()[1]]
        leave(writer)


def test_everything_is_synced_before_the_rename(
    tmp_path: Path, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    at_rename: set[int] = set()
    path = tmp_path / "a.lmdb"

    def fsync(descriptor: int, sync: Callable[[int], None] = os.fsync) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def renamed(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]) == str(path) and not at_rename:
            at_rename.update(synced)

    monkeypatch.setattr(os, "fsync", fsync)
    sys.addaudithook(renamed)  # stays for the process, and looks at this path alone
    build(path, groups)
    assert at_rename
    for entry in [path, *path.rglob("*")]:
        if entry.name == "data.mdb":  # LMDB syncs it at each commit, by calls of its own
            continue
        assert entry.stat().st_ino in at_rename, f"{entry.name} was not synced before the rename"
    assert tmp_path.stat().st_ino in synced - at_rename, "the rename itself was not synced"


def test_a_commit_that_fails_loses_nothing_silently(
    tmp_path: Path, jpeg: Jpegs, in_child: Callable[[Callable[[], object]], int]
) -> None:
    path = tmp_path / "a.lmdb"
    samples = [(f"f#{i:03d}", jpeg(i, (64, 64)), {"label": i}) for i in range(64)]

    def fill_the_disk_and_go_on() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        writer = StoreWriter(path)
        writer.put_group("first", samples[:4])
        writer.commit()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(StoreWriteError):
            writer.put_group("second", samples[4:])
            writer.commit()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        with contextlib.suppress(LmdbReidError):  # to refuse is right; to seal a part is not
            writer.seal()

    assert in_child(fill_the_disk_and_go_on) == 0
    if not path.exists():
        with StoreWriter(path, resume=True) as writer:
            done = writer.marks()
            assert set(done) == {"first"}
            writer.put_group("second", samples[4:])
            writer.seal()
    store = Store(path)
    assert len(store) == 64
    assert store.verify(deep=True).ok


def test_no_space_is_told_as_such(
    tmp_path: Path, jpeg: Jpegs, in_child: Callable[[Callable[[], object]], int]
) -> None:
    def fill_the_disk() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        with pytest.raises(StoreWriteError, match=r"a\.lmdb failed.*--resume"):
            with StoreWriter(tmp_path / "a.lmdb") as writer:
                for i in range(200):
                    writer.put(f"f#{i:03d}", jpeg(i % 7, (64, 64)), {})

    assert in_child(fill_the_disk) == 0


def test_a_place_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreWriteError, match="file"):
        StoreWriter(tmp_path / "file" / "a.lmdb")


def test_another_process_at_work_is_told(tmp_path: Path, jpeg: Jpegs) -> None:
    path = tmp_path / "a.lmdb"
    said, say = os.pipe()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        writer = StoreWriter(path)
        os.write(say, b"x")
        os.read(told, 1)
        writer.put("a", jpeg(), {})
        writer.seal()
        os._exit(0)
    try:
        os.read(said, 1)
        for arguments in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(StoreBusyError, match="another process"):
                StoreWriter(path, **arguments)
    finally:
        os.write(tell, b"x")
        status = os.waitpid(pid, 0)[1]
        for descriptor in (said, say, told, tell):
            os.close(descriptor)
    assert status == 0
    assert len(Store(path)) == 1


def test_the_claim_goes_with_the_writer(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(), {})
        with pytest.raises(StoreBusyError):
            StoreWriter(tmp_path / "a.lmdb", resume=True)
        leave(writer)
    with StoreWriter(tmp_path / "a.lmdb", resume=True) as writer:
        assert writer.seal()


# -- resuming


def test_an_unfinished_build_is_not_touched_unasked(tmp_path: Path, groups: list[Group]) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path, settings=SETTINGS) as writer:
        writer.put_group(*groups[0])
        leave(writer)
    with pytest.raises(StoreExistsError, match=r"--resume.*--overwrite"):
        StoreWriter(path, settings=SETTINGS)
    with StoreWriter(path, settings=SETTINGS, resume=True) as writer:
        assert writer.marks() == {"f0": None}
        leave(writer)
    with StoreWriter(path, settings=SETTINGS, overwrite=True) as writer:
        assert writer.marks() == {}
        leave(writer)


def test_resuming_nothing_begins(tmp_path: Path, groups: list[Group]) -> None:
    assert build(tmp_path / "a.lmdb", groups, resume=True) == build(tmp_path / "b.lmdb", groups)


def test_resuming_with_other_settings_names_what_differs(tmp_path: Path, jpeg: Jpegs) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path, settings={"size": (32, 16), "quality": 95, "seed": 0}) as writer:
        writer.put("a", jpeg(), {})
        leave(writer)
    with pytest.raises(ResumeError) as caught:
        StoreWriter(path, settings={"size": (32, 16), "quality": 90, "expand": 1.2}, resume=True)
    told = str(caught.value)
    assert "quality was 95, is now 90" in told
    assert "seed was 0, is now None" in told
    assert "expand was None, is now 1.2" in told
    assert "size" not in told
    same = {"seed": 0, "quality": 95, "size": [32, 16]}
    with StoreWriter(path, settings=same, resume=True) as writer:
        writer.seal()


def test_where_it_comes_from_is_not_compared(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb", source={"date": "monday"}) as writer:
        writer.put("a", jpeg(), {})
        leave(writer)
    with StoreWriter(tmp_path / "a.lmdb", source={"date": "friday"}, resume=True) as writer:
        writer.seal()
    assert Store(tmp_path / "a.lmdb").manifest.source["date"] == "friday"


def test_what_an_error_left_can_be_resumed(tmp_path: Path, groups: list[Group]) -> None:
    path = tmp_path / "a.lmdb"
    with pytest.raises(ZeroDivisionError), StoreWriter(path, settings=SETTINGS) as writer:
        writer.put_group(*groups[0])
        writer.commit()
        writer.put_group(*groups[1])
        raise ZeroDivisionError
    with StoreWriter(path, settings=SETTINGS, resume=True) as writer:
        assert set(writer.marks()) == {"f0"}
        leave(writer)
    assert build(path, groups, resume=True) == build(tmp_path / "b.lmdb", groups)


def test_nothing_can_be_put_into_a_build_that_is_whole(
    tmp_path: Path, groups: list[Group], jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lmdb"
    with monkeypatch.context() as patch:
        patch.setattr(_places, "give_name", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(path, groups)
    with StoreWriter(path, settings=SETTINGS, resume=True) as writer:
        assert writer.complete
        with pytest.raises(LmdbReidError):
            writer.put("late", jpeg(), {})
        writer.seal()
    store = Store(path)
    assert "late" not in store
    assert store.verify(deep=True).ok
    assert store.manifest.parts[0].count == len(store) == 15


def test_torn_settings_are_written_anew(tmp_path: Path, jpeg: Jpegs) -> None:
    path = tmp_path / "a.lmdb"
    StoreWriter(path, settings={"seed": 0}).close()
    (settings,) = (tmp_path / "a.lmdb.partial" / "work").glob("settings*")
    settings.write_bytes(b"")  # as a crash of the machine leaves it
    with StoreWriter(path, settings={"seed": 1}, resume=True) as writer:
        writer.put("a", jpeg(), {})
        leave(writer)
    with pytest.raises(ResumeError, match="seed was 1, is now 2"):
        StoreWriter(path, settings={"seed": 2}, resume=True)


# -- killed


class Kill:
    """An audit hook that kills the process at the n-th thing it does to files under a folder: just
    before it, or, where it opens a file to write, just after, when the file is there and empty.
    """

    EVENTS = frozenset(
        ["open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree",
         "ctypes.dlsym"]
    )  # fmt: skip

    def __init__(self, at: int, *, torn: bool) -> None:
        self.left = at
        self.torn = torn

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in self.EVENTS or self.left < 0:
            return
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
        if self.torn and not writes:
            return
        if event == "open" and not writes:
            return
        self.left -= 1
        if self.left < 0:
            if self.torn:
                os.close(os.open(arguments[0], os.O_CREAT | os.O_TRUNC | os.O_WRONLY))
            os.kill(os.getpid(), signal.SIGKILL)


def killed_everywhere(
    work: Callable[[], object], in_child: Callable[[Callable[[], object]], int]
) -> Iterator[str]:
    """Runs `work` in children that are killed at one point after the other, until one is not."""
    for torn in (False, True):
        for at in range(1000):

            def run(at: int = at, torn: bool = torn) -> None:
                sys.addaudithook(Kill(at, torn=torn))
                work()

            status = in_child(run)
            assert status in (0, -signal.SIGKILL)
            yield f"killed {'after' if torn else 'before'} step {at}" if status else "not killed"
            if status == 0:
                assert at > 3, "this test is about being killed"
                break


def test_a_build_killed_anywhere_resumes_to_the_same_store(
    tmp_path: Path, groups: list[Group], in_child: Callable[[Callable[[], object]], int]
) -> None:
    wanted = build(tmp_path / "undisturbed.lmdb", groups)
    path = tmp_path / "a" / "a.lmdb"
    for when in killed_everywhere(lambda: build(path, groups), in_child):
        if path.exists():  # the last step was done: it must be whole
            assert Store(path).digest == wanted, when
            assert Store(path).verify(deep=True).ok, when
        else:
            with pytest.raises(StoreNotFoundError):
                Store(path)
            try:
                assert build(path, groups, resume=True) == wanted, when
            except LmdbReidError as error:
                pytest.fail(f"{when}: {error!r}")
            assert Store(path).verify(deep=True).ok, when
        shutil.rmtree(tmp_path / "a")


@pytest.mark.parametrize(
    ("exchange", "finish"),
    [
        (True, "both"),
        (False, "resume"),
        *[
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (True, "resume"),
                (True, "overwrite"),
                (False, "overwrite"),
                (False, "both"),
            ]
        ],
    ],
)
def test_an_overwrite_killed_anywhere_leaves_the_old_or_the_new_store(
    exchange: bool,
    finish: str,
    tmp_path: Path,
    groups: list[Group],
    in_child: Callable[[Callable[[], object]], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = groups[:2], groups[1:]
    wanted = build(tmp_path / "undisturbed.lmdb", new)
    arguments = {"resume": finish != "overwrite", "overwrite": finish != "resume"}
    if not exchange:
        monkeypatch.setattr(_disk, "exchange", lambda *_: False)
    path = tmp_path / "a" / "a.lmdb"
    before = build(tmp_path / "old.lmdb", old)
    shutil.copytree(tmp_path / "old.lmdb", path)
    for when in killed_everywhere(lambda: build(path, new, overwrite=True), in_child):
        seen = Store(path)
        assert seen.digest in (before, wanted), when
        assert seen.verify(deep=True).ok, when
        del seen
        try:
            build(path, new, **arguments)
        except StoreExistsError:  # nothing was left to resume
            assert finish == "resume", when
            assert Store(path).digest in (before, wanted), when
        except LmdbReidError as error:
            pytest.fail(f"{when}: {error!r}")
        else:
            assert Store(path).digest == wanted, when
            assert names(path.parent) == ["a.lmdb"], when
        shutil.rmtree(tmp_path / "a")
        shutil.copytree(tmp_path / "old.lmdb", path)


@pytest.mark.parametrize("exchange", [True, False], ids=["one rename", "two renames"])
def test_a_crash_after_the_exchange_does_not_bring_the_old_store_back(
    exchange: bool, tmp_path: Path, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lmdb"
    build(path, groups[:2])
    wanted = build(tmp_path / "undisturbed.lmdb", groups)
    if not exchange:
        monkeypatch.setattr(_disk, "exchange", lambda *_: False)

    def crash(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_places, "_remove", crash)
        with pytest.raises(KeyboardInterrupt):
            build(path, groups, overwrite=True)
    assert Store(path).digest == wanted
    assert build(path, groups, resume=True, overwrite=True) == wanted
    assert names(tmp_path) == ["a.lmdb", "undisturbed.lmdb"]


# -- overwriting


def test_a_store_that_is_there_is_refused(tmp_path: Path, groups: list[Group]) -> None:
    path = tmp_path / "a.lmdb"
    digest = build(path, groups)
    for arguments in ({}, {"resume": True}):
        with pytest.raises(StoreExistsError, match="--overwrite"):
            StoreWriter(path, **arguments)
    assert Store(path).digest == digest
    assert names(tmp_path) == ["a.lmdb"]


@pytest.mark.parametrize("exchange", [True, False], ids=["one rename", "two renames"])
def test_overwriting_replaces_when_sealed_and_not_before(
    exchange: bool, tmp_path: Path, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(_disk, "exchange", lambda *_: False)
    path = tmp_path / "a.lmdb"
    before = build(path, groups[:2])
    reading = Store(path)
    first = reading.at(0)
    with StoreWriter(path, settings=SETTINGS, overwrite=True) as writer:
        writer.put_group(*groups[3])
        writer.commit()
        assert Store(path).digest == before
        writer.seal()
    assert len(Store(path)) == 3
    assert names(tmp_path) == ["a.lmdb"]
    assert names(path) == ["columns", "data.mdb", "manifest.json"]
    assert reading.at(0) == first, "what was open stays readable"


def test_a_failed_overwrite_leaves_the_old_store(
    tmp_path: Path, groups: list[Group], jpeg: Jpegs
) -> None:
    path = tmp_path / "a.lmdb"
    before = build(path, groups)
    with pytest.raises(InvalidSampleError), StoreWriter(path, overwrite=True) as writer:
        writer.put("a", jpeg(), {})
        writer.put("b", b"no jpeg", {})
    assert Store(path).digest == before
    assert Store(path).verify(deep=True).ok


@pytest.mark.parametrize(
    "content",
    [
        {"precious.txt": "mine"},
        {"manifest.json": '{"name": "an extension", "version": "1.0"}', "main.js": ""},
        {"manifest.json": "not json", "main.js": ""},
        {"manifest.json": "[]", "main.js": ""},
        {"data.mdb": "somebody's LMDB"},
        None,
    ],
    ids=["folder", "other manifest", "no json", "a list", "plain LMDB", "file"],
)
def test_what_is_no_store_is_not_overwritten(
    content: dict[str, str] | None, tmp_path: Path, jpeg: Jpegs
) -> None:
    path = tmp_path / "mine"
    if content is None:
        path.write_text("mine")
    else:
        path.mkdir()
        for name, text in content.items():
            (path / name).write_text(text)
    with pytest.raises(StoreExistsError, match="is not a store"):
        with StoreWriter(path, overwrite=True) as writer:
            writer.put("a", jpeg(), {})
            writer.seal()
    if content is None:
        assert path.read_text() == "mine"
    else:
        assert {file.name: file.read_text() for file in path.iterdir()} == content


def test_a_damaged_store_can_be_overwritten(tmp_path: Path, groups: list[Group]) -> None:
    path = tmp_path / "a.lmdb"
    wanted = build(path, groups)
    (path / "data.mdb").write_bytes(b"")
    with pytest.raises(StoreDamagedError):
        Store(path)
    assert build(path, groups, overwrite=True) == wanted


def test_an_empty_folder_is_no_obstacle_to_an_overwrite(
    tmp_path: Path, groups: list[Group]
) -> None:
    (tmp_path / "a.lmdb").mkdir()
    build(tmp_path / "a.lmdb", groups, overwrite=True)
    assert names(tmp_path) == ["a.lmdb"]


def test_overwriting_through_a_symbolic_link(tmp_path: Path, groups: list[Group]) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "here").mkdir()
    build(tmp_path / "disk" / "a.lmdb", groups[:1])
    link = tmp_path / "here" / "current.lmdb"
    link.symlink_to(tmp_path / "disk" / "a.lmdb")
    for wanted in (groups[1:], groups):
        build(link, wanted, overwrite=True)
        assert len(Store(link)) == 3 * len(wanted)
    assert names(tmp_path / "here") == ["current.lmdb"]


def test_a_store_that_appears_meanwhile_is_not_replaced(
    tmp_path: Path, groups: list[Group], jpeg: Jpegs
) -> None:
    path = tmp_path / "a.lmdb"
    elsewhere = tmp_path / "b.lmdb"
    digest = build(elsewhere, groups)
    with StoreWriter(path) as writer:
        writer.put("a", jpeg(), {})
        elsewhere.rename(path)
        with pytest.raises(StoreExistsError, match="appeared while this build ran"):
            writer.seal()
    assert Store(path).digest == digest
    assert names(tmp_path) == ["a.lmdb", "a.lmdb.partial"]


def test_two_renames_cut_by_a_crash_are_repaired_by_the_next_open(
    tmp_path: Path, groups: list[Group]
) -> None:
    path = tmp_path / "a.lmdb"
    digest = build(path, groups)
    path.rename(tmp_path / "a.lmdb.replaced")
    assert Store(path).digest == digest
    assert names(tmp_path) == ["a.lmdb"]


@pytest.mark.parametrize("kind", ["folder", "store"])
def test_what_happens_to_be_called_replaced_is_not_removed(
    kind: str, tmp_path: Path, groups: list[Group]
) -> None:
    build(tmp_path / "a.lmdb", groups)
    mine = tmp_path / "a.lmdb.replaced"
    if kind == "store":
        build(tmp_path / "b.lmdb", groups[:1])
        (tmp_path / "b.lmdb").rename(mine)
    else:
        mine.mkdir()
    (mine / "precious.txt").write_text("mine")
    for overwrite in (False, True):
        with contextlib.suppress(StoreExistsError, StoreWriteError):  # refusing is right too
            build(tmp_path / "a.lmdb", groups, overwrite=overwrite)
    assert Store(tmp_path / "a.lmdb").verify(deep=True).ok
    assert (mine / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["a.lmdb.partial", "a.replaced", "/"])
def test_names_of_builds_under_way_are_no_stores(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose another"):
        StoreWriter(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_numpys_scalars_are_plain_numbers(tmp_path: Path, groups: list[Group]) -> None:
    jpeg = groups[0][1][0][1]
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg, {"label": np.int64(3), "x": np.float32(1.5), "ok": np.bool_(True)})
        writer.seal()
    record = Store(tmp_path / "a.lmdb")["a"].record
    assert record == {"label": 3, "kind": 0, "x": 1.5, "ok": True}
    assert all(type(value) in (int, float, bool) for value in record.values())


@pytest.mark.parametrize(("image", "record"), [("text", {}), (None, {}), (b"", None), (b"", [1])])
def test_what_is_no_image_or_record(image: Any, record: Any, tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidSampleError, match=r"^a: "),
        StoreWriter(tmp_path / "a.lmdb") as writer,
    ):
        writer.put("a", image, record)


def test_a_path_that_is_no_utf8(tmp_path: Path, groups: list[Group]) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.lmdb"))
    with StoreWriter(path, source={"img_root": str(path)}) as writer:
        for mark, samples in groups:
            writer.put_group(mark, samples)
        writer.seal()
    store = Store(path)
    assert store.verify(deep=True).ok
    assert store.manifest.source["img_root"] == str(path)


# -- the source's order, and what is derived


@pytest.mark.parametrize("resumed", [False, True])
def test_samples_have_the_order_of_putting_unless_one_is_given(
    resumed: bool, tmp_path: Path, jpeg: Jpegs
) -> None:
    path = tmp_path / "a.lmdb"
    names = ["b", "d", "a", "c", "e"]
    with StoreWriter(path) as writer:
        writer.put_group("one", [(name, jpeg(), {}) for name in names[:3]])
        if not resumed:
            writer.put_group("two", [(name, jpeg(), {}) for name in names[3:]])
            writer.seal()
        else:
            leave(writer)
    if resumed:
        with StoreWriter(path, resume=True) as writer:
            writer.put_group("two", [(name, jpeg(), {}) for name in names[3:]])
            writer.seal()
    store = Store(path)
    assert [list(store)[row] for row in np.argsort(store.columns["src_order"])] == names
    assert store.columns["src_order"].dtype == np.int64


def test_an_order_and_derived_numbers_stand_beside_the_record(tmp_path: Path, jpeg: Jpegs) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path) as writer:
        writer.put("a", jpeg(), {"blur": "sharp"}, src_order=7, derived={"blur": 0.5, "n": 1})
        writer.put_group("", [NewSample("b", jpeg(1), {}, -1, {"blur": np.float32(2), "n": -3})])
        writer.seal()
    store = Store(path)
    assert store.columns["src_order"].tolist() == [7, -1]
    assert store.columns["blur"].tolist() == [0.5, 2.0]
    assert store.columns["n"].tolist() == [1, -3]
    assert [name for name, spec in store.manifest.columns.items() if spec.derived] == ["blur", "n"]
    assert store.columns.categories("src_blur") == ["sharp"]
    assert store.at(0).record == {"label": -1, "kind": 0, "blur": "sharp"}
    assert store.verify(deep=True).ok
    plain = tmp_path / "plain.lmdb"
    with StoreWriter(plain) as writer:
        writer.put("a", jpeg(), {"blur": "sharp"})
        writer.put("b", jpeg(1), {})
        writer.seal()
    assert Store(plain).digest == store.digest, "neither is content"


@pytest.mark.parametrize(
    "given",
    [
        {"src_order": -2},
        {"src_order": 1.0},
        {"src_order": True},
        {"src_order": 1 << 62},
        {"derived": {"label": 1}},
        {"derived": {"id": 1}},
        {"derived": {"../x": 1}},
        {"derived": {"x": "1"}},
        {"derived": {"x": None}},
        {"derived": {"x": 1 << 63}},
        {"derived": {3: 1}},
    ],
)
def test_orders_and_derived_numbers_that_cannot_be(
    given: dict[str, Any], tmp_path: Path, jpeg: Jpegs
) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        with pytest.raises(InvalidSampleError, match=r"^a: "):
            writer.put("a", jpeg(), {}, **given)
        writer.put("b", jpeg(), {})
        writer.seal()
    assert list(Store(tmp_path / "a.lmdb")) == ["b"]


def test_a_record_nested_too_deep_is_refused(tmp_path: Path, jpeg: Jpegs) -> None:
    endless: dict[str, Any] = {}
    endless["x"] = endless
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        for record in (endless, {"x": deep}):
            with pytest.raises(InvalidSampleError, match="nested at most 100 deep"):
                writer.put("a", jpeg(), record)
        writer.close()


@pytest.mark.parametrize("kind", ["CMYK", "rotated", "PNG"])
def test_pictures_that_no_store_holds_are_refused(kind: str, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    data = io.BytesIO()
    if kind == "rotated":
        exif = image.Exif()
        exif[0x0112] = 6
        image.new("RGB", (8, 16)).save(data, "JPEG", exif=exif)
    else:
        image.new("CMYK" if kind == "CMYK" else "RGB", (8, 16)).save(
            data, "JPEG" if kind == "CMYK" else "PNG"
        )
    with pytest.raises(InvalidSampleError, match="a store holds JPEG only"):
        with StoreWriter(tmp_path / "a.lmdb") as writer:
            writer.put("a", data.getvalue(), {})
