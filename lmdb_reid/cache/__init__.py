"""Decoded pixels kept, so that no JPEG is decoded twice: an LRU in this process, a tier on disk
for all.

Both follow `PixelCache`: a dataset asks it for a whole batch first and decodes what is missing.
"""

from lmdb_reid.cache._lru import LRUCache
from lmdb_reid.cache._protocol import PixelCache, ViewedCache
from lmdb_reid.cache._tier import DecodedTier

__all__ = ["DecodedTier", "LRUCache", "PixelCache", "ViewedCache"]
