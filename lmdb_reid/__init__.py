"""The data engine for player and person re-identification: a sealed, memory-mapped store, and
batches from it.

Importing this package loads nothing else; each name does when it is first asked for.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names
from lmdb_reid._version import __version__

if TYPE_CHECKING:
    from lmdb_reid.cache import DecodedTier, LRUCache
    from lmdb_reid.dataset import CroppedBBoxDataset, ReIDDataset
    from lmdb_reid.errors import LmdbReidError
    from lmdb_reid.loaders import Batch, Loader, make_loader
    from lmdb_reid.sampling import PKSampler
    from lmdb_reid.schema import Box, Kind
    from lmdb_reid.store import Sample, Store, StoreWriter

__all__ = [
    "Batch",
    "Box",
    "CroppedBBoxDataset",
    "DecodedTier",
    "Kind",
    "LRUCache",
    "LmdbReidError",
    "Loader",
    "PKSampler",
    "ReIDDataset",
    "Sample",
    "Store",
    "StoreWriter",
    "__version__",
    "make_loader",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Batch": "lmdb_reid.loaders",
        "Box": "lmdb_reid.schema",
        "CroppedBBoxDataset": "lmdb_reid.dataset",
        "DecodedTier": "lmdb_reid.cache",
        "Kind": "lmdb_reid.schema",
        "LRUCache": "lmdb_reid.cache",
        "LmdbReidError": "lmdb_reid.errors",
        "Loader": "lmdb_reid.loaders",
        "PKSampler": "lmdb_reid.sampling",
        "ReIDDataset": "lmdb_reid.dataset",
        "Sample": "lmdb_reid.store",
        "Store": "lmdb_reid.store",
        "StoreWriter": "lmdb_reid.store",
        "make_loader": "lmdb_reid.loaders",
    },
)
