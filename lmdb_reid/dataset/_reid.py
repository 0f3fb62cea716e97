"""A store as a map-style dataset of (image, label)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from lmdb_reid._memory import pixel_memory
from lmdb_reid.cache import PixelCache
from lmdb_reid.crops import Cached, Crops, StoreCrops
from lmdb_reid.dataset._selection import Selection
from lmdb_reid.dataset._transform import Transform, sample_transform
from lmdb_reid.errors import UnknownColumnError, UnknownRowError, UsageError
from lmdb_reid.schema import NO_LABEL, Rows, Size
from lmdb_reid.store import Store

Labels = Literal["stored", "relabel"] | Sequence[int] | Rows


class ReIDDataset(Dataset[tuple[Any, int]]):
    """Samples of a store, decoded as they are asked for.

    `dataset[i]` is (image, label): the image a uint8 tensor [3, H, W], RGB (a view of [H, W, 3]
    memory), or what `transform` makes of it. Pickles to under 1 kB plus the row selection; works
    under fork, forkserver and spawn.

    Args:
        store: a Store, or the path of one.
        rows: which samples, in which order: rows of the store, a boolean mask [len(store)], sample
            ids, or a query such as "kind == 0 and label >= 0"; None is every sample, negatives too.
        size: (height, width) of the images in pixels, or one number for both; None means the
            store's own, or 256x128 for a store of differing sizes.
        transform: called with each image.
        labels: "stored"; "relabel" maps the selection's labels from 0 up to 0..N-1 in sorted
            order, -1 stays (two selections are numbered each for itself: give the second one the
            first one's `classes`); or one int64 label for each selected row.
        classes: with "relabel", the stored labels that stand for 0..N-1, as another dataset's
            `classes` gives them; a label that is not among them becomes -1.
        columns: names of the store's columns that batches carry, or of its roles ("camera"),
            whatever the source calls them; strings as their codes.
        cache: keeps decoded pixels, an `LRUCache` or a `DecodedTier`.
        fast_dct: decode faster and slightly wrong.

    Raises:
        UsageError: rows, labels, classes or a size that do not fit the store.
        UnknownColumnError: a name in `columns` that the store lacks.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        rows: Sequence[int] | Sequence[str] | npt.NDArray[Any] | str | None = None,
        *,
        size: Size | int | None = None,
        transform: Transform | None = None,
        labels: Labels = "stored",
        classes: Sequence[int] | Rows | None = None,
        columns: Sequence[str] = (),
        cache: PixelCache | None = None,
        fast_dct: bool = False,
    ) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        self.transform = transform
        self.cache = cache
        self._rows = None if rows is None else resolve_rows(self.store, rows)
        crops = StoreCrops(self.store, self._rows, _check_size(size), fast_dct=fast_dct)
        self.crops: Crops = crops if cache is None else Cached(crops, cache)
        """What loaders read."""
        self._numbering: str | Rows = (
            labels if isinstance(labels, str) else _check_labels(labels, len(self))
        )
        if isinstance(self._numbering, str) and self._numbering not in ("stored", "relabel"):
            raise UsageError(
                f"labels must be 'stored', 'relabel' or one label for each row; got {labels!r}"
            )
        self._classes = _check_classes(classes, self._numbering)
        self._columns = _check_columns(self.store, columns)
        self._fast_dct = fast_dct
        self._transform = sample_transform(transform)
        self._labels: Rows | None = None

    @property
    def size(self) -> Size:
        """(height, width) of the images, in pixels."""
        return self.crops.size

    @property
    def rows(self) -> Rows:
        """The selected rows of the store, int64 [N]."""
        return np.arange(len(self.store)) if self._rows is None else self._rows

    @property
    def labels(self) -> Rows:
        """The label of each item, int64 [N]."""
        if self._labels is None:
            self._labels = self._numbered_labels()
        return self._labels

    @property
    def classes(self) -> Rows:
        """The distinct labels from 0 up, sorted; under "relabel" as the store has them, so
        `classes[label]` is the stored one.
        """
        if self._classes is not None:
            return self._classes
        stored = self._stored_labels() if isinstance(self._numbering, str) else self._numbering
        return np.unique(stored[stored > NO_LABEL])

    @property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """The numbers that batches carry beside labels and rows, [N] each."""
        found = {name: self.store.columns[_column_of(self.store, name)] for name in self._columns}
        return found if self._rows is None else {k: v[self._rows] for k, v in found.items()}

    def selection(self) -> Selection:
        """What a loader takes of this dataset."""
        return Selection(
            crops=self.crops,
            labels=self.labels,
            rows=self._rows,
            columns=self.columns,
            transform=self._transform,
            cache=self.cache,
        )

    def select(self, positions: Sequence[int] | npt.NDArray[Any]) -> Self:
        """A dataset of some items of this one, with their labels, in the order given.

        Raises:
            UnknownRowError: a position outside this dataset.
        """
        chosen = self._check_positions(positions)
        return type(self)(
            self.store,
            self.rows[chosen],
            size=self.size,
            transform=self.transform,
            labels=self.labels[chosen],
            columns=self._columns,
            cache=self.cache,
            fast_dct=self._fast_dct,
        )

    def __len__(self) -> int:
        return len(self.store) if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """(image, label) of one item.

        Raises:
            UnknownRowError: no such item.
            CorruptSampleError: the stored bytes are damaged; names the sample.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        """A list of items, for torch's own loader."""
        positions = self._check_positions(indices)
        labels = self.labels[positions].tolist()
        out = pixel_memory((len(positions), *self.size, 3))
        self.crops.read(positions, out)
        images = (torch.from_numpy(pixels).permute(2, 0, 1) for pixels in out)
        if self._transform is None:
            return list(zip(images, labels, strict=True))
        return [
            (self._transform(image, None), label)
            for image, label in zip(images, labels, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_labels": None}

    def __repr__(self) -> str:
        size = f"{self.size[0]}x{self.size[1]}"
        labels = self._numbering if isinstance(self._numbering, str) else "given"
        return f"ReIDDataset({str(self.store.path)!r}, {len(self):,} samples, {size}, {labels})"

    def _stored_labels(self) -> Rows:
        column: Rows = self.store.columns["label"]
        return column if self._rows is None else column[self._rows]

    def _numbered_labels(self) -> Rows:
        if not isinstance(self._numbering, str):
            return self._numbering
        stored = self._stored_labels()
        if self._numbering == "stored":
            return stored
        classes = self.classes
        if not len(classes):
            return np.full(len(stored), NO_LABEL, np.int64)
        order = np.argsort(classes, kind="stable")  # the given classes may stand in any order
        at = order[np.searchsorted(classes, stored, sorter=order).clip(max=len(classes) - 1)]
        return np.where(classes[at] == stored, at, NO_LABEL).astype(np.int64)

    def _check_positions(self, indices: Sequence[int] | npt.NDArray[Any]) -> Rows:
        given = np.asarray(indices)
        if given.size and given.dtype.kind not in "iu":
            raise UsageError(f"items must be whole numbers; got {given.dtype}: {indices!r}")
        positions = given.astype(np.int64, copy=False)
        if not len(positions):
            return positions
        listed = positions.tolist()  # NumPy's own min and max take 30 us out of cold caches
        least, most = min(listed), max(listed)
        if least < -len(self) or most >= len(self):
            bad = most if most >= len(self) else least
            raise UnknownRowError(f"item {bad} of a dataset of {len(self)}")
        return (
            positions if least >= 0 else np.where(positions < 0, positions + len(self), positions)
        )


def resolve_rows(
    store: Store, rows: Sequence[int] | Sequence[str] | npt.NDArray[Any] | str
) -> Rows:
    """Rows of a store, int64 [N], from rows, a boolean mask, sample ids or a query.

    Raises:
        UsageError: none of these, a mask of another length, or rows outside the store.
        UnknownSampleError: an id that the store lacks.
    """
    if isinstance(rows, str):
        return store.query(rows)
    chosen = np.asarray(rows)
    if chosen.ndim != 1:
        raise UsageError(f"rows must have one dimension; got {chosen.ndim}")
    if chosen.dtype == bool:
        if len(chosen) != len(store):
            raise UsageError(
                f"a mask must have one entry for each of the store's {len(store)} samples; got"
                f" {len(chosen)}"
            )
        return np.flatnonzero(chosen).astype(np.int64)
    if chosen.size and chosen.dtype.kind == "U":
        return np.array([store.row(str(sample_id)) for sample_id in rows], np.int64)
    if chosen.size and not np.issubdtype(chosen.dtype, np.integer):
        raise UsageError(
            f"rows must be whole numbers, a mask, ids or a query; got {chosen.dtype}. store.query"
            " and store.row give rows"
        )
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(store)):
        raise UsageError(
            f"rows must be 0..{len(store) - 1}, for the store has {len(store)} samples; got"
            f" {chosen.min()}..{chosen.max()}"
        )
    return chosen.astype(np.int64)


def _check_size(size: Size | int | None) -> Size | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, (int, np.integer)) else size
    if (
        not isinstance(sides, Sequence)
        or len(sides) != 2
        or not all(isinstance(side, (int, np.integer)) and side > 0 for side in sides)
    ):
        raise UsageError(f"size must be (height, width) or one number, in pixels; got {size!r}")
    return int(sides[0]), int(sides[1])


def _check_labels(labels: Sequence[int] | Rows, count: int) -> Rows:
    given = np.asarray(labels)
    if given.shape != (count,) or not (np.issubdtype(given.dtype, np.integer) or not count):
        raise UsageError(
            f"labels must be one whole number for each of {count} rows; got {given.dtype}"
            f" {list(given.shape)}"
        )
    return given.astype(np.int64)


def _check_classes(classes: Sequence[int] | Rows | None, numbering: str | Rows) -> Rows | None:
    if classes is None:
        return None
    if not isinstance(numbering, str) or numbering != "relabel":
        raise UsageError(
            "classes= belongs to labels='relabel'; give that too, or leave classes out"
        )
    given = np.asarray(classes)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise UsageError(
            f"classes must be whole numbers [N]; got {given.dtype} {list(given.shape)}"
        )
    if len(np.unique(given)) != len(given) or (given.size and given.min() <= NO_LABEL):
        raise UsageError("classes must be distinct labels from 0 up")
    return given.astype(np.int64)


def _check_columns(store: Store, columns: Sequence[str]) -> tuple[str, ...]:
    if isinstance(columns, str):
        raise UsageError(f"columns must be a list of names; got {columns!r}: give [{columns!r}]")
    for name in columns:
        _column_of(store, name)
    return tuple(columns)


def _column_of(store: Store, name: str) -> str:
    """The column of this name, or the one that has the role of this name."""
    if name in store.columns:
        return name
    column = getattr(store.roles, name, None)
    if not isinstance(column, str):
        raise UnknownColumnError(
            f"no column or role {name!r} in {store.path}; there are {', '.join(store.columns)}"
        )
    return column
