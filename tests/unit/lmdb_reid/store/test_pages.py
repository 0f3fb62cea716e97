"""LMDB's pages are checked before LMDB follows them."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmdb_reid import Store, StoreWriter
from lmdb_reid.errors import CorruptSampleError, LmdbReidError, StoreDamagedError
from lmdb_reid.store._format import DATA, DIGEST_KEY, IMAGES_DB, RECORDS_DB
from lmdb_reid.store._pages import Pages

SIZE = 4096
COUNT = 900  # samples: records in a tree of three levels
OpenPages = Callable[[bytes], Pages]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, one_jpeg: bytes) -> Path:
    path = tmp_path_factory.mktemp("pages") / "s.lmdb"
    with StoreWriter(path) as writer:
        for number in range(COUNT):
            record = {"label": number, "note": "x" * 300}
            writer.put(f"{'long' * 40}{number:04d}", one_jpeg + bytes(3000), record)
    return path


@pytest.fixture(scope="module")
def one_jpeg() -> bytes:
    import numpy as np

    from lmdb_reid import codec

    return codec.encode(np.zeros((16, 8, 3), np.uint8))


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[OpenPages]:
    descriptors = []

    def of(data: bytes) -> Pages:
        file = tmp_path / DATA
        file.write_bytes(data)
        descriptors.append(os.open(file, os.O_RDONLY))
        return Pages(file, descriptors[-1], SIZE, (IMAGES_DB, RECORDS_DB))

    yield of
    for descriptor in descriptors:
        os.close(descriptor)


def keys_of(path: Path) -> list[bytes]:
    with Store(path) as store:
        return [name.encode() for name in store]


def test_every_key_of_a_sound_store_has_a_leaf(sealed: Path, pages: OpenPages) -> None:
    found = pages((sealed / DATA).read_bytes())
    for tree in (found.images, found.records):
        leaves = [tree.leaf(key) for key in keys_of(sealed)]
        assert None not in leaves
        assert len({*leaves}) > 20, "a tree of many leaves"
        # The keys of a leaf are neighbours.
        changes = sum(one != other for one, other in itertools.pairwise(leaves))
        assert changes == len({*leaves}) - 1
    for key in (b"a", b"long", b"z", bytes(511)):
        assert found.images.leaf(key) is not None, "where it would be"


def head_of(data: bytes, number: int) -> tuple[int, ...]:
    return struct.unpack_from("=QHHHH", data, number * SIZE)


def changed(data: bytes, at: int, form: str, value: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(form, out, at, value)
    return bytes(out)


FIELDS = [
    ("its number", 0, "=Q", 77),
    ("its kind", 10, "=H", 4),
    ("two kinds", 10, "=H", 3),
    ("no entries", 12, "=H", 16),
    ("half an entry", 12, "=H", 19),
    ("more entries than fit", 12, "=H", 5000),
    ("its entries begin behind it", 14, "=H", 5000),
    ("an entry before the others", 16, "=H", 2),
    ("an entry behind the page", 16, "=H", 4090),
]


@pytest.mark.parametrize(
    ("at", "form", "value"), [f[1:] for f in FIELDS], ids=[f[0] for f in FIELDS]
)
@pytest.mark.parametrize("what", ["leaf", "branch"])
def test_a_page_that_lmdb_did_not_write_is_refused(
    what: str, at: int, form: str, value: int, sealed: Path, pages: OpenPages
) -> None:
    data, (first, *_, last) = (sealed / DATA).read_bytes(), keys_of(sealed)
    found = pages(data)
    leaf = found.images.leaf(first)
    assert leaf is not None
    number = leaf
    if what == "branch":  # of all, the root comes last
        number = max(n for n in range(2, len(data) // SIZE) if head_of(data, n)[2:3] == (1,))
        assert head_of(data, number)[0] == number
    damaged = pages(changed(data, number * SIZE + at, form, value))
    with pytest.raises(StoreDamagedError, match=f"is damaged: page {number}: "):
        for key in (first, last):
            damaged.images.leaf(key)
            damaged.records.leaf(key)
    if what == "leaf":
        assert damaged.images.leaf(last) is not None, "all others can be read"


def entry_of(data: bytes, leaf: int, key: bytes) -> int:
    """Where the entry of a key begins."""
    begin = data.index(key, leaf * SIZE, (leaf + 1) * SIZE)
    return begin - 8


@pytest.mark.parametrize("tree", ["images", "records"])
@pytest.mark.parametrize(
    ("at", "form", "value"),
    [(0, "=I", 1 << 31), (0, "=I", 1 << 24), (4, "=H", 2), (4, "=H", 4), (4, "=H", 1 << 15)],
)
def test_an_entry_that_is_damaged_is_refused_alone(
    tree: str, at: int, form: str, value: int, sealed: Path, pages: OpenPages
) -> None:
    data, keys = (sealed / DATA).read_bytes(), keys_of(sealed)
    leaf = getattr(pages(data), tree).leaf(keys[1])
    damaged = getattr(pages(changed(data, entry_of(data, leaf, keys[1]) + at, form, value)), tree)
    for _ in range(2):
        with pytest.raises(CorruptSampleError, match=keys[1].decode()):
            damaged.leaf(keys[1])
        assert damaged.leaf(keys[0]) == leaf


def test_a_value_of_pages_of_its_own_has_to_end_in_the_file(sealed: Path, pages: OpenPages) -> None:
    data, key = (sealed / DATA).read_bytes(), keys_of(sealed)[1]
    found = pages(data)
    leaf = found.images.leaf(key)
    assert leaf is not None
    at = entry_of(data, leaf, key) + 8 + len(key)
    for first in (0, 1, found.last + 1, 1 << 60, (1 << 64) - 1):
        with pytest.raises(CorruptSampleError):
            pages(changed(data, at, "=Q", first)).images.leaf(key)


def test_keys_of_a_branch_have_to_ascend(sealed: Path, pages: OpenPages) -> None:
    data = (sealed / DATA).read_bytes()
    root = max(n for n in range(2, len(data) // SIZE) if head_of(data, n)[2] == 1)
    one, two = struct.unpack_from("=HH", data, root * SIZE + 18)
    other = changed(changed(data, root * SIZE + 18, "=H", two), root * SIZE + 20, "=H", one)
    damaged = pages(other)
    with pytest.raises(StoreDamagedError, match="do not ascend"):
        for key in keys_of(sealed):
            damaged.images.leaf(key)
            damaged.records.leaf(key)


def test_a_branch_that_leads_out_of_the_file_is_refused(sealed: Path, pages: OpenPages) -> None:
    data, keys = (sealed / DATA).read_bytes(), keys_of(sealed)
    root = max(n for n in range(2, len(data) // SIZE) if head_of(data, n)[2] == 1)
    (entry,) = struct.unpack_from("=H", data, root * SIZE + 16)
    for at, form, value in ((0, "=I", 1 << 31), (4, "=H", 1), (4, "=H", 1 << 15), (0, "=I", 0)):
        damaged = pages(changed(data, root * SIZE + entry + at, form, value))
        with pytest.raises(StoreDamagedError, match="the file has no page of this number"):
            for key in keys:
                damaged.images.leaf(key)
                damaged.records.leaf(key)


def test_any_changed_byte_of_the_trees_ends_in_an_answer_or_a_typed_error(
    sealed: Path, pages: OpenPages
) -> None:
    data, keys = (sealed / DATA).read_bytes(), keys_of(sealed)[::300]
    sound = pages(data)
    leaves = [tree.leaf(keys[1]) for tree in (sound.images, sound.records)]
    places = [leaf * SIZE + at for leaf in leaves if leaf for at in (*range(8), *range(10, 60))]
    refused = 0
    for place in places:
        try:
            found = pages(changed(data, place, "=B", data[place] ^ 0x90))
            for key in keys:
                found.images.leaf(key)
                found.records.leaf(key)
        except LmdbReidError as error:
            refused += 1
            assert str(error)
    assert refused > len(places) // 2


def test_a_file_that_ends_early_is_refused(sealed: Path, pages: OpenPages) -> None:
    data = (sealed / DATA).read_bytes()
    with pytest.raises(StoreDamagedError, match="ends before"):
        pages(data[:100])
    cut = data[: len(data) // 2]
    with pytest.raises(LmdbReidError):
        found = pages(cut)
        for key in keys_of(sealed):
            found.images.leaf(key)
            found.records.leaf(key)


def named(data: bytes, name: bytes) -> int:
    """Where the entry of a name of the unnamed database begins."""
    meta = max(range(2), key=lambda number: struct.unpack_from("=Q", data, number * SIZE + 144))
    (root,) = struct.unpack_from("=Q", data, meta * SIZE + 128)
    return entry_of(data, root, name)


@pytest.mark.parametrize("name", [DIGEST_KEY, IMAGES_DB, RECORDS_DB])
@pytest.mark.parametrize(
    ("at", "form", "value"), [(0, "=I", 5000), (0, "=I", 1 << 31), (4, "=H", 1), (4, "=H", 4)]
)
def test_a_damaged_entry_of_the_unnamed_database_is_no_damaged_sample(
    at: int, form: str, value: int, name: bytes, sealed: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(sealed, tmp_path / "s.lmdb"))
    data = (sealed / DATA).read_bytes()
    (copy / DATA).write_bytes(changed(data, named(data, name) + at, form, value))
    with pytest.raises(StoreDamagedError, match=f"{DATA} is damaged: .*{name.decode()}") as found:
        Store(copy)
    assert str(found.value).count("is damaged") == str(found.value).count("Copy the store") == 1


def test_a_digest_with_pages_of_its_own_has_to_end_in_the_file(
    sealed: Path, pages: OpenPages
) -> None:
    data = (sealed / DATA).read_bytes()
    at = named(data, DIGEST_KEY)
    large = changed(changed(data, at, "=I", 1 << 31), at + 4, "=H", 1)
    found = pages(changed(large, at + 8 + len(DIGEST_KEY), "=Q", 3))
    with pytest.raises(StoreDamagedError, match="the entry of 'digest'"):
        found.entry(DIGEST_KEY)
