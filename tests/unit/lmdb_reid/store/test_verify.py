from __future__ import annotations

import dataclasses
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import pytest

from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.cli.main import main
from lmdb_reid.errors import CorruptSampleError, InvalidSampleError, StoreDamagedError
from lmdb_reid.store import _format, _prepared

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """As somebody would write it who knows how to sum it up."""
    manifest.pop("crc32")
    text = json.dumps(manifest, sort_keys=True, ensure_ascii=False).encode()
    (path / "manifest.json").write_text(json.dumps(manifest | {"crc32": zlib.crc32(text)}))


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def flip_stored(path: Path, key: bytes, value: bytes) -> None:
    """Flip a bit of a stored value, also in the stale copies of it that LMDB left behind."""
    data = bytearray((path / "data.mdb").read_bytes())
    at = data.find(key + value)  # small values follow their key
    assert at > 0
    while at > 0:
        data[at + len(key) + len(value) // 2] ^= 1
        at = data.find(key + value, at + 1)
    (path / "data.mdb").write_bytes(data)


def problems(store: Store, *, deep: bool = False) -> list[str]:
    found = store.verify(deep=deep)
    assert found.count == len(found.problems)
    assert found.ok is not bool(found.problems)
    assert (found.samples, found.deep) == (len(store), deep)
    return found.problems


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_store_has_no_problems(deep: bool, store_path: Path) -> None:
    assert problems(Store(store_path), deep=deep) == []


@pytest.mark.parametrize("deep", [False, True])
def test_a_flipped_image_byte_is_listed(deep: bool, store_path: Path, jpeg: Jpegs) -> None:
    flip_stored(store_path, b"f000#002", jpeg(2))
    (found,) = problems(Store(store_path), deep=deep)
    assert found.startswith("f000#002: its image")


@pytest.mark.parametrize("deep", [False, True])
def test_a_flipped_record_byte_is_listed(deep: bool, store_path: Path) -> None:
    flip_stored(store_path, b"f001#003", Store(store_path).record_bytes(7))
    (found,) = problems(Store(store_path), deep=deep)
    assert found.startswith("f001#003: its record")


@pytest.mark.parametrize("name", ["label", "id", "id_offsets", "crc32", "height", "quarter"])
def test_a_flipped_column_is_listed(name: str, store_path: Path) -> None:
    store = Store(store_path)
    flip(store_path / "columns" / f"{name}.bin", 3)
    (found,) = problems(store)
    assert f"{name}.bin is damaged" in found


def test_flipped_categories_are_listed(store_path: Path) -> None:
    flip(store_path / "columns" / "quarter.json", 3)
    (found,) = problems(Store(store_path))
    assert "quarter.json is damaged" in found


def test_every_damaged_file_and_sample_is_listed(store_path: Path, jpeg: Jpegs) -> None:
    for row in (1, 5):
        flip_stored(store_path, Store(store_path).ids.key(row), jpeg(row))
    assert [line[:8] for line in problems(Store(store_path))] == ["f000#001", "f001#001"]
    for name in ("label", "width"):
        flip(store_path / "columns" / f"{name}.bin", 0)
    found = problems(Store(store_path))
    assert len([line for line in found if ".bin is damaged" in line]) == 2


def test_pages_that_hang_nowhere_are_listed(store_path: Path) -> None:
    store = Store(store_path)
    data = bytearray((store_path / "data.mdb").read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 + 8 : page * 4096 + 12] = bytes(4)  # neither branch nor leaf
    (store_path / "data.mdb").write_bytes(data)
    assert all(line.startswith("data.mdb: ") for line in problems(store))
    assert not store.verify().ok


def test_data_cut_while_the_store_is_open_is_listed(store_path: Path) -> None:
    store = Store(store_path)
    data = store_path / "data.mdb"
    data.write_bytes(data.read_bytes()[:8192])
    assert problems(store)


def test_at_most_a_thousand_problems_are_kept(make_store: MakeStore, jpeg: Jpegs) -> None:
    found = Store(make_store()).verify()
    for number in range(1500):
        found.add(f"problem {number}")
    assert found.count == 1500
    assert len(found.problems) == 1000
    assert not found.ok


# -- what only a deep look finds: damage that was there before the checksums were


def swapped(path: Path, sample_id: str, jpeg: bytes) -> None:
    """A store that was sealed with `jpeg`, whose checksums fit, under the digest of another."""
    store = Store(path)
    samples = [store.at(row) for row in range(len(store))]
    manifest = json.loads((path / "manifest.json").read_bytes())
    other = path.with_name("other.lmdb")
    with StoreWriter(other) as writer:
        for sample in samples:
            image = jpeg if sample.id == sample_id else sample.jpeg
            writer.put(sample.id, image, sample.record)
        writer.seal()
    changed = json.loads((other / "manifest.json").read_bytes())
    for name in ("data.mdb", "columns"):
        if (path / name).is_dir():
            shutil.rmtree(path / name)
        shutil.move(other / name, path / name)
    kept = {name: manifest[name] for name in ("kinds", "build", "source")}
    write_manifest(path, changed | kept)


def test_an_image_that_never_could_be_decoded_is_found_by_decoding_it(
    store_path: Path, jpeg: Jpegs
) -> None:
    swapped(store_path, "f000#003", jpeg(3)[:-60])
    assert problems(Store(store_path)) == []
    found = problems(Store(store_path), deep=True)
    assert [line[:8] for line in found] == ["f000#003"]
    with pytest.raises(ValueError, match=r"^f000#003: "):
        _ = Store(store_path).at(3).image


def test_a_digest_that_is_not_the_contents_is_found(store_path: Path) -> None:
    store = Store(store_path)
    store.at(0)
    part = store._parts[0]
    part.spec = dataclasses.replace(part.spec, digest="0" * 64)
    part.check = lambda: None  # type: ignore[method-assign]  # a part that was sealed so
    (found,) = problems(store, deep=True)
    assert "0" * 64 in found


def test_an_image_of_another_size_than_its_columns_say(store_path: Path, jpeg: Jpegs) -> None:
    store = Store(store_path)
    height = store.columns["height"].copy()
    height[2] = 40
    store._files._maps["height"] = height
    found = problems(store, deep=True)
    assert found == [
        "the manifest says size (32, 16); the columns say None",
        "f000#002: decodes to 32x16; the columns say 40x16",
    ]
    assert codec.decode(jpeg(2)).shape == (32, 16, 3)


@pytest.mark.parametrize("place", ["the meta page that is not in use", "the space behind it"])
def test_a_flipped_bit_that_no_sample_shows_is_listed(place: str, store_path: Path) -> None:
    data = bytearray((store_path / "data.mdb").read_bytes())
    numbers = [int.from_bytes(data[at + 16 + 128 - 8 :][:8], "little") for at in (0, 4096)]
    unused = 0 if numbers[0] < numbers[1] else 4096
    data[unused + (24 if place.startswith("the meta") else 4000)] ^= 1
    (store_path / "data.mdb").write_bytes(data)
    assert [sample.jpeg for sample in map(Store(store_path).at, range(8))]
    (found,) = problems(Store(store_path))
    assert "its crc32 differs from the manifest's, though every sample is" in found


def reseal_column(path: Path, name: str, values: npt.NDArray[Any]) -> None:
    """As somebody would who changes labels and knows how to sum them up."""
    data = values.tobytes()
    (path / "columns" / f"{name}.bin").write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["columns"][name]["crc32"] = zlib.crc32(data)
    write_manifest(path, manifest)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("label", "its record says 0; the column 'label' says otherwise"),
        ("kind", "the manifest says kinds"),
        ("quarter", "its record says 'Q0'; the column 'quarter' says otherwise"),
        ("x", "its record says 2.5; the column 'x' says otherwise"),
        ("n", "its record says 7; the column 'n' says otherwise"),
    ],
)
def test_columns_that_are_not_what_the_records_say_are_found(
    name: str, message: str, make_store: MakeStore
) -> None:
    path = make_store(fields={"x": 2.5, "n": 7, "nothing": None, "list": [1]})
    column = Store(path).columns[name].copy()
    assert problems(Store(path), deep=True) == []
    column[0], column[1] = (1, 0) if name in ("label", "kind", "quarter") else (9, 9)
    reseal_column(path, name, column)
    assert (problems(Store(path)) == []) is (name != "kind")
    assert message in problems(Store(path), deep=True)[0]


def test_a_record_that_was_sealed_as_none_names_its_sample(
    store_path: Path, monkeypatch: pytest.MonkeyPatch, jpeg: Jpegs
) -> None:
    bad = {
        "list": [1],
        "no kind": {"label": 1},
        "kind": {"label": 1, "kind": 77},
        "label": {"label": "1", "kind": 0},
        "less": {"label": -2, "kind": 0},
        "number": 3,
        "deep": None,
    }
    for number, (name, record) in enumerate(bad.items()):
        packed = b"\x91" * 5000 if name == "deep" else msgpack.packb(record)
        path = store_path.with_name(f"{number}.lmdb")
        with monkeypatch.context() as patch:
            patch.setattr(_format, "pack_record", lambda *_, packed=packed: packed)
            with StoreWriter(path) as writer:
                writer.put("bad", jpeg(), {})
                patch.setattr(_format, "unpack_record", lambda *_: {"label": 1, "kind": 0})
                writer.seal()
        store = Store(path)
        for act in (lambda store=store: store.at(0), lambda store=store: store.record(0)):
            with pytest.raises(CorruptSampleError, match=r"^bad: its record is not valid"):
                act()
        assert "bad: its record is not valid" in problems(store, deep=True)[0], name


def test_a_picture_without_limits_costs_verify_nothing(
    store_path: Path, monkeypatch: pytest.MonkeyPatch, jpeg: Jpegs
) -> None:
    huge = bytearray(jpeg())
    at = huge.index(b"\xff\xc0")
    huge[at + 5 : at + 9] = b"\xea\x60\xea\x60"  # 60,000 x 60,000 pixels
    path = store_path.with_name("huge.lmdb")
    with StoreWriter(path) as writer:
        with pytest.raises(InvalidSampleError, match="a store holds JPEG only"):
            writer.put("huge", bytes(huge), {})
        head = codec.SourceInfo(60_000, 60_000, "JPEG", 1, True)
        monkeypatch.setattr(_prepared, "probe", lambda _: head)
        writer.put("huge", bytes(huge), {})
        monkeypatch.undo()
        writer.seal()
    (found,) = problems(Store(path), deep=True)
    assert found.startswith("huge: ")
    assert "pixels" in found


# -- what a digest proves


def test_a_digest_that_is_expected(
    store_path: Path, capsys: pytest.CaptureFixture[str], jpeg: Jpegs
) -> None:
    digest = Store(store_path).digest
    assert main(["verify", str(store_path), "--expect-digest", digest]) == 0
    assert main(["verify", str(store_path), "--expect-digest", digest.upper()]) == 0
    out = capsys.readouterr().out
    assert "every image decoded" in out
    assert "the digest is the expected one" in out
    assert "it says nothing of roles, src_order" in out
    assert main(["verify", str(store_path), "--expect-digest", "0" * 64, "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem == f"the content digest is {digest}, not {'0' * 64}"
    assert main(["verify", str(store_path), "--expect-digest", "abc"]) == 2
    column = Store(store_path).columns["quarter"].copy()
    reseal_column(store_path, "quarter", column[::-1])
    assert main(["verify", str(store_path), "--expect-digest", digest]) == 1


def test_a_column_under_a_name_that_its_field_cannot_have(make_store: MakeStore) -> None:
    path = make_store(fields={"a b": 1, "label ": 2, "src_label": 3, "height": 4})
    assert problems(Store(path), deep=True) == []
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["columns"]["camera"] = manifest["columns"].pop("quarter") | {"field": "quarter"}
    write_manifest(path, manifest)
    for suffix in ("bin", "json"):
        (path / "columns" / f"quarter.{suffix}").rename(path / "columns" / f"camera.{suffix}")
    assert problems(Store(path)) == []
    assert problems(Store(path), deep=True) == ["column 'camera' cannot be the one of 'quarter'"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([b"a\x1b[2J", *[b"b%d" % row for row in range(7)]], "has a control character"),
        ([b"f000#000"] * 8, "its id must come after f000#000"),
    ],
)
def test_ids_that_no_build_gives(ids: list[bytes], message: str, store_path: Path) -> None:
    reseal_column(store_path, "id", np.frombuffer(b"".join(ids), np.uint8))
    reseal_column(store_path, "id_offsets", np.cumsum([0, *map(len, ids)]))
    manifest = json.loads((store_path / "manifest.json").read_bytes())
    manifest["columns"]["id"]["length"] = sum(map(len, ids))
    write_manifest(store_path, manifest)
    assert any(message in line for line in problems(Store(store_path)))


@pytest.mark.parametrize(
    ("name", "value"), [("label", -2), ("kind", 5), ("height", 0), ("width", 65_501)]
)
def test_numbers_that_no_column_holds(name: str, value: int, store_path: Path) -> None:
    column = Store(store_path).columns[name].copy()
    column[3] = value
    reseal_column(store_path, name, column)
    with pytest.raises(StoreDamagedError, match=rf"{name}\.bin must hold numbers in .*{value}"):
        Store(store_path).columns[name].sum()


def test_ids_are_texts(store_path: Path) -> None:
    for at, byte in ((3, 0xFF), (0, 0xA9), (7, 0xC3)):
        data = bytearray((store_path / "columns" / "id.bin").read_bytes())
        data[at] = byte
        reseal_column(store_path, "id", np.frombuffer(bytes(data), np.uint8))
        with pytest.raises(StoreDamagedError, match=r"id\.bin holds ids that are not utf-8"):
            Store(store_path).ids[0]
