"""What a reader asks of a manifest, of whoever wrote it."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmdb_reid import Store, StoreWriter
from lmdb_reid.errors import StoreDamagedError, StoreVersionError, UsageError
from lmdb_reid.schema import Roles
from lmdb_reid.store import Manifest

Jpegs = Callable[..., bytes]
Change = Callable[[dict[str, Any]], object]
PART_2 = {"path": "../b.lmdb/data.mdb", "first": 8}


def summed_up(manifest: dict[str, Any]) -> bytes:
    """A manifest as somebody would write it who knows the format."""
    manifest.pop("crc32", None)
    text = json.dumps(manifest, sort_keys=True, ensure_ascii=False).encode()
    return json.dumps(manifest | {"crc32": zlib.crc32(text)}).encode()


def edit(path: Path, change: Change) -> None:
    manifest = json.loads((path / "manifest.json").read_bytes())
    change(manifest)
    (path / "manifest.json").write_bytes(summed_up(manifest))


def test_a_manifest_comes_back_from_its_bytes(store_path: Path) -> None:
    manifest = Store(store_path).manifest
    assert Manifest.parse(manifest.bytes()) == manifest
    assert manifest.samples == 8
    assert manifest.columns["label"].dtype == "<i8"
    assert manifest.parts[0].count == 8
    with pytest.raises(AttributeError):
        manifest.samples = 3  # type: ignore[misc]


def test_a_newer_minor_version_is_read_and_what_it_adds_is_ignored(store_path: Path) -> None:
    def newer(manifest: dict[str, Any]) -> None:
        manifest.update(version=[1, 7], licence={"deep": [{"er": None}]})
        manifest["parts"][0].update(sha256="0" * 64, mirrors=["a", "b"])
        manifest["columns"]["label"].update(unit="none")
        manifest["roles"].update(weather="sky")

    edit(store_path, newer)
    store = Store(store_path)
    assert store.manifest.version == (1, 7)
    assert store.at(0).label == 0
    assert store.verify(deep=True).ok


def test_another_major_version_is_refused_with_the_versions(store_path: Path) -> None:
    edit(store_path, lambda manifest: manifest.update(version=[2, 0]))
    with pytest.raises(StoreVersionError, match=r"format 2\.0; this code reads lmdb_reid 1\.x"):
        Store(store_path)


def test_a_manifest_of_two_megabytes_is_refused_unread(store_path: Path) -> None:
    edit(store_path, lambda manifest: manifest["source"].update(notes="x" * (2 << 20)))
    with pytest.raises(StoreDamagedError, match="more than 1,048,576 bytes"):
        Store(store_path)


def test_a_name_that_stands_twice_is_refused(store_path: Path) -> None:
    file = store_path / "manifest.json"
    text = file.read_bytes().replace(b'"samples": 8,', b'"samples": 8, "samples": 8,')
    file.write_bytes(text)
    with pytest.raises(StoreDamagedError, match="the name 'samples' occurs twice"):
        Store(store_path)


@pytest.mark.parametrize("text", [b"[" * 990 + b"]" * 990, b"[" * 100_000, b'{"a":' * 50_000])
def test_deep_nesting_is_refused(text: bytes, store_path: Path) -> None:
    (store_path / "manifest.json").write_bytes(text)
    with pytest.raises(StoreDamagedError, match="is not a valid manifest"):
        Store(store_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 65, "ü", "a\nb", "a.b"])
def test_a_column_named_as_no_column_may_be_is_refused(name: str, store_path: Path) -> None:
    def add(manifest: dict[str, Any]) -> None:
        manifest["columns"][name] = dict(manifest["columns"]["label"])

    edit(store_path, add)
    with pytest.raises(StoreDamagedError, match="a name must be like"):
        Store(store_path)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("label", "<f8"), ("kind", "<i8"), ("id", "<u4"), ("id_offsets", "<f8"), ("crc32", "<i8")],
)
def test_core_columns_have_their_dtypes(name: str, dtype: str, store_path: Path) -> None:
    edit(store_path, lambda manifest: manifest["columns"][name].update(dtype=dtype))
    with pytest.raises(StoreDamagedError, match=f"column '{name}' must be of dtype"):
        Store(store_path)


def at(*path: str | int) -> Callable[[dict[str, Any], Any], None]:
    def put(manifest: dict[str, Any], value: Any) -> None:
        for step in path[:-1]:
            manifest = manifest[step]  # type: ignore[index]
        manifest[path[-1]] = value  # type: ignore[index]

    return put


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (at("samples"), 8.0),
        (at("samples"), True),
        (at("samples"), 1 << 60),
        (at("identities"), -1),
        (at("size"), [10**9, 10**9]),
        (at("size"), [-1, -1]),
        (at("size"), "ab"),
        (at("size"), [256]),
        (at("size"), {"0": 1, "1": 1}),
        (at("kinds"), ["person"]),
        (at("kinds"), {"person": 7}),
        (at("kinds"), {"../x": 8}),
        (at("digest"), "zz"),
        (at("digest"), "0" * 64),
        (at("columns"), []),
        (at("columns", "label"), 3),
        (at("columns", "label", "length"), 345.0),
        (at("columns", "label", "dtype"), ["<i8"]),
        (at("columns", "label", "crc32"), 1 << 32),
        (at("columns", "quarter", "categories"), 2),
        (at("columns", "quarter", "categories", "size"), -1),
        (at("columns", "quarter", "dtype"), "<i8"),
        (at("roles"), None),
        (at("roles", "identity"), None),
        (at("roles", "camera"), "nope"),
        (at("roles", "camera"), "id"),
        (at("roles", "group"), "quarter"),
        (at("roles", "time"), ["quarter", "../x"]),
        (at("parts"), []),
        (at("parts"), {}),
        (at("parts", 0, "path"), ""),
        (at("parts", 0, "path"), "a\nb"),
        (at("parts", 0, "name"), "../x"),
        (at("parts", 0, "name"), "/x"),
        (at("parts", 0, "first"), 1),
        (at("parts", 0, "count"), 7),
        (at("parts", 0, "images"), 9),
        (at("parts", 0, "size"), None),
        (at("parts", 0, "digest"), None),
        (at("parts", 0, "label_offset"), -1),
        (at("build"), []),
        (at("source"), None),
        (at("version"), [1]),
        (at("version"), [1, "0"]),
        (at("version"), [1.0, 0]),
    ],
)
def test_fields_of_another_type_or_range_are_refused(
    place: Callable[[dict[str, Any], Any], None], value: Any, store_path: Path
) -> None:
    edit(store_path, lambda manifest: place(manifest, value))
    with pytest.raises((StoreDamagedError, StoreVersionError), match=r"manifest\.json"):
        Store(store_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "data.mdb"}, "parts\\[0\\] and parts\\[1\\] have one path"),
        ({}, "parts\\[0\\] and parts\\[1\\] have one digest"),
        ({"digest": "1" * 64, "first": 7}, "parts\\[1\\] begins at row 7, not 8"),
        ({"digest": "1" * 64, "name": "b"}, "all or none have names"),
    ],
)
def test_parts_that_are_not_those_of_one_store_are_refused(
    change: dict[str, Any], message: str, store_path: Path
) -> None:
    def add(manifest: dict[str, Any]) -> None:
        manifest["parts"].append(manifest["parts"][0] | PART_2 | change)

    edit(store_path, add)
    with pytest.raises(StoreDamagedError, match=message):
        Store(store_path)


def test_part_names_that_can_give_one_id_are_refused(store_path: Path) -> None:
    def add(manifest: dict[str, Any]) -> None:
        (part,) = manifest["parts"]
        manifest["parts"] = [
            part | {"name": "a"},
            part | PART_2 | {"name": "a/b", "digest": "1" * 64},
        ]

    edit(store_path, add)
    with pytest.raises(StoreDamagedError, match="'a' and 'a/b' can lead to the same id"):
        Store(store_path)


@pytest.mark.parametrize("file", ["manifest.json", "columns/quarter.json", "columns/label.bin"])
@pytest.mark.parametrize("kind", ["fifo", "zero", "folder", "loop"])
def test_what_is_no_regular_file_is_refused_at_once(file: str, kind: str, store_path: Path) -> None:
    target = store_path / file
    target.unlink()
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "zero":
        target.symlink_to("/dev/zero")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(target)
    with pytest.raises(StoreDamagedError, match=target.name.replace(".", r"\.")):
        Store(store_path)


# -- categories that were sealed wrong


@pytest.mark.parametrize(
    "text", ["{}", "[[]]", '["Q0"]', '["Q0", "Q0"]', '["Q0", 3]', "[", "[" * 5000, '["Q0", NaN]']
)
def test_categories_that_are_none_are_refused(text: str, store_path: Path) -> None:
    data = text.encode()
    (store_path / "columns" / "quarter.json").write_bytes(data)
    spec = {"size": len(data), "crc32": zlib.crc32(data)}
    edit(store_path, lambda m: m["columns"]["quarter"]["categories"].update(spec))
    store = Store(store_path)
    for act in (lambda: store.columns.categories("quarter"), store.to_pandas):
        with pytest.raises(StoreDamagedError, match=r"quarter\.json holds no categories"):
            act()
    assert not store.verify().ok


@pytest.mark.parametrize("code", [2, -2, 1 << 20])
def test_codes_beyond_the_categories_are_refused(code: int, store_path: Path) -> None:
    file = store_path / "columns" / "quarter.bin"
    data = code.to_bytes(4, "little", signed=True) + file.read_bytes()[4:]
    file.write_bytes(data)
    edit(store_path, lambda m: m["columns"]["quarter"].update(crc32=zlib.crc32(data)))
    with pytest.raises(StoreDamagedError, match=r"quarter\.bin must hold codes in -1\.\.1"):
        _ = Store(store_path).columns["quarter"]


@pytest.mark.parametrize("offsets", [[0, 16, 8], [1, 8, 16], [0, 8, 8]])
def test_ids_that_do_not_ascend_are_refused(offsets: list[int], store_path: Path) -> None:
    file = store_path / "columns" / "id_offsets.bin"
    first = b"".join(offset.to_bytes(8, "little") for offset in offsets)
    data = first + file.read_bytes()[len(first) :]
    file.write_bytes(data)
    edit(store_path, lambda m: m["columns"]["id_offsets"].update(crc32=zlib.crc32(data)))
    with pytest.raises(StoreDamagedError, match=r"id_offsets\.bin must ascend"):
        Store(store_path).at(0)


# -- roles, the source's order, derived columns


def test_roles_come_back(make_store: Callable[..., Path]) -> None:
    roles = Roles(camera="quarter", group=("quarter",), time=("src_order",))
    store = Store(make_store(roles=roles))
    assert store.roles == store.manifest.roles == roles
    assert Store(make_store("b.lmdb")).roles == Roles()


def test_a_role_that_names_no_column_is_refused_and_the_build_can_be_resumed(
    tmp_path: Path, jpeg: Jpegs
) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path, roles=Roles(camera="angle")) as writer:
        writer.put("a", jpeg(), {"label": 1})
        with pytest.raises(UsageError, match="the role 'camera' must name a column, got 'angle'"):
            writer.seal()
    with StoreWriter(path, roles=Roles(camera="label"), resume=True) as writer:
        writer.seal()
    assert Store(path).roles.camera == "label"


def test_settings_too_large_for_a_manifest_are_refused(tmp_path: Path, jpeg: Jpegs) -> None:
    for name in ("settings", "source"):
        with pytest.raises(UsageError, match=f"{name} must have at most 262,144 bytes"):
            StoreWriter(tmp_path / "a.lmdb", **{name: {"notes": "x" * (1 << 18)}})
    assert list(tmp_path.iterdir()) == []


def test_more_columns_than_a_manifest_holds_are_refused(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(), {f"{'x' * 50}{number}": number for number in range(9_000)})
        with pytest.raises(UsageError, match="a manifest must have at most 1,048,576 bytes"):
            writer.seal()


def test_a_fingerprint_tells_orders_of_parts_apart(store_path: Path) -> None:
    manifest = Store(store_path).manifest
    (part,) = manifest.parts
    one, other = replace(part, name="a"), replace(part, name="b", digest="1" * 64)
    ways = [
        replace(manifest, parts=parts).fingerprint
        for parts in ((one, other), (other, one), (one,), (replace(one, label_offset=3), other))
    ]
    assert len({*ways, manifest.fingerprint}) == 5
    assert manifest.fingerprint == manifest.digest
