"""Caches behind a dataset: the same pixels on every engine, within their limits."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lmdb_reid import DecodedTier, LRUCache, ReIDDataset, Store, StoreWriter, codec, make_loader
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import Batch

COUNT, SIZE = 70, (16, 8)
ENGINES = ["threads", "processes", "dataloader"]


def pixels(number: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 255, (*SIZE, 3), np.uint8)


def sealed(out: Path, first: int = 0) -> Path:
    with StoreWriter(out) as writer:
        for number in range(COUNT):
            writer.put(f"{number:03d}", codec.encode(pixels(first + number)), {"label": number % 5})
        return writer.seal()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed(tmp_path_factory.mktemp("caches") / "store.lmdb")


def same(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(a, b)
        for one, other in zip(some, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["lru", "tier"])
def test_cached_pixels_are_the_decoded_ones(
    path: Path, tmp_path: Path, engine: str, kind: str
) -> None:
    store = Store(path)
    cache = LRUCache(items=1000) if kind == "lru" else DecodedTier(store, tmp_path / "tier")
    plain = list(make_loader(ReIDDataset(path), 16, shuffle=True, num_workers=0))
    dataset = ReIDDataset(store, cache=cache)
    with make_loader(
        dataset,
        16,
        shuffle=True,
        engine=engine,  # type: ignore[arg-type]
        num_workers=2,
        start_method="fork",
    ) as loader:
        for _ in range(2):
            assert same(list(loader), plain)
            loader.set_epoch(0)
        if engine == "threads":
            assert cache.stats()["hits"] == cache.stats()["misses"] == COUNT
            assert loader.stats()["cache"] == cache.stats()


def test_a_tier_is_shared_by_the_processes_of_a_loader(path: Path, tmp_path: Path) -> None:
    store = Store(path)
    dataset = ReIDDataset(store, cache=DecodedTier(store, tmp_path / "tier"))
    with make_loader(dataset, 16, engine="processes", num_workers=2, start_method="fork") as loader:
        for _ in range(3):
            list(loader)
        assert loader.stats()["cached"] == 2 * COUNT


def test_an_lru_keeps_its_limits() -> None:
    cache = LRUCache(items=2)
    for number in range(3):
        cache.put(number, pixels(number))
    assert cache.get(0) is None
    kept = cache.get(2)
    assert kept is not None and np.array_equal(kept, pixels(2))
    assert cache.stats() == {
        "hits": 1,
        "misses": 1,
        "evictions": 1,
        "items": 2,
        "bytes": 2 * pixels(0).nbytes,
    }
    assert len(pickle.loads(pickle.dumps(cache))) == 0
    small = LRUCache(bytes=pixels(0).nbytes)
    small.put(0, pixels(0))
    small.put(1, pixels(1))
    assert len(small) == 1
    with pytest.raises(UsageError):
        LRUCache()


def test_a_tier_of_another_store_is_refused(path: Path, tmp_path: Path) -> None:
    tier = DecodedTier(Store(path), tmp_path / "tier")
    with pytest.raises(UsageError, match="another store"):
        ReIDDataset(sealed(tmp_path / "other.lmdb", first=1000), cache=tier)[0]
