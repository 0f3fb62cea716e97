"""The order in which splits go through a store's rows."""

from __future__ import annotations

import numpy as np

from builders import Source
from builders.samples import FRAME_FIELDS, sample_id
from lmdb_reid.schema import Rows
from lmdb_reid.store import Store

_ORDER = "src_order"


def source_order(store: Store, source: Source | None = None) -> Rows:
    """All rows of a store in its source's own order; those that stand on no row of it come last.

    Args:
        store: any.
        source: what it was built from: read where the store has no column `src_order`. Without
            either, the order is that of a csv sorted by quarter, angle, session and frame.
    """
    if _ORDER in store.columns:
        order = store.columns[_ORDER]
        return np.lexsort([order, order < 0]).astype(np.int64)
    if source is not None:
        return _listed_order(source, store)
    names = [name for name in FRAME_FIELDS if name in store.columns]
    keys = [store.columns[name] for name in reversed(names)]
    return np.lexsort([np.arange(len(store)), *keys]).astype(np.int64)


def _listed_order(source: Source, store: Store) -> Rows:
    frames = source.read().frames
    orders = {sample_id(frame, row): row.order for frame in frames for row in frame.rows}
    last = 1 + max(orders.values(), default=0)
    return np.argsort([orders.get(each, last) for each in store.ids], kind="stable").astype(
        np.int64
    )
