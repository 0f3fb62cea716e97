"""Pixels of a store of parts are kept by part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import DecodedTier, LRUCache, ReIDDataset, Store, StoreWriter
from lmdb_reid.errors import UsageError
from lmdb_reid.store import merge


@pytest.fixture
def merged(tmp_path: Path, jpeg: Callable[..., bytes]) -> tuple[Path, Path]:
    """Two stores joined in both orders."""
    for name, first in (("a", 0), ("b", 100)):
        with StoreWriter(tmp_path / f"{name}.lmdb") as writer:
            for number in range(5):
                writer.put(f"f{number}", jpeg(first + number), {"label": number})
            writer.seal()
    a, b = tmp_path / "a.lmdb", tmp_path / "b.lmdb"
    return merge([a, b], tmp_path / "ab.lmdb"), merge([b, a], tmp_path / "ba.lmdb")


@pytest.mark.parametrize("kind", ["tier", "lru"])
def test_two_orders_of_the_same_parts_share_their_pixels_and_never_mix_them(
    kind: str, merged: tuple[Path, Path], tmp_path: Path
) -> None:
    lru = LRUCache(items=100)
    shared: list[Any] = []
    for path in merged:
        store = Store(path)
        cache: Any = lru if kind == "lru" else DecodedTier(store, tmp_path / "tier")
        shared.append(cache)
        plain, kept = ReIDDataset(store), ReIDDataset(store, cache=cache)
        positions = np.array([7, 0, 9, 3, 4, 1, 8, 2, 6, 5])
        for _ in range(2):
            found = np.empty((10, *plain.size, 3), np.uint8)
            wanted = np.empty_like(found)
            plain.crops.read(positions, wanted)
            kept.crops.read(positions, found)
            assert np.array_equal(found, wanted)
    hits = shared[1].stats()["hits"]
    assert hits == (30 if kind == "lru" else 20), "the second store decoded nothing"


def test_a_tier_refuses_another_store(
    merged: tuple[Path, Path], tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    with StoreWriter(tmp_path / "c.lmdb") as writer:
        writer.put("x", jpeg(7), {})
        other = Store(writer.seal())
    dataset = ReIDDataset(other, cache=DecodedTier(Store(merged[0]), tmp_path / "tier"))
    with pytest.raises(UsageError, match="another store"):
        dataset[0]
