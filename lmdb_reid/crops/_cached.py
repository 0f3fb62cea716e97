"""Crops whose decoded pixels a cache keeps."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid._memory import pixel_memory
from lmdb_reid.cache import PixelCache, ViewedCache
from lmdb_reid.crops._protocol import (
    Crops,
    Keyed,
    KeyGroup,
    agrees_with_read,
    check_positions,
    check_read,
)
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Pixels, Rows, Size


class Gathered(threading.local):
    """What the calling thread took from caches so far: loaders report the difference."""

    samples: int = 0
    seconds: float = 0.0


gathered = Gathered()


class Cached:
    """`crops` behind a cache: what it has is copied, the rest is read and offered to it.

    Args:
        crops: Crops that are `Keyed`, such as StoreCrops.
        cache: an `LRUCache`, a `DecodedTier`, or another `PixelCache`.

    Raises:
        UsageError: the crops do not name their pixels, or change what is read and keep its names.
    """

    def __init__(self, crops: Crops, cache: PixelCache) -> None:
        if not isinstance(crops, Keyed):
            raise UsageError(
                f"{type(crops).__name__} must have keys(positions), which name the pixels that a"
                " cache keeps; StoreCrops and FileCrops have it"
            )
        if not agrees_with_read(crops, "keys"):
            raise UsageError(
                f"{type(crops).__name__} must have its own keys(positions), since it has its own"
                " read: a cache would keep what it reads under the names of other pixels"
            )
        self.crops = crops
        self.cache = cache

    @property
    def size(self) -> Size:
        """See `Crops`."""
        return self.crops.size

    def __len__(self) -> int:
        return len(self.crops)

    def read(self, positions: Rows, out: Pixels, damaged: list[int] | None = None) -> None:
        """See `Crops`."""
        check_read(self, positions, out)
        began = perf_counter()
        groups = self.crops.keys(positions)
        missing = _missing(self.cache, groups, out)
        gathered.samples += len(positions) - len(missing)
        gathered.seconds += perf_counter() - began
        if not len(missing):
            return
        every = len(missing) == len(positions)
        fresh = out if every else pixel_memory((len(missing), *self.size, 3))
        bad: list[int] | None = None if damaged is None else []
        self.crops.read(positions if every else positions[missing], fresh, bad)
        if not every:
            out[missing] = fresh
        if damaged is not None:
            damaged += missing[bad].tolist()
        self._keep(groups, np.delete(missing, bad) if bad else missing, out)

    def views(self, positions: Rows) -> tuple[Pixels, Rows] | None:
        """See `Viewed`: of a cache that gives views, such as a `DecodedTier`."""
        if not isinstance(self.cache, ViewedCache):
            return None
        check_positions(self, positions)
        groups = self.crops.keys(positions)
        if len(groups) != 1:
            return None
        source, _, rows = groups[0]
        pictures = self.cache.views(source, rows, self.size)
        return None if pictures is None else (pictures, rows)

    def names(self, positions: Rows) -> list[str]:
        """See `Crops`."""
        return self.crops.names(positions)

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """See `Crops`."""
        return self.crops.column(name)

    def keys(self, positions: Rows) -> list[KeyGroup]:
        """See `Keyed`."""
        return self.crops.keys(positions)

    def __repr__(self) -> str:
        return f"Cached({self.crops!r}, {self.cache!r})"

    def _keep(self, groups: list[KeyGroup], slots: npt.NDArray[np.int64], out: Pixels) -> None:
        """Offer the pixels in these slots of `out`, which were read just now."""
        for source, which, rows in groups:
            if which is None:
                fresh = slots
                numbers = rows[slots]
            else:
                chosen = np.isin(which, slots, assume_unique=True)
                fresh, numbers = which[chosen], rows[chosen]
            if len(fresh):
                pixels = out if len(fresh) == len(out) else out[fresh]
                self.cache.keep(source, numbers, pixels)


def _missing(cache: PixelCache, groups: list[KeyGroup], out: Pixels) -> npt.NDArray[np.int64]:
    """Fill `out` with what the cache has; returns the slots that are missing, ascending."""
    missing = []
    for source, slots, rows in groups:
        if slots is None:
            missing.append(cache.fill(source, rows, out))
            continue
        some = pixel_memory((len(slots), *out.shape[1:]))
        lacking = cache.fill(source, rows, some)
        there = np.delete(np.arange(len(slots)), lacking)
        out[slots[there]] = some[there]
        missing.append(slots[lacking])
    return np.sort(np.concatenate(missing)) if len(missing) > 1 else missing[0]
