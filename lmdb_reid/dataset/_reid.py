"""A store as a map-style dataset of (image, label)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from lmdb_reid._arguments import known_arguments
from lmdb_reid._memory import pixel_memory
from lmdb_reid._names import guessed
from lmdb_reid.cache import PixelCache
from lmdb_reid.crops import Cached, Crops, StoreCrops
from lmdb_reid.dataset._checks import (
    check_classes,
    check_columns,
    check_labels,
    check_size,
    column_of,
)
from lmdb_reid.dataset._guesses import ARGUMENTS, DATASET, RENAMED, SPLIT, SPLIT_ANSWERS
from lmdb_reid.dataset._selection import Selection
from lmdb_reid.dataset._shares import first_part
from lmdb_reid.dataset._transform import Transform, sample_transform
from lmdb_reid.errors import UnknownRowError, UsageError
from lmdb_reid.schema import NO_LABEL, Rows, Size
from lmdb_reid.store import Store, resolve_rows, rows_of

Labels = Literal["stored", "relabel"] | Sequence[int] | Rows


class ReIDDataset(Dataset[tuple[Any, int]]):
    """Samples of a store, each decoded when it is read.

    >>> ReIDDataset(store, "kind == 'person'", labels="relabel")  # doctest: +SKIP

    `dataset[i]` is (image, label). The image is a uint8 tensor [3, H, W], RGB (a view of [H, W, 3]
    memory), or what `transform` returns. A pickle has under 1 kB plus the row selection, and works
    with fork, forkserver and spawn.

    Args:
        store: a Store, or the path of one.
        rows: which samples, in which order: rows of the store, a boolean mask [len(store)], sample
            ids, or a query such as "kind == 'person' and label >= 0" (default: all, negatives too).
        size: (height, width) of the images in pixels, or one number for both (default: the
            store's own, or 256x128 if its images have different sizes).
        transform: called with each image.
        labels: "stored" keeps the store's labels. "relabel" maps those of the selection that are
            at least 0 to 0..N-1 in sorted order, and keeps -1. Two selections are numbered
            separately, unless the second gets the first's `classes`. Or one int64 label a row.
        classes: with "relabel", the stored labels that become 0..N-1, such as the `classes` of
            another dataset. All other labels become -1.
        columns: names of columns, or of roles ("camera"), that batches have too; strings as codes.
        cache: keeps decoded pixels: an `LRUCache` or a `DecodedTier`.
        fast_dct: decode faster, with slightly different pixels.

    Raises:
        UsageError: rows, labels, classes or the size do not fit the store.
        UnknownColumnError: the store lacks a name in `columns`.
    """

    @known_arguments(works=RENAMED, answers=ARGUMENTS)
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
        self.query = rows if isinstance(rows, str) else None
        """The query that chose the rows."""
        self._rows = None if rows is None else self._resolved(rows)
        crops = StoreCrops(self.store, self._rows, check_size(size), fast_dct=fast_dct)
        self.crops: Crops = crops if cache is None else Cached(crops, cache)
        """What loaders read."""
        self._numbering: str | Rows = (
            labels if isinstance(labels, str) else check_labels(labels, len(self))
        )
        if isinstance(self._numbering, str) and self._numbering not in ("stored", "relabel"):
            raise UsageError(
                f"labels must be 'stored', 'relabel' or one label for each row; got {labels!r}"
            )
        self._classes = check_classes(classes, self._numbering)
        self._columns = check_columns(self.store, columns)
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
        found = {name: self.store.columns[column_of(self.store, name)] for name in self._columns}
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

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def targets(self) -> Rows:
        """The same as `labels`, under torchvision's name."""
        return self.labels

    @property
    def class_to_idx(self) -> dict[int, int]:
        """{label in the store: label that items have}, of the classes."""
        if isinstance(self._numbering, str) and self._numbering == "relabel":
            return {one: at for at, one in enumerate(self.classes.tolist())}
        known = self.labels > NO_LABEL
        stored, labels = self._stored_labels()[known], self.labels[known]
        return dict(zip(stored.tolist(), labels.tolist(), strict=True))

    @property
    def ids(self) -> list[str]:
        """The sample id of each item."""
        return [self.store.ids[row] for row in self.rows.tolist()]

    def select(self, items: Sequence[int] | Sequence[str] | npt.NDArray[Any] | str) -> Self:
        """A dataset of some items of this one, with their labels.

        Args:
            items: positions in this dataset, in the order wanted; a mask, one entry for each item;
                sample ids; or a query, whose items keep their order.

        Raises:
            UnknownRowError: a position outside this dataset.
            UsageError: none of these, or a sample that is not in this dataset.
        """
        chosen = self._positions_of(items)
        return self._with(self.rows[chosen], self.labels[chosen])

    @known_arguments(works=SPLIT, answers=SPLIT_ANSWERS)
    def split(
        self, share: float = 0.8, *, by: str | None = None, seed: int = 0
    ) -> tuple[Self, Self]:
        """Two datasets at random, the same for one seed; both in the order of this one. Folds, and
        train, query and gallery of open sets are in `training.splits`.

        Args:
            share: how much of the items the first gets; above 0, below 1.
            by: "label", or another column or role of the store: items with one value of it stay
                together, and `share` is of the values. Items of label -1 are then split singly.
            seed: of the draw.

        Raises:
            UsageError: a share that leaves one of the two empty.
            UnknownColumnError: no such column or role.
        """
        first = first_part(len(self), None if by is None else self._values(by), share, seed)
        return self.select(first), self.select(~first)

    def with_transform(self, transform: Transform | None) -> Self:
        """The same items through another transform."""
        return self._with(self.rows, self.labels, transform=transform)

    def joined(self, *others: ReIDDataset) -> Self:
        """The items of this dataset and then of others, of the same store, size and transform.

        Raises:
            UsageError: they differ in one of these.
        """
        for other in others:
            if other.store.manifest.fingerprint != self.store.manifest.fingerprint:
                raise UsageError(
                    "datasets must be of one store to be read together. Join two stores, use"
                    " `lmdb-reid merge A B --out C`."
                )
            if (other.size, other._columns) != (self.size, self._columns) or not (
                other.transform is self.transform and other.cache is self.cache
            ):
                raise UsageError(
                    "datasets must have one size, transform, cache and columns to be read together."
                )
        every: list[ReIDDataset] = [self, *others]
        return self._with(
            np.concatenate([one.rows for one in every]),
            np.concatenate([one.labels for one in every]),
        )

    def _with(self, rows: Rows, labels: Rows, **changes: Any) -> Self:
        kept = {"transform": self.transform, "columns": self._columns, "cache": self.cache}
        return type(self)(
            self.store,
            rows,
            size=self.size,
            labels=labels,
            fast_dct=self._fast_dct,
            **(kept | changes),
        )

    def __len__(self) -> int:
        return len(self.store) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, int]: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | Rows) -> list[tuple[Any, int]]: ...
    def __getitem__(self, index: Any) -> tuple[Any, int] | list[tuple[Any, int]]:
        """(image, label) of one item; a list of them of a slice or several positions.

        Raises:
            UnknownRowError: no such item.
            CorruptSampleError: the stored bytes are damaged; names the sample.
        """
        if isinstance(index, slice):
            return self.__getitems__(range(*index.indices(len(self))))
        if isinstance(index, str):
            raise UsageError(
                f"items must be whole numbers, got {index!r}. dataset.select([id]) takes ids,"
                " store[id] is a sample."
            )
        several = isinstance(index, list | tuple | range) or getattr(index, "ndim", 0) > 0
        return self.__getitems__(index) if several else self.__getitems__([index])[0]

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

    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(self, name: str) -> Any:
            return guessed(self, name, DATASET)

    def _resolved(self, rows: Any) -> Rows:
        return self.store.query(rows) if isinstance(rows, str) else resolve_rows(self.store, rows)

    def _positions_of(self, items: Any) -> Rows:
        """Positions in this dataset of whatever names items of it."""
        if isinstance(items, str):
            return np.flatnonzero(np.isin(self.rows, self.store.query(items)))
        return rows_of(
            items, len(self), self._position_of, "this dataset", noun="positions", from_end=True
        )

    def _position_of(self, sample_id: str) -> int:
        positions = np.flatnonzero(self.rows == self.store.row(sample_id))
        if not len(positions):
            raise UsageError(f"sample {sample_id!r} is in the store, but not in this dataset.")
        return int(positions[0])

    def _values(self, name: str) -> Rows:
        """What `split` keeps together: a number for each item."""
        if name == "label":
            return np.where(self.labels > NO_LABEL, self.labels, -1 - np.arange(len(self)))
        column = self.store.columns[column_of(self.store, name)][self.rows]
        return np.unique(column, return_inverse=True)[1].astype(np.int64)

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
