from __future__ import annotations

import gc
import math
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmdb_reid import Store, StoreWriter
from lmdb_reid.errors import (
    ResourceError,
    StoreChangedError,
    StoreDamagedError,
    UnknownColumnError,
)
from lmdb_reid.store import Columns
from lmdb_reid.store._column_files import ColumnFiles
from lmdb_reid.store._columns_builder import ColumnsBuilder
from lmdb_reid.store._format import Facts

CORE = {
    "label": "<i8",
    "kind": "|u1",
    "crc32": "<u4",
    "record_crc32": "<u4",
    "image_size": "<u4",
    "record_size": "<u4",
    "width": "<i4",
    "height": "<i4",
    "src_order": "<i8",
}
MISSING = object()
NAN = pytest.approx(math.nan, nan_ok=True)
HUGE = 1 << 60  # a float would round it


@pytest.fixture
def columns_of(tmp_path: Path, jpeg: Callable[..., bytes]) -> Callable[..., Columns]:
    """The columns of a store whose samples have one field with these values each."""

    def make(values: Sequence[Any], name: str = "x") -> Columns:
        with StoreWriter(tmp_path / "a.lmdb", overwrite=True) as writer:
            for row, value in enumerate(values):
                writer.put(f"{row:04d}", jpeg(), {} if value is MISSING else {name: value})
            writer.seal()
        return Store(tmp_path / "a.lmdb").columns

    return make


def test_the_core_columns_are_always_there(store_path: Path) -> None:
    columns = Store(store_path).columns
    for name, dtype in CORE.items():
        assert columns[name].dtype == np.dtype(dtype)
        assert columns[name].shape == (8,)
        assert columns.categories(name) is None
    assert columns["width"].tolist() == [16] * 8
    assert columns["height"].tolist() == [32] * 8
    assert set(columns) == {*CORE, "quarter"}
    assert len(columns) == len(CORE) + 1
    assert repr(columns).startswith("Columns(label: <i8, kind: |u1")


@pytest.mark.parametrize(
    ("values", "dtype", "stored"),
    [
        ([3, -1, HUGE], "<i8", [3, -1, HUGE]),
        ([-(1 << 63), (1 << 63) - 1], "<i8", [-(1 << 63), (1 << 63) - 1]),
        ([True, False], "<i8", [1, 0]),
        ([True, 7], "<i8", [1, 7]),
        ([1.5, 2.0], "<f8", [1.5, 2.0]),
        ([1, 2.5], "<f8", [1.0, 2.5]),
        ([2.5, 1], "<f8", [2.5, 1.0]),
        ([1.0, math.inf, -math.inf, math.nan], "<f8", [1.0, math.inf, -math.inf, NAN]),
        ([1, None, 3], "<f8", [1.0, NAN, 3.0]),
        ([MISSING, 1, MISSING, MISSING, 3], "<f8", [NAN, 1.0, NAN, NAN, 3.0]),
        ([1, MISSING], "<f8", [1.0, NAN]),
        ([None, None], "<f8", [NAN, NAN]),
        ([1 << 53, None], "<f8", [float(1 << 53), NAN]),
    ],
)
def test_numbers(
    values: list[Any], dtype: str, stored: list[Any], columns_of: Callable[..., Columns]
) -> None:
    columns = columns_of(values)
    assert columns["x"].dtype == np.dtype(dtype)
    assert columns["x"].tolist() == stored
    assert columns.categories("x") is None


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["b", "a", "b", "c"], ["b", "a", "b", "c"]),
        (["a", MISSING, None, "a"], ["a", None, None, "a"]),
        ([MISSING, "ü", "日本"], [None, "ü", "日本"]),
        (["", "a"], ["", "a"]),
        ([1, "a"], ["1", "a"]),
        (["a", 1, 2.5, True], ["a", "1", "2.5", "1"]),
        ([1.5, None, "a"], ["1.5", None, "a"]),
        ([HUGE, None], [str(HUGE), None]),
        ([None, HUGE], [None, str(HUGE)]),
        ([HUGE, 2.5], [str(HUGE), "2.5"]),
        ([2.5, HUGE], ["2.5", str(HUGE)]),
        ([1, 1 << 63], ["1", str(1 << 63)]),
        (["\n\t\x00", "\u2028"], ["\n\t\x00", "\u2028"]),
    ],
)
def test_strings_are_codes_into_sorted_categories(
    values: list[Any], texts: list[str | None], columns_of: Callable[..., Columns]
) -> None:
    columns = columns_of(values)
    categories = columns.categories("x")
    assert categories is not None
    assert categories == sorted(set(categories))
    assert set(categories) == {text for text in texts if text is not None}
    assert columns["x"].dtype == np.dtype("<i4")
    found = [None if code < 0 else categories[code] for code in columns["x"].tolist()]
    assert found == texts
    assert columns["x"].min() >= -1


@pytest.mark.parametrize("values", [[[1, 2]], [{"a": 1}], [b"\0"], [[1], [2]], [b"a", [1]]])
def test_what_is_no_scalar_is_no_column(
    values: list[Any], columns_of: Callable[..., Columns]
) -> None:
    columns = columns_of(values)
    assert "x" not in columns
    assert set(columns) == {*CORE}


def test_a_field_that_is_a_list_here_and_a_number_there(
    columns_of: Callable[..., Columns],
) -> None:
    assert columns_of([1, [2], 3])["x"].tolist() == [1.0, NAN, 3.0]


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("id", "src_id"),
        ("id_offsets", "src_id_offsets"),
        ("crc32", "src_crc32"),
        ("record_crc32", "src_record_crc32"),
        ("width", "src_width"),
        ("height", "src_height"),
        ("a b", "a_b"),
        ("naïve/é", "na_ve__"),
        ("../../x", "______x"),
        ("x" * 80, "x" * 64),
        ("日本", "__"),
        ("UPPER_9", "UPPER_9"),
    ],
)
def test_names_that_cannot_be_columns_are_cleaned(
    field: str, column: str, columns_of: Callable[..., Columns], tmp_path: Path
) -> None:
    columns = columns_of([7, 8], field)
    assert columns[column].tolist() == [7, 8]
    manifest = Store(tmp_path / "a.lmdb").manifest
    assert (manifest.columns[column].field or column) == field
    assert Store(tmp_path / "a.lmdb").at(0).record[field] == 7
    files = {file.name for file in (tmp_path / "a.lmdb" / "columns").iterdir()}
    assert f"{column}.bin" in files


def test_names_that_come_out_the_same_stay_apart(
    tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    fields = ["a b", "a.b", "a_b", "a_b_2", "id", "src_id", "x" * 64, "x" * 65, "x" * 66]
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("s", jpeg(), {field: number for number, field in enumerate(fields)})
        writer.seal()
    store = Store(tmp_path / "a.lmdb")
    specs = store.manifest.columns
    by_field = {specs[name].field or name: name for name in store.columns}
    for number, field in enumerate(fields):
        assert store.columns[by_field[field]].tolist() == [number]
    assert all(len(name) <= 64 for name in store.columns)


def test_label_and_kind_are_core_and_nothing_else(columns_of: Callable[..., Columns]) -> None:
    columns = columns_of([5, 6], "label")
    assert columns["label"].tolist() == [5, 6]
    assert "src_label" not in columns


def test_columns_are_read_only_maps(store_path: Path) -> None:
    column = Store(store_path).columns["label"]
    assert isinstance(column.base, np.memmap)
    assert column.flags.aligned
    assert not column.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 1


def test_a_column_is_mapped_once(store_path: Path) -> None:
    columns = Store(store_path).columns
    assert columns["label"] is columns["label"]


def test_columns_stay_valid_when_the_store_is_gone(
    store_path: Path, in_child: Callable[[Callable[[], object]], int]
) -> None:
    store = Store(store_path)
    store.at(0)
    label = store.columns["label"]
    part = label[2:5]
    store.close()
    del store
    gc.collect()

    def read() -> None:
        assert label.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]  # noqa: F821  # deleted below, after the call

    assert in_child(read) == 0
    read()
    del label
    assert part.tolist() == [2, 0, 1]


def test_a_column_of_no_such_name(store_path: Path) -> None:
    columns = Store(store_path).columns
    assert "nope" not in columns
    assert columns.get("nope") is None
    for act in (columns.__getitem__, columns.categories):
        with pytest.raises(KeyError, match="nope"):
            act("nope")


def test_ids_lie_in_two_files_and_are_no_columns(store_path: Path) -> None:
    store = Store(store_path)
    text, offsets = store.ids.maps()
    assert offsets.tolist() == list(range(0, 8 * 8 + 1, 8))
    assert bytes(text[:16]) == b"f000#000f000#001"
    assert len(text) == offsets[-1]
    for name in ("id", "id_offsets"):
        with pytest.raises(UnknownColumnError, match=r"ids are store\.ids"):
            store.columns[name]


def test_columns_keep_the_law_of_mappings(store_path: Path) -> None:
    columns = Store(store_path).columns
    assert [name for name in ("label", "id", "id_offsets", "nope", 3) if name in columns] == [
        "label"
    ]
    assert [name for name in columns if name not in columns] == []
    assert len(list(columns)) == len(columns) == len(dict(columns)) == len(set(columns.keys()))
    assert all(values.shape == (8,) for values in columns.values())
    assert columns.get("id") is None


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.integers(-3, 3),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # files are written anew
)
@given(st.lists(values | st.just(MISSING), min_size=1, max_size=8))
def test_any_values_come_back_or_are_said_to_be_strings(
    tmp_path: Path, given_values: list[Any]
) -> None:
    builder = ColumnsBuilder()
    core = Facts(1, 1, 1, 1, 1, 1, src_order=0, sha256=bytes(32))
    for row, value in enumerate(given_values):
        record = {"label": -1, "kind": 0} | ({} if value is MISSING else {"x": value})
        builder.add(f"{row:03d}".encode(), record, core)
    specs = builder.write(tmp_path / "columns")
    if "x" not in specs:
        assert all(value is MISSING for value in given_values)
        return
    columns = Columns(ColumnFiles(tmp_path, specs))
    categories = columns.categories("x")
    assert len(columns["x"]) == len(given_values)
    for value, stored in zip(given_values, columns["x"].tolist(), strict=True):
        if categories is not None:
            known = None if stored < 0 else categories[stored]
            if isinstance(value, str):
                assert known == value
            elif value is MISSING or value is None:
                assert known is None
            elif not (isinstance(value, float) and math.isnan(value)):
                assert known is not None
                assert float(known) == float(value)
        elif value is MISSING or value is None:
            assert math.isnan(stored)
        else:
            assert stored == value or math.isnan(value)


def test_a_process_that_may_open_no_more_files_is_told_how_to_allow_more(
    columns_of: Callable[..., Columns],
) -> None:
    columns = columns_of([1, 2])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(ResourceError, match="ulimit -n") as caught:
            columns["x"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.path
    assert caught.value.path.endswith("x.bin")


def test_an_unknown_column_names_its_store(
    columns_of: Callable[..., Columns], tmp_path: Path
) -> None:
    for ask in (columns_of([1]).__getitem__, columns_of([1]).categories):
        with pytest.raises(UnknownColumnError, match=r"no column 'y' in .*It has .*x") as caught:
            ask("y")
        assert caught.value.path == str(tmp_path / "a.lmdb")


def test_a_store_that_lost_its_name_for_a_while_is_not_called_damaged(store_path: Path) -> None:
    """What was read meanwhile may have been of another store, which has gone again."""
    store = Store(store_path)
    away = store_path.with_name("away.lmdb")
    store_path.rename(away)
    away.rename(store_path)
    file = store_path / "columns" / "label.bin"
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    with pytest.raises(StoreChangedError, match="Open it again"):
        store.columns["label"]
    with pytest.raises(StoreDamagedError):
        Store(store_path).columns["label"]
