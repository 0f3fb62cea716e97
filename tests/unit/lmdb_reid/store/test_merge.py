"""Several stores as one: nothing copied, everything as it was, and every part told from others."""

from __future__ import annotations

import errno
import gc
import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import Store, StoreWriter, _disk
from lmdb_reid.cli.main import main
from lmdb_reid.errors import (
    LmdbReidError,
    StoreChangedError,
    StoreDamagedError,
    StoreExistsError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
    UnknownSampleError,
    UsageError,
)
from lmdb_reid.schema import Roles
from lmdb_reid.store import NewSample, _handles, copy_whole, merge
from lmdb_reid.store._joined import Values, join

Jpegs = Callable[..., bytes]


@pytest.fixture
def seal(tmp_path: Path, jpeg: Jpegs) -> Callable[..., Path]:
    """Seals a store of samples (id, record), whose pictures have seeds from `first` up."""

    def make(
        name: str,
        samples: Mapping[str, Mapping[str, Any]],
        *,
        first: int = 0,
        size: tuple[int, int] = (16, 8),
        roles: Roles | None = None,
        derived: bool = False,
    ) -> Path:
        with StoreWriter(tmp_path / name, roles=roles) as writer:
            for seed, (sample_id, record) in enumerate(samples.items(), first):
                numbers = {"blur": seed / 2, "phash": -seed} if derived else {}
                writer.put(sample_id, jpeg(seed, size), record, derived=numbers)
            return writer.seal()

    return make


@pytest.fixture
def two(seal: Callable[..., Path]) -> tuple[Path, Path]:
    """A store of players, and one of pedestrians: other fields, sizes and roles, some ids alike."""
    one = seal(
        "soccer.lmdb",
        {
            f"f{i}#000": {
                "label": i % 3 - (i == 5),
                "quarter": f"Q{i % 2}",
                "angle": "side",
                "x": i,
            }
            for i in range(6)
        },
        roles=Roles(camera="angle", group=("quarter",), time=("x",)),
        derived=True,
    )
    other = seal(
        "mot.lmdb",
        {
            f"f{i}#000": {"label": i % 2, "cam": i, "angle": 90.5, "x": 0.5, "quarter": "Q9"}
            for i in range(4)
        },
        first=50,
        size=(32, 16),
        roles=Roles(camera="cam", group=("quarter",)),
    )
    return one, other


def same_samples(store: Store, name: str, source: Store) -> bool:
    for row in range(len(source)):
        was = source.at(row)
        now = store[f"{name}/{was.id}" if name else was.id]
        if (now.jpeg, now.record, now.kind) != (was.jpeg, was.record, was.kind):
            return False
        if not np.array_equal(now.image, was.image):
            return False
    return True


def test_every_sample_is_that_of_its_source(two: tuple[Path, Path], tmp_path: Path) -> None:
    path = merge(two, tmp_path / "both.lmdb")
    assert path == tmp_path / "both.lmdb"
    assert sorted(entry.name for entry in path.iterdir()) == ["columns", "manifest.json"]
    with Store(path) as store, Store(two[0]) as one, Store(two[1]) as other:
        assert len(store) == 10
        assert list(store)[:2] == ["soccer/f0#000", "soccer/f1#000"]
        assert list(store)[6:] == [f"mot/f{i}#000" for i in range(4)]
        assert same_samples(store, "soccer", one)
        assert same_samples(store, "mot", other)
        assert store.size is None
        assert store.kinds == {"person": 10}
        assert int(store.digest, 16) == (int(one.digest, 16) + int(other.digest, 16)) % (1 << 256)
        found = store.verify(deep=True)
        assert found.ok, found.problems
        assert store.row("mot/f2#000") == 8
        assert store["mot/f2#000"].row == 8
        for unknown in ("f0#000", "mot/", "mot", "nope/f0#000", "/f0#000", "mot/f9#000"):
            assert unknown not in store
            with pytest.raises(UnknownSampleError):
                store[unknown]


def test_labels_are_kept_apart_unless_they_mean_the_same(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    with Store(merge(two, tmp_path / "apart.lmdb")) as store:
        assert store.columns["label"].tolist() == [0, 1, 2, 0, 1, 1, 3, 4, 3, 4]
        assert store.manifest.identities == 5
        assert [part.label_offset for part in store.manifest.parts] == [0, 3]
        assert [store.at(row).label for row in range(10)] == store.columns["label"].tolist()
        assert store.at(7).record["label"] == 1
    with Store(merge(two, tmp_path / "same.lmdb", same_identities=True)) as store:
        assert store.columns["label"].tolist() == [0, 1, 2, 0, 1, 1, 0, 1, 0, 1]
        assert store.manifest.identities == 3
        assert store.verify(deep=True).ok


def test_roles_and_columns_are_joined(two: tuple[Path, Path], tmp_path: Path) -> None:
    with Store(merge(two, tmp_path / "both.lmdb")) as store:
        assert store.roles == Roles(camera="camera", group=("quarter",), time=("time",))
        table = store.to_pandas()
        assert table["camera"].tolist() == ["side"] * 6 + ["0", "1", "2", "3"]
        assert table["quarter"].tolist() == ["Q0", "Q1"] * 3 + ["Q9"] * 4
        # Both have an x, but the second has none that is its time.
        assert table["time"].tolist()[:6] == [0, 1, 2, 3, 4, 5]
        assert table["time"].isna().tolist() == [False] * 6 + [True] * 4
        assert table["x"].tolist() == [0, 1, 2, 3, 4, 5, 0.5, 0.5, 0.5, 0.5]
        assert table["angle"].tolist() == ["side"] * 6 + ["90.5"] * 4
        assert "cam" not in table, "it is nothing but the camera"
        assert table["blur"].tolist()[:6] == [0, 0.5, 1, 1.5, 2, 2.5]
        assert table["blur"].isna().tolist() == [False] * 6 + [True] * 4
        assert store.columns["src_order"].tolist() == list(range(10))
        assert store.query("camera == '3' and time != time").tolist() == [9]
        assert store.query("id == 'mot/f1#000'").tolist() == [7]


def test_the_other_order_has_its_own_rows_and_shares_its_parts(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    there, back = tmp_path / "ab.lmdb", tmp_path / "ba.lmdb"
    merge(two, there)
    merge(two[::-1], back)
    with Store(there) as one, Store(back) as other:
        assert one.digest == other.digest
        assert one.manifest.fingerprint != other.manifest.fingerprint
        rows = np.array([9, 0, 4, 6])
        names: dict[tuple[str, int], str] = {}
        for store in (one, other):
            seen = []
            for digest, slots, local in store.part_rows(rows):
                assert slots is not None
                seen += slots.tolist()
                for slot, row in zip(slots.tolist(), local.tolist(), strict=True):
                    sample_id = store.ids[int(rows[slot])]
                    assert names.setdefault((digest, row), sample_id) == sample_id
            assert sorted(seen) == [0, 1, 2, 3]
        assert len(names) < 8, "some samples are in both"
        (only,) = one.part_rows(np.array([7, 6]))
        assert only.slots is None
        assert only.rows.tolist() == [1, 0]
    kept = pickle.dumps(Store(there))
    assert pickle.loads(kept).ids[0] == "soccer/f0#000"
    merge(two[::-1], there, overwrite=True)
    with pytest.raises(StoreChangedError):
        pickle.loads(kept)


def test_reading_and_views_go_over_parts(
    two: tuple[Path, Path], tmp_path: Path, jpeg: Jpegs
) -> None:
    with Store(merge(two, tmp_path / "both.lmdb")) as store:
        wanted = [jpeg(i, (16, 8)) for i in range(6)] + [jpeg(50 + i, (32, 16)) for i in range(4)]
        rows = [9, 0, 6, 5, 9]
        with store.reading() as reading:
            assert [bytes(data) for data in reading.jpegs(rows)] == [wanted[row] for row in rows]
            assert reading.records(rows) == [store.record_bytes(row) for row in rows]
        with store.view() as view:
            assert {name: bytes(view[name]) for name in store} == dict(
                zip(store, wanted, strict=True)
            )
            assert "f0#000" not in view
        sheet = store.sheet(["soccer/f1#000", 7])
        assert sheet.image.size


def test_a_merged_store_can_be_merged_again(
    two: tuple[Path, Path], seal: Callable[..., Path], tmp_path: Path
) -> None:
    both = merge(two, tmp_path / "both.lmdb")
    third = seal("third.lmdb", {"a/b": {"label": 1}, "c": {"label": 0}}, first=80)
    with Store(merge([third, both], tmp_path / "all.lmdb")) as store:
        assert [part.name for part in store.manifest.parts] == ["third", "both/soccer", "both/mot"]
        assert store["third/a/b"].label == 1
        assert store["both/mot/f3#000"].label == 6
        assert [part.label_offset for part in store.manifest.parts] == [0, 2, 5]
        with Store(two[1]) as other:
            assert same_samples(store, "both/mot", other)
        found = store.verify(deep=True)
        assert found.ok, found.problems
        assert store.columns["camera"].dtype == np.dtype("<i4")


def test_shards_without_names_keep_their_ids(seal: Callable[..., Path], tmp_path: Path) -> None:
    shards = [
        seal(f"s{at}.lmdb", {f"f{at}{i}": {"label": i, "q": at} for i in range(3)}, first=3 * at)
        for at in range(3)
    ]
    path = merge(shards, tmp_path / "all.lmdb", names=["", "", ""], same_identities=True)
    with Store(path) as store:
        assert list(store) == [f"f{at}{i}" for at in range(3) for i in range(3)]
        assert [store.row(each) for each in store] == list(range(9))
        assert store.columns["q"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert store.verify(deep=True).ok
        assert "f1" not in store
    with pytest.raises(UsageError, match=r"s1\.lmdb ends with 'f12', .*s0\.lmdb begins with 'f00'"):
        merge([shards[1], shards[0]], tmp_path / "b.lmdb", names=["", ""])
    assert not list(tmp_path.glob("b.lmdb*"))


@pytest.mark.parametrize("absolute", [False, True])
def test_parts_are_found_from_wherever_it_is_opened(
    absolute: bool, two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    path = merge(two, tmp_path / "deep" / "er" / "both.lmdb", absolute=absolute)
    paths = [part.path for part in Store(path).manifest.parts]
    assert all(Path(each).is_absolute() is absolute for each in paths)
    assert absolute or paths[0] == "../../../soccer.lmdb/data.mdb"
    monkeypatch.chdir(path.parent)
    assert Store("both.lmdb").at(7).id == "mot/f1#000"
    monkeypatch.chdir("/")
    (tmp_path / "link").symlink_to(path)
    assert Store(tmp_path / "link").at(7).id == "mot/f1#000"
    shutil.move(path, tmp_path / "moved.lmdb")
    if absolute:
        assert Store(tmp_path / "moved.lmdb").at(7).id == "mot/f1#000"
    else:
        with pytest.raises(StoreNotFoundError, match=r"the part .mot. of .*moved\.lmdb"):
            Store(tmp_path / "moved.lmdb").at(7)


def test_a_part_noted_from_the_root_that_moved_is_named(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    path = merge(two, tmp_path / "both.lmdb", absolute=True)
    two[0].rename(tmp_path / "moved.lmdb")
    with pytest.raises(StoreNotFoundError, match=rf"Restore it to {two[0]}/data\.mdb"):
        Store(path).at(0)
    assert Store(path).at(9).id == "mot/f3#000"


# -- parts that are not what they were


def damage(kind: str, part: Path, make: Callable[..., Path]) -> None:
    data = part / "data.mdb"
    if kind == "removed":
        shutil.rmtree(part)
    elif kind == "exchanged":
        shutil.rmtree(part)
        make(part.name, {f"f{i}#000": {"label": 7} for i in range(4)}, first=90, size=(32, 16))
    elif kind == "exchanged for a larger":
        shutil.rmtree(part)
        make(part.name, {f"f{i}#000": {"label": 7} for i in range(400)}, first=90)
    elif kind == "cut short":
        os.truncate(data, data.stat().st_size - 4096)
    elif kind == "of other bytes":
        data.write_bytes(bytes(data.stat().st_size))
    elif kind == "a folder":
        data.unlink()
        data.mkdir()
    elif kind == "a pipe":
        data.unlink()
        os.mkfifo(data)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("removed", StoreNotFoundError),
        ("exchanged", StoreChangedError),
        ("exchanged for a larger", StoreChangedError),
        ("cut short", StoreDamagedError),
        ("of other bytes", StoreDamagedError),
        ("a folder", StoreDamagedError),
        ("a pipe", StoreDamagedError),
    ],
)
def test_a_part_that_is_not_what_it_was_is_named_when_it_is_first_read(
    kind: str,
    error: type[LmdbReidError],
    two: tuple[Path, Path],
    seal: Callable[..., Path],
    tmp_path: Path,
    jpeg: Jpegs,
) -> None:
    path = merge(two, tmp_path / "both.lmdb")
    gc.collect()
    before = _handles.open_count()
    damage(kind, two[1], seal)
    store = Store(path)
    assert store.columns["label"].tolist()[6:] == [3, 4, 3, 4]
    assert store.at(2).jpeg == jpeg(2, (16, 8)), "the other part is read as before"

    def see() -> None:
        with store.view() as view:
            view["mot/f1#000"]

    def read() -> None:
        with store.reading() as reading:
            reading.jpegs([0, 7])

    for act in (lambda: store.at(7), lambda: store.record(7), see, read):
        with pytest.raises(error, match=r"the part 'mot' of .*both\.lmdb, .*mot\.lmdb/data\.mdb"):
            act()
    found = store.verify()
    assert not found.ok
    assert "mot.lmdb/data.mdb" in found.problems[0]
    assert store.at(2).jpeg == jpeg(2, (16, 8))
    with pytest.raises(LmdbReidError, match=r"mot\.lmdb"):
        Store(path, check="structure")
    store.close()
    assert _handles.open_count() == before


# -- what cannot be merged


def test_what_cannot_be_merged_is_refused_and_leaves_nothing(
    two: tuple[Path, Path], seal: Callable[..., Path], tmp_path: Path
) -> None:
    one, other = two
    copied = tmp_path / "copy.lmdb"
    shutil.copytree(one, copied)
    roles = seal("roles.lmdb", {"a": {"label": 1, "player": 3}}, roles=Roles(identity="player"))
    huge = seal("huge.lmdb", {"a" * 505: {"label": (1 << 62) + 1}})
    before = sorted(tmp_path.iterdir())
    out = tmp_path / "out.lmdb"
    cases: list[tuple[list[Path], dict[str, Any], str]] = [
        ([one], {}, "two stores or more, got 1"),
        ([one, one], {}, r"must be merged once, got .*soccer\.lmdb twice.*--name NAME=STORE"),
        ([one, one], {"names": ["a", "b"]}, "hold the same part"),
        ([one, copied], {}, r"soccer\.lmdb and .*copy\.lmdb hold the same part"),
        ([one, other], {"names": ["a"]}, "names must be as many as stores, got 1 for 2"),
        ([one, other], {"names": ["a", ""]}, "either all stores must have names, or none"),
        ([one, other], {"names": ["a", "../b"]}, "a part's name must be"),
        ([one, other], {"names": ["a", "b/c"]}, "a part's name must be"),
        ([one, other], {"names": ["a", ".."]}, "a part's name must be"),
        ([one, other], {"names": ["", ""]}, "must have ids that ascend"),
        ([one, roles], {}, "has identities in 'player'"),
        ([huge, one], {"names": ["a" * 9, "b"]}, "at most 511 bytes, got 515"),
        ([huge, one], {}, r"must stay below 2\^62"),
    ]
    for stores, options, message in cases:
        with pytest.raises(UsageError, match=message):
            merge(stores, out, **options)
    with pytest.raises(UsageError, match="into itself"):
        merge(two, one, overwrite=True)
    with pytest.raises(StoreExistsError):
        merge(two, copied)
    with pytest.raises(StoreNotFoundError):
        merge([one, tmp_path / "nothing.lmdb"], out)
    assert sorted(tmp_path.iterdir()) == before


def test_a_store_of_another_major_version_is_refused_by_name(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    file = two[1] / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"version": [2, 0]}))
    with pytest.raises(StoreVersionError, match=r"mot\.lmdb.*format 2\.0; this code reads"):
        merge(two, tmp_path / "out.lmdb")


def test_a_damaged_column_is_not_merged(two: tuple[Path, Path], tmp_path: Path) -> None:
    file = two[1] / "columns" / "label.bin"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(StoreDamagedError, match=r"mot\.lmdb/columns/label\.bin is damaged"):
        merge(two, tmp_path / "out.lmdb")
    assert not list(tmp_path.glob("out.lmdb*"))


# -- many


def test_two_hundred_parts_are_read_with_64_open_files(
    tmp_path: Path, jpeg: Jpegs, run_python: Callable[..., str]
) -> None:
    shards = []
    for at in range(200):
        with StoreWriter(tmp_path / f"s{at:03d}.lmdb") as writer:
            name = f"{at:03d}"
            writer.put_group("", [NewSample(name, jpeg(at % 7, (8, 8)), {"label": at})])
            shards.append(writer.seal())
    path = merge(shards, tmp_path / "all.lmdb", names=[""] * 200, same_identities=True)
    script = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
from lmdb_reid import Store
from lmdb_reid.store import _handles
def files():
    there = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    return sum("data.mdb" in file for file in there)
store = Store(sys.argv[1])
most, rows = 0, list(range(200)) + list(range(0, 200, 7))
for _ in range(2):
    with store.reading() as reading:
        jpegs = reading.jpegs(rows)
        assert len(set(map(bytes, jpegs))) == 7
        assert [bytes(each) for each in jpegs[:7]] == [bytes(each) for each in jpegs[7:14]]
        records = reading.records(rows)
        most = max(most, files())
    for row in (3, 199, 50):
        assert store.at(row).label == row
    with store.view() as view:
        kept = [view[name] for name in store]
        assert [bytes(each) for each in kept] == [bytes(each) for each in kept[:7] * 29][:200]
        most = max(most, files())
    del kept
    most = max(most, files())
print(_handles.open_count() <= 64, most <= 128, most)  # LMDB's descriptor, and that of its pages
store.close()
print(_handles.open_count())
"""
    lines = run_python(script, path).splitlines()
    assert lines[0].startswith("True True")
    assert lines[1] == "0"
    with Store(path) as store:
        assert store.verify(deep=True).ok


def test_a_hundred_thousand_categories_are_joined() -> None:
    names = [sorted(f"w{i % 3 * (i + at)}-{i}" for i in range(100_000)) for at in range(2)]
    codes = [np.random.default_rng(at).integers(-1, 100_000, 50_000, np.int32) for at in range(2)]
    joined = join([Values(codes[at], names[at]) for at in range(2)], [50_000, 50_000])
    assert joined.categories == sorted({*names[0], *names[1]})
    found = [joined.categories[code] if code >= 0 else None for code in joined.values.tolist()]
    assert found == [
        names[at][code] if code >= 0 else None for at in range(2) for code in codes[at].tolist()
    ]


NAN = pytest.approx(np.nan, nan_ok=True)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ([1, 2], [3, 1 << 60], [1, 2, 3, 1 << 60]),
        ([1, 2], [0.5, np.nan], [1.0, 2.0, 0.5, NAN]),
        ([1, 1 << 60], [0.5, np.nan], ["1", str(1 << 60), "0.5", None]),
        ([1, -2], None, [1.0, -2.0, NAN, NAN]),
        ([1, 1 << 60], None, ["1", str(1 << 60), None, None]),
        ([1, 2], ["a", None], ["1", "2", "a", None]),
        ([1.0, np.nan], ["1", "b"], ["1", None, "1", "b"]),
        ([1.0, 2.5], ["a", "b"], ["1.0", "2.5", "a", "b"]),
        ([np.inf, 1.0], ["a", "b"], ["inf", "1.0", "a", "b"]),
        (["b", "a"], ["c", "a"], ["b", "a", "c", "a"]),
        (None, ["a", None], [None, None, "a", None]),
    ],
)
def test_columns_of_two_stores_become_one(one: Any, other: Any, wanted: list[Any]) -> None:
    def values_of(given: Any) -> Values | None:
        if given is None:
            return None
        if not any(isinstance(value, str) for value in given):
            whole = all(isinstance(value, int) for value in given)
            return Values(np.array(given, "<i8" if whole else "<f8"), None)
        names = sorted({value for value in given if value is not None})
        codes = [-1 if value is None else names.index(value) for value in given]
        return Values(np.array(codes, "<i4"), names)

    joined = join([values_of(one), values_of(other)], [2, 2])
    found = joined.values.tolist()
    if joined.categories is not None:
        assert joined.values.dtype == np.int32
        assert joined.categories == sorted(set(joined.categories))
        found = [joined.categories[code] if code >= 0 else None for code in found]
    assert found == wanted
    assert list(map(type, found)) == [float if w is NAN else type(w) for w in wanted]


# -- one file


def test_a_copy_has_all_in_one_file(two: tuple[Path, Path], tmp_path: Path) -> None:
    path = copy_whole(two, tmp_path / "one.lmdb", names=["z", "a"])
    shutil.rmtree(two[0])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mot.lmdb", "one.lmdb"]
    with Store(path) as store, Store(two[1]) as other:
        (part,) = store.manifest.parts
        assert part.path == "data.mdb"
        assert list(store)[:4] == [f"a/f{i}#000" for i in range(4)]
        assert store.columns["label"].tolist() == [3, 4, 3, 4, 0, 1, 2, 0, 1, 1]
        assert store["z/f3#000"].label == store["z/f3#000"].record["label"] == 0
        assert store["a/f1#000"].jpeg == other["f1#000"].jpeg
        assert store.columns["src_order"].tolist() == [6, 7, 8, 9, 0, 1, 2, 3, 4, 5]
        assert store.roles == Roles(camera="camera", group=("quarter",), time=("time",))
        table = store.to_pandas()
        assert table["camera"].tolist() == ["0", "1", "2", "3"] + ["side"] * 6
        assert table["time"].tolist()[4:] == [0, 1, 2, 3, 4, 5]
        assert store.manifest.columns["blur"].derived
        found = store.verify(deep=True)
        assert found.ok, found.problems


# -- the command


def test_the_command_merges_and_prints_what_it_wrote(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lmdb_reid.cli.merge")
    from lmdb_reid.cli import merge as command

    def run(*words: object) -> Any:
        import argparse

        parser = argparse.ArgumentParser()
        command.configure(parser)
        assert command.run(parser.parse_args(list(map(str, words)))) == 0
        return capsys.readouterr().out

    out = tmp_path / "both.lmdb"
    facts = json.loads(run(*two, "--out", out, "--name", f"ped={two[1]}", "--json"))
    assert facts["samples"] == 10
    assert [part["name"] for part in facts["parts"]] == ["soccer", "ped"]
    assert "10 samples" in run(*two, "--out", out, "--overwrite", "--same-identities")
    assert Store(out).manifest.identities == 3
    assert "10 samples" in run(*two, "--out", tmp_path / "copied.lmdb", "--copy")
    for wrong in (
        ["--name", "ped"],
        ["--name", "ped=elsewhere"],
        ["--name", f"a={two[1]}", "--name", f"b={two[1]}"],
        ["--name", f"a={two[1]}", "--no-names"],
        ["--copy", "--absolute"],
    ):
        with pytest.raises(UsageError):
            run(*two, "--out", tmp_path / "x.lmdb", *wrong)
    assert main(["info", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "parts" in printed
    assert "../mot.lmdb/data.mdb" in printed
    assert f"merged                 {two[0]}, {two[1]}" in printed
    assert main(["verify", str(out), "--deep"]) == 0
    assert main(["get", str(out), "mot/f1#000", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))["row"] == 7


def test_a_disk_that_fails_is_an_error_of_ours_and_leaves_nothing(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: str, path: Path) -> None:
        if call == "fsync":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(_disk, "watch", fail)
    with pytest.raises(StoreWriteError, match="Input/output error"):
        merge(two, tmp_path / "both.lmdb")
    assert not [*tmp_path.glob("both.lmdb*")]


def test_a_path_that_no_file_can_have(seal: Callable[..., Path], tmp_path: Path) -> None:
    one = seal("one.lmdb", {"a": {"label": 1}})
    for stores, out in (([one, "b\0"], "c"), ([one, one], "c\0")):
        with pytest.raises(UsageError, match="paths must be without NUL"):
            merge(stores, tmp_path / out)
