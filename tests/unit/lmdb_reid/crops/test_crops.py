"""Crops of stores and files: what they write, refuse and note; tests/contract has their laws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import DecodedTier, LRUCache, Store, codec
from lmdb_reid.crops import Cached, Crops, FileCrops, StoreCrops
from lmdb_reid.errors import CorruptSampleError, UnknownRowError, UsageError

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]


def empty(count: int, size: tuple[int, int] = (32, 16)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.zeros((count, *size, 3), np.uint8)


def test_pictures_are_decoded_into_their_slots(store_path: Path, jpeg: Jpegs) -> None:
    crops = StoreCrops(Store(store_path), np.array([7, 6, 5, 4]))
    batch = empty(5)
    crops.read(np.array([2, 3, 2]), batch[1:4])
    for slot, row in ((1, 5), (2, 4), (3, 5)):
        assert np.array_equal(batch[slot], codec.decode(jpeg(row)))
    assert not batch[0].any() and not batch[4].any()


def test_another_size_is_made_by_the_one_resizer(store_path: Path, jpeg: Jpegs) -> None:
    crops, batch = StoreCrops(Store(store_path), size=(40, 20)), empty(8, (40, 20))
    crops.read(np.arange(8), batch)
    for row in range(8):
        assert np.array_equal(batch[row], codec.resize(codec.decode(jpeg(row)), (40, 20)))


@pytest.mark.parametrize("size", [(32, 16), (64, 32), (16, 8)])
@pytest.mark.parametrize("fault", ["fewer", "shape", "dtype", "float", "strides", "gaps"])
@pytest.mark.parametrize("kind", ["store", "cached", "files"])
def test_a_buffer_that_does_not_fit_is_refused_before_anything_is_written(
    kind: str, fault: str, size: tuple[int, int], store_path: Path
) -> None:
    height, width = size
    buffer: Any = {
        "fewer": np.zeros((1, height, width, 3), np.uint8),
        "shape": np.zeros((2, width, height, 3), np.uint8),
        "dtype": np.zeros((2, height, width, 3), np.int8),
        "float": np.zeros((2, height, width, 3), np.float32),
        "strides": np.zeros((2, 3, height, width), np.uint8).transpose(0, 2, 3, 1),
        "gaps": np.zeros((2, height, 2 * width, 3), np.uint8)[:, :, ::2],
    }[fault]
    crops: Crops = StoreCrops(Store(store_path), size=size)
    if kind == "cached":
        crops = Cached(crops, LRUCache(items=4))
    elif kind == "files":
        crops = FileCrops(["a.jpg", "b.jpg"], size)
    with pytest.raises(UsageError, match=r"out must be uint8 .*, C-contiguous, for 2 positions"):
        crops.read(np.array([0, 1]), buffer)
    assert not buffer.any()


@pytest.mark.parametrize("position", [-1, 8, 1 << 40])
def test_positions_outside_are_refused(position: int, store_path: Path) -> None:
    crops = StoreCrops(Store(store_path))
    for some in (crops, Cached(crops, LRUCache(items=4))):
        with pytest.raises(UnknownRowError, match=f"position {position} of 8 crops"):
            some.read(np.array([0, position]), empty(2))


@pytest.fixture
def damaged(make_store: MakeStore, jpeg: Jpegs) -> Store:
    """A store of eight whose sample f000#002 has a flipped bit."""
    path = make_store("damaged.lmdb")
    data = bytearray((path / "data.mdb").read_bytes())
    at = data.find(jpeg(2))
    while at > 0:
        data[at + 200] ^= 4
        at = data.find(jpeg(2), at + 1)
    (path / "data.mdb").write_bytes(data)
    return Store(path)


def test_damage_is_raised_or_noted(damaged: Store, jpeg: Jpegs) -> None:
    plain = StoreCrops(damaged)
    cache = LRUCache(items=8)
    for crops in (plain, Cached(plain, cache), Cached(plain, cache)):
        batch, noted = empty(4), [9]
        with pytest.raises(CorruptSampleError, match=r"^f000#002: "):
            crops.read(np.array([3, 2, 1, 2]), batch)
        crops.read(np.array([3, 2, 1, 2]), batch, noted)
        assert noted == [9, 1, 3]
        assert np.array_equal(batch[0], codec.decode(jpeg(3)))
        assert np.array_equal(batch[2], codec.decode(jpeg(1)))
    assert cache.stats()["items"] == 2, "damaged pictures are not kept"


def test_what_a_cache_has_is_not_read_again(store_path: Path, jpeg: Jpegs) -> None:
    crops = Cached(StoreCrops(Store(store_path)), LRUCache(items=8))
    crops.read(np.array([1, 3]), empty(2))
    batch = empty(5)
    crops.read(np.array([0, 3, 5, 1, 3]), batch)
    for slot, row in enumerate((0, 3, 5, 1, 3)):
        assert np.array_equal(batch[slot], codec.decode(jpeg(row)))
    assert crops.cache.stats()["hits"] == 3


def test_one_cache_keeps_sizes_and_decoders_apart(store_path: Path) -> None:
    store, cache = Store(store_path), LRUCache(items=50)
    kinds = [
        StoreCrops(store),
        StoreCrops(store, fast_dct=True),
        StoreCrops(store, size=(16, 8)),
        StoreCrops(store, np.array([5, 4, 3, 2, 1, 0])),
    ]
    for _ in range(2):
        for crops in kinds:
            plain, kept = empty(3, crops.size), empty(3, crops.size)
            crops.read(np.array([0, 2, 4]), plain)
            Cached(crops, cache).read(np.array([0, 2, 4]), kept)
            assert np.array_equal(plain, kept)


def test_crops_without_keys_cannot_be_cached() -> None:
    class Plain:
        size = (8, 4)

    with pytest.raises(UsageError, match=r"Plain must have keys\(positions\)"):
        Cached(Plain(), LRUCache(items=1))  # type: ignore[arg-type]


class Inverted(StoreCrops):
    """Reads other pixels under the names of its base's."""

    def read(self, positions: Any, out: Any, damaged: list[int] | None = None) -> None:
        super().read(positions, out, damaged)
        out[...] = 255 - out


class Handing:
    """Hands over everything, and changes nothing."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.crops, name)


class Darkened(Handing):
    """Hands over everything but what is read."""

    def read(self, positions: Any, out: Any, damaged: list[int] | None = None) -> None:
        self.crops.read(positions, out, damaged)
        out[...] //= 2


@pytest.mark.parametrize("make", [Inverted, lambda store: Darkened(StoreCrops(store))])
def test_other_pixels_are_not_kept_under_the_names_of_the_stores(
    make: Callable[[Store], Crops], store_path: Path
) -> None:
    with Store(store_path) as store, pytest.raises(UsageError, match="its own keys"):
        Cached(make(store), LRUCache(items=8))


def test_crops_that_hand_everything_over_can_be_cached(store_path: Path, jpeg: Jpegs) -> None:
    cache = LRUCache(items=8)
    with Store(store_path) as store:
        for _ in range(2):
            batch = empty(1)
            Cached(Handing(StoreCrops(store)), cache).read(np.array([3]), batch)
            assert np.array_equal(batch[0], codec.decode(jpeg(3)))
    assert cache.stats()["hits"] == 1


def test_columns_and_names_are_those_of_the_store(store_path: Path) -> None:
    store = Store(store_path)
    crops = StoreCrops(store, np.array([6, 1]))
    for some in (crops, Cached(crops, LRUCache(items=1))):
        assert some.names(np.array([1, 0])) == [store.ids[1], store.ids[6]]
        label, row = some.column("label"), some.column("row")
        assert label is not None and label.tolist() == [0, 1]
        assert row is not None and row.tolist() == [6, 1]
        assert some.column("nothing") is None


def test_no_files_need_a_size() -> None:
    with pytest.raises(UsageError, match="FileCrops of no files must have a size"):
        FileCrops([])
    assert len(FileCrops([], (8, 4))) == 0


def test_damaged_files_are_raised_or_noted_by_their_path(tmp_path: Path, jpeg: Jpegs) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg(number)[: 100 if number == 1 else None])
    crops, batch = FileCrops(paths, columns={"label": np.array([4, 5, 6])}), empty(3)
    with pytest.raises(CorruptSampleError, match=r"1\.jpg") as caught:
        crops.read(np.arange(3), batch)
    assert caught.value.ids == (str(paths[1]),)
    noted: list[int] = []
    crops.read(np.arange(3), batch, noted)
    assert noted == [1]
    assert np.array_equal(batch[2], codec.decode(jpeg(2)))
    label = crops.column("label")
    assert label is not None and label.tolist() == [4, 5, 6]
    assert crops.names(np.array([2])) == [str(paths[2])]


def test_each_picture_goes_into_its_own_array_and_the_later_covers_the_earlier(
    store_path: Path, jpeg: Jpegs
) -> None:
    crops = StoreCrops(Store(store_path))
    flat = np.zeros(3 * 32 * 16 * 3, np.uint8)
    size, by = 32 * 16 * 3, 48

    def at(start: int) -> Any:
        return flat[start : start + size].reshape(32, 16, 3)

    crops.read_each(np.array([1, 2]), [at(by), at(size)])
    assert np.array_equal(at(size), codec.decode(jpeg(2)))
    assert np.array_equal(flat[by:size], codec.decode(jpeg(1)).reshape(-1)[: size - by])
    with pytest.raises(UnknownRowError):
        crops.read_each(np.array([99]), [at(0)])


def test_a_picture_that_cannot_be_decoded_is_not_written_again_over_others(jpeg: Jpegs) -> None:
    whole, torn = jpeg(1), jpeg(2)[:-200]
    size = 32 * 16 * 3
    flat = np.zeros(2 * size, np.uint8)
    outs = [flat[start : start + size].reshape(32, 16, 3) for start in (48, 96)]
    failed = codec.decode_each([torn, whole], outs)
    assert [at for at, _ in failed] == [0]
    assert np.array_equal(outs[1], codec.decode(whole))


def test_a_tier_shows_its_pixels_once_all_are_there(
    store_path: Path, tmp_path: Path, jpeg: Jpegs
) -> None:
    store = Store(store_path)
    crops = Cached(StoreCrops(store), DecodedTier(store, tmp_path / "tier"))
    crops.read(np.array([1, 2]), empty(2))
    assert crops.views(np.array([1, 3])) is None
    views = crops.views(np.array([2, 1, 2]))
    assert views is not None
    pictures, rows = views
    assert not pictures.flags.writeable
    for at, row in zip(rows, (2, 1, 2), strict=True):
        assert np.array_equal(pictures[at], codec.decode(jpeg(row)))
    with pytest.raises(UnknownRowError):
        crops.views(np.array([99]))
    assert Cached(StoreCrops(store), LRUCache(items=9)).views(np.array([1])) is None
