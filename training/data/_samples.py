"""What a data module splits and reads: the samples of a store, before any is chosen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lmdb_reid.cache import PixelCache
from lmdb_reid.dataset import ReIDDataset, Selection, Transform
from lmdb_reid.schema import Rows, Size
from lmdb_reid.store import Store


@runtime_checkable
class Samples(Protocol):
    """Samples by row, which can be split and read.

    Laws: row i has the i-th id; every array has one entry for each row.
    """

    @property
    def ids(self) -> Sequence[str]:
        """The sample ids."""
        ...

    @property
    def order(self) -> Rows:
        """All rows, int64 [N], in the source's own order."""
        ...

    @property
    def column_names(self) -> Sequence[str]:
        """What `column` can be asked for."""
        ...

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """One value for each row, [N]: "label", "kind", or whatever the source has (words as
        words); None where there is no such column.
        """
        ...

    def select(self, rows: Rows, labels: Rows, transform: Transform | None) -> Selection:
        """What a loader reads: some rows, with these labels, int64 each, [B]."""
        ...


class StoreSamples:
    """The samples of a store; see `Samples`.

    Args:
        store: a Store, or the path of one.
        size: (height, width) of the images, or one number for both; None is the store's own.
        columns: names of columns that batches carry.
        cache: keeps decoded pixels.
        order: all rows in the source's own order; as the store says, unless given.
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
        self.store = store if isinstance(store, Store) else Store(store)
        self._size = size
        self._columns = columns
        self._cache = cache
        self._order = order

    @property
    def ids(self) -> Sequence[str]:
        """See `Samples`."""
        return self.store.ids

    @property
    def order(self) -> Rows:
        """See `Samples`."""
        return source_order(self.store) if self._order is None else self._order

    @property
    def column_names(self) -> Sequence[str]:
        """See `Samples`."""
        return [name for name in self.store.columns if name != "id"]

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """See `Samples`."""
        columns = self.store.columns
        if name not in columns:
            return None
        words = columns.categories(name)
        return columns[name] if words is None else np.array([*words, ""])[columns[name]]

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


def source_order(store: Store) -> Rows:
    """All rows of a store in its source's own order, int64 [N]; rows that the source does not list
    (negatives) come last.
    """
    order = store.columns["src_order"]
    return np.lexsort([np.arange(len(store)), order, order < 0]).astype(np.int64)
