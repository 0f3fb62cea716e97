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

_OPEN = "Use Store(path)."
_BUILD = "Use builders.build(source, path), or `lmdb-reid build`."
_ANSWERS = {
    "AtmaCup": "Use `from builders import AtmaCup`.",
    "BuildSettings": "Use `from builders import BuildSettings`.",
    "DataLoader": "Use make_loader(dataset).",
    "Dataset": "Use ReIDDataset(store).",
    "PlayerReIDDataModule": "Use `from training import PlayerReIDDataModule`.",
    "PlayerReIDDataModuleCV": "Use `from training import PlayerReIDDataModuleCV`.",
    "RandomIdentitySampler": "Use PKSampler(dataset, p, k).",
    "build": _BUILD,
    "build_store": _BUILD,
    "builders": "It is a separate package: `import builders`.",
    "create": "Use StoreWriter(path).",
    "load": _OPEN,
    "load_store": _OPEN,
    "merge": "Use `from lmdb_reid.store import merge`, or `lmdb-reid merge`.",
    "open": _OPEN,
    "open_store": _OPEN,
    "read": _OPEN,
    "show_versions": "Use `lmdb-reid doctor`, which prints them.",
    "training": "It is a separate package: `import training`.",
    "verify": "Use Store(path).verify(), or `lmdb-reid verify`.",
    "version": "Use lmdb_reid.__version__.",
}
"""What to write instead of names that others have."""

if not TYPE_CHECKING:  # or type checkers would take every name
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
        _ANSWERS,
    )
