"""The most recently used images, decoded, in this process."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import numpy as np

from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Pixels, Rows, parse_bytes


class LRUCache:
    """The most recently used images, decoded, in the memory of this process. Several datasets and
    all threads may share a cache.

    Each process has its own cache: a pickled or forked one starts empty.

    Args:
        items: the greatest number of images to keep; a text such as "1GB" means bytes.
        bytes: the greatest number of bytes to keep. Set one of the two, or both.

    Raises:
        UsageError: neither is set, one is below 1, or a text is not a size.
    """

    @known_arguments(
        works={"maxsize": "items"},
        answers={
            "capacity": "Use items=, a number of crops.",
            "max_bytes": 'Use bytes=, such as "1GB".',
            "max_items": "Use items=.",
            "size": 'Use items=, or bytes="1GB".',
        },
    )
    def __init__(self, items: int | str | None = None, *, bytes: int | str | None = None) -> None:
        if isinstance(items, str):
            if bytes is not None:
                raise UsageError(
                    f"LRUCache must have one size, got {items!r} and bytes={bytes!r}. Remove one"
                )
            items, bytes = None, items
        if isinstance(bytes, str):
            bytes = parse_bytes(bytes)
        if items is None and bytes is None:
            raise UsageError("LRUCache needs a limit: items=10000, or bytes=1_000_000_000")
        if (items is not None and items < 1) or (bytes is not None and bytes < 1):
            raise UsageError(f"items and bytes must be at least 1, got {items} and {bytes}")
        self.items = items
        self.bytes = bytes
        self._reset()
        _caches.add(self)

    def get(self, key: Hashable) -> Pixels | None:
        """The pixels kept under `key`, read-only, or None; counts a hit or a miss."""
        with self._lock:
            pixels = self._kept.get(key)
            if pixels is None:
                self._misses += 1
                return None
            self._kept.move_to_end(key)
            self._hits += 1
            return pixels

    def put(self, key: Hashable, pixels: Pixels) -> None:
        """Keep a copy of `pixels`, and let the longest unused go where a limit is passed."""
        copy = np.array(pixels)
        copy.flags.writeable = False
        with self._lock:
            old = self._kept.pop(key, None)
            self._held += copy.nbytes - (0 if old is None else old.nbytes)
            self._kept[key] = copy
            while self._over():
                _, gone = self._kept.popitem(last=False)
                self._held -= gone.nbytes
                self._evictions += 1

    def fill(self, source: str, rows: Rows, out: Pixels) -> Rows:
        """See `PixelCache`."""
        missing = []
        for place, row in enumerate(rows.tolist()):
            pixels = self.get((source, row))
            if pixels is None:
                missing.append(place)
            else:
                out[place] = pixels
        return np.array(missing, np.int64)

    def keep(self, source: str, rows: Rows, pixels: Pixels) -> None:
        """See `PixelCache`."""
        for row, image in zip(rows.tolist(), pixels, strict=True):
            self.put((source, row), image)

    def stats(self) -> dict[str, int]:
        """hits, misses, evictions; items and bytes now held."""
        with self._lock:
            return {
                "hits": self._hits,
                "misses": self._misses,
                "evictions": self._evictions,
                "items": len(self._kept),
                "bytes": self._held,
            }

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"LRUCache(items={self.items}, bytes={self.bytes}: {len(self):,} held)"

    def __getstate__(self) -> dict[str, Any]:
        return {"items": self.items, "bytes": self.bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.items, self.bytes = state["items"], state["bytes"]
        self._reset()
        _caches.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._held = self._hits = self._misses = self._evictions = 0

    def _over(self) -> bool:
        too_many = self.items is not None and len(self._kept) > self.items
        too_large = self.bytes is not None and self._held > self.bytes
        return too_many or too_large


_caches: weakref.WeakSet[LRUCache] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Begin empty: pages shared with the parent would be copied one by one, and its lock may be
    held.
    """
    for cache in list(_caches):
        cache._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
