"""What splits ask of a store."""

from __future__ import annotations

import numpy as np

from builders.samples import FRAME_FIELDS
from lmdb_reid.schema import Rows
from lmdb_reid.store import Store

_ORDER = "src_order"


def source_order(store: Store) -> Rows:
    """All rows of a store in its source's own order; those that stand on no row of it come last."""
    if _ORDER in store.columns:
        order = store.columns[_ORDER]
        return np.lexsort([np.arange(len(store)), order, order < 0]).astype(np.int64)
    names = [name for name in FRAME_FIELDS if name in store.columns]
    keys = [store.columns[name] for name in reversed(names)]
    return np.lexsort([np.arange(len(store)), *keys]).astype(np.int64)
