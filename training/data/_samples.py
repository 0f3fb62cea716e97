"""What a data module splits and reads: the samples of a store, before any is chosen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from lmdb_reid._protocols import Delegating
from lmdb_reid.cache import PixelCache
from lmdb_reid.dataset import ReIDDataset, Selection, Transform
from lmdb_reid.schema import Rows, Size
from lmdb_reid.store import Store
from training.splits import StoreTable, Table


@runtime_checkable
class Samples(Table, Protocol, metaclass=Delegating):
    """Samples by row, which can be split and read.

    Laws: row i has the i-th id; every array has one entry for each row.
    """

    def select(self, rows: Rows, labels: Rows, transform: Transform | None) -> Selection:
        """What a loader reads: some rows, with these labels, int64 each, [B]."""
        ...


class StoreSamples(StoreTable):
    """The samples of a store; see `Samples`.

    Args:
        store: a Store, or the path of one.
        size: (height, width) of the images, or one number for both; None is the store's own.
        columns: names of columns that batches carry.
        cache: keeps decoded pixels.
        order: all rows in the source's own order (default: as the store says).
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        *,
        size: Size | int | None = None,
        columns: Sequence[str] = (),
        cache: PixelCache | None = None,
        order: Rows | None = None,
    ) -> None:
        super().__init__(store if isinstance(store, Store) else Store(store), order)
        self._size = size
        self._columns = columns
        self._cache = cache

    def select(self, rows: Rows, labels: Rows, transform: Transform | None) -> Selection:
        """See `Samples`."""
        return ReIDDataset(
            self.store,
            rows,
            size=self._size,
            labels=labels,
            transform=transform,
            columns=self._columns,
            cache=self._cache,
        ).selection()

    def __repr__(self) -> str:
        return f"StoreSamples({os.fspath(self.store.path)!r}, {len(self.store):,} samples)"
