"""The store: a directory with one LMDB file, memory-mapped columns and a manifest, written once
and sealed.
"""

from lmdb_reid.store._columns import Columns
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._pagecache import resident_bytes
from lmdb_reid.store._reading import Reading
from lmdb_reid.store._sample import Sample
from lmdb_reid.store._store import Store
from lmdb_reid.store._verify import Verification
from lmdb_reid.store._view import View
from lmdb_reid.store._writer import NewSample, StoreWriter

__all__ = [
    "Columns",
    "Ids",
    "NewSample",
    "Reading",
    "Sample",
    "Store",
    "StoreWriter",
    "Verification",
    "View",
    "resident_bytes",
]
