"""The order of a csv, for stores that do not keep it."""

from __future__ import annotations

import numpy as np

from builders import Source
from builders.samples import sample_id
from lmdb_reid.schema import Rows
from lmdb_reid.store import Store


def listed_order(source: Source, store: Store) -> Rows | None:
    """All rows of a store in the order of what it was built from; those that stand on no row of it
    come last. None where the store keeps the order itself.
    """
    if "src_order" in store.columns:
        return None
    frames = source.read().frames
    orders = {sample_id(frame, row): row.order for frame in frames for row in frame.rows}
    last = 1 + max(orders.values(), default=0)
    ranks = [orders.get(each, last) for each in store.ids]
    return np.argsort(ranks, kind="stable").astype(np.int64)
