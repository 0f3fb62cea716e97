from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.store import _format

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]


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
    (path / "manifest.json").write_bytes(_format.manifest_bytes(changed | kept))


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
    store.manifest = {**store.manifest, "digest": "0" * 64}
    assert store.verify().ok
    (found,) = problems(store, deep=True)
    assert "0" * 64 in found


def test_an_image_of_another_size_than_its_columns_say(store_path: Path, jpeg: Jpegs) -> None:
    store = Store(store_path)
    height = store.columns["height"].copy()
    height[2] = 40
    store._files._maps["height"] = height
    found = problems(store, deep=True)
    assert found == ["f000#002: decodes to 32x16; the columns say 40x16"]
    assert codec.decode(jpeg(2)).shape == (32, 16, 3)
