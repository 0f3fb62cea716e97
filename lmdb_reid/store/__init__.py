"""The store: a directory with one LMDB file, memory-mapped columns and a manifest, written once
and sealed.
"""

from lmdb_reid.store._columns import Columns, Ids
from lmdb_reid.store._pagecache import resident_bytes
from lmdb_reid.store._reader import Store
from lmdb_reid.store._sample import Sample
from lmdb_reid.store._verify import Findings
from lmdb_reid.store._view import View
from lmdb_reid.store._writer import NewSample, StoreWriter

__all__ = [
    "Columns",
    "Findings",
    "Ids",
    "NewSample",
    "Sample",
    "Store",
    "StoreWriter",
    "View",
    "resident_bytes",
]
