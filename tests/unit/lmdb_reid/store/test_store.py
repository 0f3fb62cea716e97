from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from lmdb_reid import Kind, Store, StoreWriter
from lmdb_reid.errors import (
    CorruptSampleError,
    LmdbReidError,
    StoreChangedError,
    StoreClosedError,
    StoreDamagedError,
    StoreNotFoundError,
    StoreVersionError,
    UnknownRowError,
    UnknownSampleError,
    UsageError,
)
from lmdb_reid.store._column_files import ColumnFiles

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]
InChild = Callable[[Callable[[], object]], int]


def flip(file: Path, at: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1 << bit
    file.write_bytes(data)


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as somebody would who knows how to sum it up again."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    change(manifest)
    manifest.pop("crc32")
    text = json.dumps(manifest, sort_keys=True, ensure_ascii=False).encode()
    (path / "manifest.json").write_text(json.dumps(manifest | {"crc32": zlib.crc32(text)}))


def flip_stored(path: Path, key: bytes, value: bytes, place: int) -> None:
    """Flip a bit of a stored value, also in the stale copies of it that LMDB left behind."""
    data = bytearray((path / "data.mdb").read_bytes())
    at = data.find(key + value)  # small values follow their key
    assert at > 0
    while at > 0:
        data[at + len(key) + place] ^= 1
        at = data.find(key + value, at + 1)
    (path / "data.mdb").write_bytes(data)


# -- reading


def test_samples_by_id_and_by_row(store_path: Path, jpeg: Jpegs) -> None:
    with Store(store_path) as store:
        assert len(store) == 8
        assert list(store)[:5] == ["f000#000", "f000#001", "f000#002", "f000#003", "f001#000"]
        for row, sample_id in enumerate(store):
            assert sample_id in store
            assert store.row(sample_id) == row
            assert store[sample_id] == store.at(row) == store.at(row - 8) == store.at(np.int64(row))
            assert store.at(row).jpeg == jpeg(row)
            assert store.record(row) == {
                "label": row % 3,
                "kind": 0,
                "quarter": f"Q{row % 2}",
            }


def test_what_a_store_says_of_itself(store_path: Path) -> None:
    store = Store(store_path)
    assert store.path == store_path
    assert store.size == (32, 16)
    assert store.kinds == {"person": 8}
    assert len(store.digest) == 64
    assert store.manifest.identities == 3
    assert repr(store) == f"Store({str(store_path)!r}: 8 samples (8 person), 3 identities, 32x16)"
    assert Store.open(store_path).digest == store.digest
    assert Store(str(store_path)).digest == store.digest


def test_a_relative_path_outlives_the_working_directory(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store_path.parent)
    store = Store(store_path.name)
    monkeypatch.chdir("/")
    assert store.at(0).id == "f000#000"


def test_a_store_of_several_sizes_has_none(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(0, (8, 8)), {"kind": 1})
        writer.put("b", jpeg(0, (16, 8)), {"label": -1})
        writer.seal()
    store = Store(tmp_path / "a.lmdb")
    assert store.size is None
    assert store.kinds == {"person": 1, "background": 1}
    assert store.manifest.identities == 0
    assert "native sizes" in repr(store)


@pytest.mark.parametrize("sample_id", ["", "f000", "f000#0000", "zzz", "a" * 600, "\ud800", "\0"])
def test_ids_that_are_not_there(sample_id: str, store_path: Path) -> None:
    store = Store(store_path)
    assert sample_id not in store
    with pytest.raises(UnknownSampleError, match="no sample"):
        store[sample_id]
    with pytest.raises(KeyError):
        store.row(sample_id)


@pytest.mark.parametrize("wrong", [0, None, b"f000#000", ("f000#000",)])
def test_ids_that_are_no_str(wrong: Any, store_path: Path) -> None:
    store = Store(store_path)
    assert wrong not in store
    with pytest.raises(UsageError, match=r"store\.at\(row\)"):
        store.row(wrong)


@pytest.mark.parametrize("row", [8, -9, 1 << 70])
def test_rows_that_are_not_there(row: int, store_path: Path) -> None:
    store = Store(store_path)
    for act in (store.at, store.ids.__getitem__):
        with pytest.raises(IndexError, match="of a store of 8 samples"):
            act(row)


@pytest.mark.parametrize("row", [1.7, "3", None, [1], np.float64(1)])
def test_rows_that_are_no_numbers(row: Any, store_path: Path) -> None:
    store = Store(store_path)
    for act in (store.at, store.ids.__getitem__):
        with pytest.raises((TypeError, UsageError)):
            act(row)


@pytest.mark.parametrize("row", [-1, -2, 8, 1 << 40])
def test_no_row_serves_anothers_record_or_image(row: int, store_path: Path) -> None:
    store = Store(store_path)
    with store.reading() as reading:
        for act in (store.record, store.record_bytes, lambda row: reading.jpegs([row])):
            with pytest.raises((IndexError, UsageError)):
                act(row)


def test_ids_are_a_sequence(store_path: Path) -> None:
    ids = Store(store_path).ids
    assert ids[2:4] == ["f000#002", "f000#003"]
    assert ids[::-4] == ["f001#003", "f000#003"]
    assert next(reversed(ids)) == ids[-1] == "f001#003"
    assert ids.index("f001#000") == 4
    assert ids.find(b"f001#000") == 4
    assert ids.find(b"f001") == -1
    assert ids.find(b"") == -1
    assert ids.find(b"\xff") == -1
    assert isinstance(ids.key(0), bytes)


def test_engines_read_rows_in_any_order(store_path: Path, jpeg: Jpegs) -> None:
    with Store(store_path).reading() as reading:
        for row in (3, 0, 7, 3):
            data = reading.jpegs([row])[0]
            assert data.readonly
            assert bytes(data) == jpeg(row)


def test_a_closed_store_says_so(store_path: Path) -> None:
    store = Store(store_path)
    label = store.columns["label"]
    store.at(0)
    store.close()
    store.close()
    for act in (lambda: store.at(0), lambda: store["f000#000"], lambda: store.record(0)):
        with pytest.raises(StoreClosedError):
            act()
    with pytest.raises(StoreClosedError), store.view():
        pass
    assert label.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert len(store) == 8


# -- tables


def test_a_frame_has_every_column(store_path: Path) -> None:
    frame = Store(store_path).to_pandas()
    assert frame.index.name == "id"
    assert frame.index.tolist() == list(Store(store_path))
    assert frame["label"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert frame["quarter"].tolist() == ["Q0", "Q1"] * 4
    assert set(frame) == set(Store(store_path).columns)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("label == 1", [1, 4, 7]),
        ("label == 1 and quarter == 'Q1'", [1, 7]),
        ("label > 1 or quarter == 'Q0'", [0, 2, 4, 5, 6]),
        ("kind == 0", list(range(8))),
        ("kind == 1", []),
        ("id == 'f000#003'", [3]),
        ("id.str.startswith('f001')", [4, 5, 6, 7]),
    ],
)
def test_queries(expression: str, rows: list[int], store_path: Path) -> None:
    found = Store(store_path).query(expression)
    assert found.dtype == np.int64
    assert found.tolist() == rows


def test_a_query_reads_the_columns_that_it_names_and_makes_no_ids(store_path: Path) -> None:
    for name in ("quarter.bin", "quarter.json", "kind.bin", "id.bin", "id_offsets.bin"):
        flip(store_path / "columns" / name, 3)
    store = Store(store_path)
    assert store.query("label == 1 and width > 3").tolist() == [1, 4, 7]
    for named in ("quarter == 'Q1'", "kind == 0", "id == 'f000#003'", "index == 'f000#003'"):
        with pytest.raises(StoreDamagedError, match="is damaged"):
            store.query(f"label == 1 and {named}")


@pytest.mark.parametrize(
    "expression",
    ["label + 1", "", "nope == 1", "label ==", "label.sum()", "@open('x')", "label == 'a' +"],
)
def test_queries_that_are_none(expression: str, store_path: Path) -> None:
    with pytest.raises(UsageError, match="query"):
        Store(store_path).query(expression)


def test_a_long_query_is_repeated_in_part(store_path: Path) -> None:
    with Store(store_path) as store:
        for query in ("label == 3 or " * 400 + "labl == 4", "(" * 3000, "label == 'x' or " * 400):
            with pytest.raises(UsageError) as caught:
                store.query(query)
            assert len(str(caught.value)) < 700 and " ... " in str(caught.value)


def test_a_query_that_breaks_off_is_answered_in_pythons_words(store_path: Path) -> None:
    with Store(store_path) as store, pytest.raises(UsageError, match="evaluated: invalid syntax"):
        store.query("label == 3 and")


def test_a_folder_of_stores_names_one(store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("")
    shutil.copytree(store_path, tmp_path / "stores" / "one.lmdb")
    with pytest.raises(StoreNotFoundError, match=r"the directory has no manifest\.json\.$"):
        Store(tmp_path / "empty")
    with pytest.raises(StoreNotFoundError, match=r"Did you mean '.*one\.lmdb'\?$"):
        Store(tmp_path / "stores")
    with pytest.raises(StoreNotFoundError, match="it is a file, and a store is a directory"):
        Store(tmp_path / "a_file")


def test_a_contact_sheet_of_ids_and_rows(store_path: Path) -> None:
    store = Store(store_path)
    by_id = store.sheet(["f000#001", "f001#002"], columns=2)
    assert np.array_equal(by_id.image, store.sheet(np.array([1, 6]), columns=2).image)
    with pytest.raises(UnknownSampleError):
        store.sheet(["nobody"])


# -- opening what is none, or damaged


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="there is nothing of that name"):
        Store(tmp_path / "a.lmdb")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreNotFoundError, match="no store at"):
        Store(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        Store(tmp_path / "a.lmdb")


def test_plain_lmdb_is_told_from_a_store(tmp_path: Path, store_path: Path) -> None:
    with lmdb.open(str(tmp_path / "plain")) as env, env.begin(write=True) as txn:
        txn.put(b"a", b"b")
    for place in (tmp_path / "plain", store_path / "data.mdb"):
        with pytest.raises(StoreNotFoundError, match="Use the store's directory"):
            Store(place)


def test_a_check_that_nobody_knows(store_path: Path) -> None:
    with pytest.raises(UsageError, match=r"got 'deep'"):
        Store(store_path, check="deep")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [[2, 0], [0, 9], [99], [], ["1", 0]])
def test_an_unknown_major_version_is_refused_with_the_versions(
    version: list[Any], store_path: Path
) -> None:
    edit_manifest(store_path, lambda manifest: manifest.update(version=version))
    with pytest.raises(StoreVersionError) as caught:
        Store(store_path)
    assert ".".join(map(str, version)) in str(caught.value)
    assert "this code reads lmdb_reid 1.x" in str(caught.value)


def test_a_newer_minor_version_is_read(store_path: Path) -> None:
    edit_manifest(store_path, lambda manifest: manifest.update(version=[1, 7], unheard_of=[1]))
    assert Store(store_path).at(0).label == 0


def test_another_format_is_refused(store_path: Path) -> None:
    edit_manifest(store_path, lambda manifest: manifest.update(format="webdataset"))
    with pytest.raises(StoreVersionError, match="webdataset"):
        Store(store_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"format": "lmdb_reid"}', "\udcff", '{"version": 1}']
)
def test_a_manifest_that_is_none(text: str, store_path: Path) -> None:
    (store_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StoreDamagedError, match="is not a valid manifest"):
        Store(store_path)


def test_an_edited_manifest_is_refused(store_path: Path) -> None:
    file = store_path / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"samples": 8', b'"samples": 7'))
    with pytest.raises(StoreDamagedError, match="was changed after sealing"):
        Store(store_path)


def test_a_manifest_laid_out_anew_is_the_same(store_path: Path) -> None:
    file = store_path / "manifest.json"
    manifest = json.loads(file.read_bytes())
    file.write_text(json.dumps(dict(reversed(manifest.items()))))
    assert Store(store_path).at(0).label == 0


@pytest.mark.parametrize("size", [0, 1, 4096, -1, -4096])
def test_data_cut_short_is_refused(size: int, store_path: Path) -> None:
    data = store_path / "data.mdb"
    os.truncate(data, size if size >= 0 else data.stat().st_size + size)
    with pytest.raises(StoreDamagedError, match=r"data\.mdb has \d+ bytes; its manifest says"):
        Store(store_path)


def test_data_that_grew_is_refused(store_path: Path) -> None:
    with (store_path / "data.mdb").open("ab") as data:
        data.write(bytes(4096))
    with pytest.raises(StoreDamagedError, match="its manifest says"):
        Store(store_path)


def test_data_of_another_size_is_refused(make_store: MakeStore) -> None:
    one, other = make_store("one.lmdb", 8), make_store("other.lmdb", 30)
    shutil.copy(other / "data.mdb", one / "data.mdb")
    with pytest.raises(StoreDamagedError):
        Store(one)


def test_data_of_a_store_of_the_same_shape_is_refused(tmp_path: Path, jpeg: Jpegs) -> None:
    """Two stores that agree in sizes, pages, transactions and counts, and in nothing else."""
    for name, order in (("one.lmdb", [0, 1, 2, 3]), ("other.lmdb", [3, 2, 1, 0])):
        with StoreWriter(tmp_path / name) as writer:
            for place, seed in enumerate(order):
                writer.put(f"id{place}", jpeg(seed), {"label": 1})
            writer.seal()
    one, other = tmp_path / "one.lmdb", tmp_path / "other.lmdb"
    assert (one / "data.mdb").stat().st_size == (other / "data.mdb").stat().st_size
    shutil.copy(other / "data.mdb", one / "data.mdb")
    with pytest.raises(StoreDamagedError, match="not the file that was sealed"):
        Store(one)


def test_missing_data_is_refused(store_path: Path) -> None:
    (store_path / "data.mdb").unlink()
    with pytest.raises(StoreDamagedError, match="cannot be read"):
        Store(store_path)


def test_data_that_is_no_lmdb_is_refused(store_path: Path) -> None:
    data = store_path / "data.mdb"
    data.write_bytes(bytes(data.stat().st_size))
    for check in ("pins", "structure"):
        with pytest.raises(StoreDamagedError):
            Store(store_path, check=check)  # type: ignore[arg-type]


@pytest.mark.parametrize("check", ["pins", "structure"])
def test_no_flipped_bit_of_the_meta_pages_is_served(
    check: Any, store_path: Path, jpeg: Jpegs, in_child: InChild
) -> None:
    """Each bit of what LMDB reads of its meta pages: a refusal, or the right samples; no crash."""
    data = store_path / "data.mdb"
    sound = data.read_bytes()

    def flip_all() -> None:
        refused = served = 0
        for at in [*range(152), *range(4096, 4096 + 152)]:
            damaged = bytearray(sound)
            damaged[at] ^= 1 << (at % 8)
            data.write_bytes(damaged)
            try:
                store = Store(store_path, check=check)
                found = [(store.at(row).label, store.at(row).jpeg) for row in range(8)]
            except LmdbReidError:
                refused += 1
                continue
            assert found == [(row % 3, jpeg(row)) for row in range(8)], f"byte {at}"
            served += 1
        assert refused > 20, "the newest meta page is not looked at"
        assert served > 20, "the other meta page is not in use, and has bits that mean nothing"

    assert in_child(flip_all) == 0


@pytest.mark.slow
def test_no_flipped_bit_of_a_tree_page_is_served_or_fatal_after_a_structure_check(
    tmp_path: Path, jpeg: Jpegs, in_child: InChild
) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path) as writer:
        for row in range(300):
            writer.put(f"f{row:04d}", jpeg(row % 5, (8, 8)), {"label": row})
        writer.seal()
    data = path / "data.mdb"
    sound = data.read_bytes()
    places = np.random.default_rng(0).permutation(
        [page + at for page in range(8192, len(sound), 4096) for at in range(64)]
    )

    def flip_some() -> None:
        refused = served = 0
        for at in places[:800].tolist():
            damaged = bytearray(sound)
            damaged[at] ^= 1 << (at % 8)
            data.write_bytes(damaged)
            try:
                store = Store(path, check="structure")
            except LmdbReidError:
                refused += 1
                continue
            for row in range(300):
                try:
                    sample = store.at(row)
                except LmdbReidError:
                    continue
                assert (sample.label, sample.jpeg) == (row, jpeg(row % 5, (8, 8))), f"byte {at}"
                served += 1
        assert refused > 100, "a structure check that refuses nothing"
        assert served > 10_000, "a structure check that refuses everything"

    assert in_child(flip_some) == 0


def test_damage_to_the_tree_is_told_in_our_words(
    tmp_path: Path, jpeg: Jpegs, in_child: InChild
) -> None:
    """LMDB's own errors are not what a caller catches."""
    path = tmp_path / "a.lmdb"
    with StoreWriter(path) as writer:
        for row in range(200):
            writer.put(f"f{row:04d}", jpeg(row % 5, (8, 8)), {"label": row})
        writer.seal()
    data = path / "data.mdb"
    sound = data.read_bytes()

    def damage_page_flags() -> None:
        refused = whole = hurt = 0
        for page in range(2, len(sound) // 4096):
            damaged = bytearray(sound)
            damaged[page * 4096 + 10] ^= 3  # a branch page is called a leaf, and the reverse
            data.write_bytes(damaged)
            try:
                store = Store(path)
            except LmdbReidError:
                refused += 1
                continue
            unread = 0
            for row in range(200):
                try:
                    store.at(row)
                    with store.view() as view:
                        view[store.ids[row]]
                except LmdbReidError:
                    unread += 1
            assert store.verify().problems or not unread
            whole += not unread
            hurt += 0 < unread < 200
        assert hurt, "no damage was met while reading"
        assert hurt + whole > refused, "most stores must open"

    assert in_child(damage_page_flags) == 0


# -- columns and samples


def test_a_cut_column_is_refused_at_once(store_path: Path) -> None:
    file = store_path / "columns" / "label.bin"
    os.truncate(file, 56)
    with pytest.raises(StoreDamagedError, match=r"label\.bin has 56 bytes; its manifest says 64"):
        Store(store_path)


@pytest.mark.parametrize("name", ["label", "crc32", "quarter", "id_offsets", "id"])
def test_a_column_of_another_length_than_the_store_is_refused(name: str, store_path: Path) -> None:
    file = store_path / "columns" / f"{name}.bin"
    size = np.dtype(Store(store_path).manifest.columns[name].dtype).itemsize
    file.write_bytes(file.read_bytes()[:-size])
    spec = {"length": len(file.read_bytes()) // size, "crc32": zlib.crc32(file.read_bytes())}
    edit_manifest(store_path, lambda manifest: manifest["columns"][name].update(spec))
    with pytest.raises(StoreDamagedError):
        store = Store(store_path)
        _ = store.columns.get(name), store.at(7)


@pytest.mark.parametrize("samples", [7, 9, 0, -1])
def test_a_number_of_samples_that_is_not_the_datas_is_refused(
    samples: int, store_path: Path
) -> None:
    edit_manifest(store_path, lambda manifest: manifest.update(samples=samples))
    with pytest.raises(StoreDamagedError):
        Store(store_path)


@pytest.mark.parametrize("name", ["label", "id", "crc32"])
def test_a_manifest_that_lacks_a_core_column_is_refused(name: str, store_path: Path) -> None:
    edit_manifest(store_path, lambda manifest: manifest["columns"].pop(name))
    with pytest.raises(StoreDamagedError, match=name):
        Store(store_path)


@pytest.mark.parametrize(
    "field", ["samples", "columns", "parts", "digest", "size", "kinds", "roles", "build", "source"]
)
def test_a_manifest_that_lacks_a_field_is_refused(field: str, store_path: Path) -> None:
    edit_manifest(store_path, lambda manifest: manifest.pop(field))
    with pytest.raises(StoreDamagedError, match=field):
        Store(store_path)


def test_a_missing_column_is_refused_at_once(store_path: Path) -> None:
    (store_path / "columns" / "crc32.bin").unlink()
    with pytest.raises(StoreDamagedError, match=r"crc32\.bin cannot be read"):
        Store(store_path)


@pytest.mark.parametrize("name", ["label", "id", "crc32", "quarter", "id_offsets"])
def test_a_flipped_column_is_refused_at_its_first_use(name: str, store_path: Path) -> None:
    flip(store_path / "columns" / f"{name}.bin", 9 if name == "id" else 1)
    store = Store(store_path)
    with pytest.raises(StoreDamagedError, match=rf"{name}\.bin is damaged"):
        _ = store.ids.maps() if name.startswith("id") else store.columns[name]


@pytest.mark.parametrize("name", ["id", "id_offsets", "crc32"])
def test_no_sample_is_served_by_damaged_columns(name: str, store_path: Path) -> None:
    flip(store_path / "columns" / f"{name}.bin", 9)
    store = Store(store_path)
    for act in (lambda: store.at(0), lambda: store["f000#000"]):
        with pytest.raises(StoreDamagedError, match=rf"{name}\.bin is damaged"):
            act()


def test_flipped_categories_are_refused_at_their_first_use(store_path: Path) -> None:
    flip(store_path / "columns" / "quarter.json", 3)
    store = Store(store_path)
    for act in (lambda: store.columns.categories("quarter"), store.to_pandas):
        with pytest.raises(StoreDamagedError, match=r"quarter\.json is damaged"):
            act()


def test_missing_categories_are_told(store_path: Path) -> None:
    (store_path / "columns" / "quarter.json").unlink()
    with pytest.raises(StoreDamagedError, match=r"quarter\.json"):
        Store(store_path).columns.categories("quarter")


def test_a_dtype_that_the_format_lacks(store_path: Path) -> None:
    edit_manifest(store_path, lambda m: m["columns"]["label"].update(dtype="|O8"))
    with pytest.raises(StoreDamagedError, match=r"must be of dtype <i8, got .\|O8"):
        Store(store_path)


def test_a_flipped_image_byte_names_its_sample(make_store: MakeStore, jpeg: Jpegs) -> None:
    for place in (0, len(jpeg(5)) // 2, len(jpeg(5)) - 1):
        path = make_store(f"{place}.lmdb")
        flip_stored(path, b"f001#001", jpeg(5), place)
        store = Store(path)
        with pytest.raises(CorruptSampleError, match=r"^f001#001: "):
            store.at(5)
        with store.reading() as reading:
            with pytest.raises(CorruptSampleError, match=r"^f001#001: "):
                reading.jpegs([5])[0]
            assert bytes(reading.jpegs([4])[0]) == jpeg(4)


def test_engines_compare_a_row_once_and_readers_always(make_store: MakeStore, jpeg: Jpegs) -> None:
    path = make_store("later.lmdb")
    store = Store(path)
    with store.reading() as reading:
        assert bytes(reading.jpegs([5])[0]) == jpeg(5)
    flip_stored(path, b"f001#001", jpeg(5), len(jpeg(5)) // 2)
    with store.reading() as reading:
        assert bytes(reading.jpegs([5])[0]) != jpeg(5)  # was compared before
        assert bytes(reading.jpegs([4])[0]) == jpeg(4)
    for act in (lambda: store.at(5), lambda: store["f001#001"]):
        with pytest.raises(CorruptSampleError, match=r"^f001#001: "):
            act()
    assert not store.verify().ok
    with Store(path).reading() as reading, pytest.raises(CorruptSampleError):
        reading.jpegs([5])[0]


def test_a_flipped_record_byte_names_its_sample(store_path: Path) -> None:
    flip_stored(store_path, b"f000#003", Store(store_path).record_bytes(3), 7)
    store = Store(store_path)
    for act in (lambda: store.record(3), lambda: store.at(3), lambda: store["f000#003"]):
        with pytest.raises(CorruptSampleError, match=r"^f000#003: its record is damaged"):
            act()
    assert store.at(2).label == 2


# -- replaced


def test_a_pickle_of_a_replaced_store_is_refused(make_store: MakeStore) -> None:
    path = make_store()
    kept = pickle.dumps(Store(path))
    assert pickle.loads(kept).at(0).label == 0
    make_store(first=100, overwrite=True)
    with pytest.raises(StoreChangedError, match="was replaced"):
        pickle.loads(kept)
    make_store(overwrite=True)
    assert pickle.loads(kept).at(0).label == 0, "the same content is the same store"


def test_a_pickle_of_a_removed_store_is_refused(make_store: MakeStore) -> None:
    path = make_store()
    kept = pickle.dumps(Store(path))
    shutil.rmtree(path)
    with pytest.raises(StoreNotFoundError):
        pickle.loads(kept)


@pytest.mark.parametrize("used", ["nothing", "columns", "samples"])
def test_a_store_replaced_under_an_open_one_is_told_or_goes_on(
    used: str, make_store: MakeStore, jpeg: Jpegs
) -> None:
    path = make_store()
    store = Store(path)
    if used == "columns":
        _ = list(store.columns.values()), store.ids.maps()
    if used == "samples":
        store.at(0)
    make_store(first=100, overwrite=True)
    if used == "samples":
        assert store.at(1).jpeg == jpeg(1), "its files are held open"
    else:
        with pytest.raises(StoreChangedError):
            store.at(1)


def test_a_store_replaced_before_a_fork_is_told_in_the_child(
    make_store: MakeStore, in_child: InChild
) -> None:
    path = make_store()
    store = Store(path)
    store.at(0)
    make_store(first=100, overwrite=True)

    def read() -> None:
        with pytest.raises(StoreChangedError):
            store.at(1)

    assert in_child(read) == 0


def test_crc32_is_the_one_of_zlib(store_path: Path, jpeg: Jpegs) -> None:
    store = Store(store_path)
    assert store.columns["crc32"].tolist() == [zlib.crc32(jpeg(row)) for row in range(8)]
    records = [zlib.crc32(store.record_bytes(row)) for row in range(8)]
    assert store.columns["record_crc32"].tolist() == records
    assert store.at(0).kind is Kind.PERSON


@pytest.mark.parametrize(
    "expression",
    [
        "'3' == label",
        "width > 1 and label != 'a'",
        "label in ['person', 'junk']",
        "label == 1 & width == '16'",
        "label not in ('1', 2)",
    ],
)
def test_numbers_are_not_compared_with_text(expression: str, store_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds numbers, not '"):
        Store(store_path).query(expression)


def test_an_id_that_is_not_there_is_answered_with_the_nearest(store_path: Path) -> None:
    with pytest.raises(UnknownSampleError, match="Did you mean 'f000#003'"):
        _ = Store(store_path)["f000#0039"]


def test_a_row_that_is_not_there_is_an_error_of_ours(store_path: Path) -> None:
    store = Store(store_path)
    for call in (lambda: store.at(8), lambda: store.record(-1), lambda: store.ids[99]):
        with pytest.raises(UnknownRowError, match="of a store of 8 samples"):
            call()


@pytest.mark.parametrize("path", [None, 3, b"a.lmdb"])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(UsageError, match="opened by its path"):
        Store(path)


def test_a_closed_store_still_tells_its_counts_in_a_notebook(store_path: Path) -> None:
    with Store(store_path) as store:
        assert "<img" in store._repr_html_()
    assert re.search("samples</th><td[^>]*>8<", store._repr_html_())
    assert "<img" not in store._repr_html_()


def test_a_store_that_outlives_its_modules_ends_quietly(
    store_path: Path, run_python: Callable[..., str]
) -> None:
    script = """
import sys
from lmdb_reid.store import Store, _handles
store = Store(sys.argv[1])
print(len(store[store.ids[0]].jpeg) > 0)
_handles.release = None  # as the interpreter leaves it, when it takes modules apart in this order
"""
    assert run_python(script, store_path) == "True\n"


def test_an_error_names_the_samples_rows_and_store_that_it_is_about(store_path: Path) -> None:
    with Store(store_path) as store:
        with pytest.raises(UnknownSampleError) as sample:
            store["nobody"]
        with pytest.raises(UnknownRowError) as row:
            store.at(99)
    assert (sample.value.ids, sample.value.path) == (("nobody",), str(store_path))
    assert (row.value.rows, row.value.path) == ((99,), str(store_path))
    with pytest.raises(StoreNotFoundError) as missing:
        Store(store_path / "x")
    assert missing.value.path == str(store_path / "x")


def test_a_store_removed_and_copied_anew_is_not_taken_for_the_old_one(
    make_store: MakeStore, jpeg: Jpegs
) -> None:
    """Its data file may well have the old one's inode."""
    path, other = make_store(), make_store("other.lmdb", first=100)
    for _ in range(5):
        store = Store(path)
        shutil.rmtree(path)
        shutil.copytree(other, path)
        for act in (lambda store=store: store.at(1), lambda store=store: _viewed(store)):
            with pytest.raises(StoreChangedError):
                act()
        shutil.rmtree(path)
        shutil.copytree(make_store("again.lmdb", overwrite=True), path)
        assert store.at(1).jpeg == jpeg(1), "the same content is the same store"
        store.close()


def _viewed(store: Store) -> bytes:
    with store.view() as view:
        return bytes(view["f000#001"])


def test_a_store_exchanged_while_it_is_opened_is_opened_anew(
    make_store: MakeStore, jpeg: Jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_store()
    make_store("other.lmdb", count=30, first=100)
    check, exchanged = ColumnFiles.check_sizes, []

    def exchange_first(files: ColumnFiles) -> None:
        if not exchanged:
            exchanged.append(path.rename(path.with_name("away.lmdb")))
            path.with_name("other.lmdb").rename(path)
        check(files)

    monkeypatch.setattr(ColumnFiles, "check_sizes", exchange_first)
    store = Store(path)
    assert len(store) == 30
    assert store.at(0).jpeg == jpeg(100)


DAMAGED = (
    "f000#002: its image .*(it has another length than|its entry in LMDB's tree differs from)"
    " the seal"
)


@pytest.mark.parametrize("byte", [-8, -7])  # py-lmdb itself reads all pages of what is longer
@pytest.mark.parametrize("size", [(32, 16), (128, 64)])
def test_an_image_whose_length_is_damaged_is_not_read_beyond_its_end(
    byte: int, size: tuple[int, int], make_store: MakeStore, jpeg: Jpegs, in_child: InChild
) -> None:
    """LMDB gives a view of whatever length its node says; the larger ones have pages of their own
    and a node that says how long they are.
    """
    store_path = make_store(size=size)
    data = bytearray((store_path / "data.mdb").read_bytes())
    key = b"f000#002"
    length = len(jpeg(2, size)).to_bytes(4, "little")
    at = data.find(key)
    while at > 0:  # a node is its length (u16, u16), flags and key size, then the key
        if data[at - 8 : at - 4] == length:
            data[at + byte] ^= 0x10
        at = data.find(key, at + 1)
    (store_path / "data.mdb").write_bytes(data)
    store = Store(store_path)

    def read() -> None:
        for act in (lambda: store.at(2), lambda: store["f000#002"], lambda: _look(store)):
            with pytest.raises((CorruptSampleError, StoreDamagedError), match=DAMAGED):
                act()
        with store.reading() as reading:
            with pytest.raises((CorruptSampleError, StoreDamagedError), match=DAMAGED):
                reading.jpegs([1, 2])
            assert bytes(reading.jpegs([3])[0]) == jpeg(3, size), "the block goes on"
        with store.view() as view:
            with pytest.raises((CorruptSampleError, StoreDamagedError), match=DAMAGED):
                view["f000#002"]
            assert bytes(view["f000#003"]) == jpeg(3, size)
        assert store.at(1).jpeg == jpeg(1, size)

    def _look(store: Store) -> bytes:
        with store.view() as view:
            return bytes(view["f000#002"])

    assert in_child(read) == 0


@pytest.mark.parametrize(
    "expression", ["quarter == 1", "2.5 > quarter", "quarter in [0, 1]", "quarter != -1"]
)
def test_text_is_not_compared_with_numbers(expression: str, store_path: Path) -> None:
    with pytest.raises(UsageError, match=r"quarter holds text, not the number"):
        Store(store_path).query(expression)


def test_text_that_looks_like_a_number_is_found_as_text(make_store: MakeStore) -> None:
    store = Store(make_store(fields={"quarter": "1"}))
    assert len(store.query("quarter == '1'")) == len(store.query("quarter in ['1', '2']")) == 8
