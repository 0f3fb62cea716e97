"""What a loader takes of a dataset."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from lmdb_reid._protocols import Delegating
from lmdb_reid.cache import PixelCache
from lmdb_reid.crops import Crops
from lmdb_reid.dataset._transform import SampleTransform
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Rows
from lmdb_reid.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Crops, and what batches say of them; each array has one entry for each crop."""

    crops: Crops
    labels: Rows
    """int64 [N]."""
    rows: Rows | None = None
    """int64 [N]: rows of the store; None means the positions themselves."""
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Further numbers that batches carry, [N] each."""
    transform: SampleTransform | None = None
    cache: PixelCache | None = None
    """The one behind `crops`, for its statistics."""

    def __len__(self) -> int:
        return len(self.crops)

    def rows_of(self, positions: Rows) -> Rows:
        """The rows of some positions, int64 [B], the caller's own."""
        return positions.copy() if self.rows is None else self.rows[positions]


@runtime_checkable
class _Selectable(Protocol, metaclass=Delegating):
    """A dataset of this package."""

    def selection(self) -> Selection: ...
    def select(self, items: Any, /) -> _Selectable: ...


@runtime_checkable
class _Joinable(Protocol, metaclass=Delegating):
    """A dataset that can be read with others of its store."""

    def joined(self, *others: Any) -> _Selectable: ...


def selection_of(dataset: object) -> Selection:
    """What a loader takes of `dataset`: a ReIDDataset or CroppedBBoxDataset, torch's Subset of one
    (random_split gives such), a ConcatDataset of ReIDDatasets of one store, anything that keeps the
    protocol `Crops`, or a Selection.

    Raises:
        UsageError: anything else; says what to do instead.
    """
    if isinstance(dataset, type):
        raise UsageError(f"make_loader needs an object, got the class {dataset.__name__}: make one")
    if isinstance(dataset, Selection):
        return dataset
    if isinstance(dataset, _Selectable):
        return _checked(dataset).selection()
    if isinstance(dataset, Subset | ConcatDataset):
        return _resolved(dataset).selection()
    if isinstance(dataset, Crops):
        return _of_crops(dataset)
    raise UsageError(f"make_loader cannot read {_described(dataset)}: {_cure(dataset)}")


def _resolved(dataset: object) -> _Selectable:
    """The dataset that Subsets and ConcatDatasets, of each other too, stand for."""
    if isinstance(dataset, _Selectable):
        return _checked(dataset)
    if isinstance(dataset, Subset):
        return _resolved(dataset.dataset).select(dataset.indices)
    if isinstance(dataset, ConcatDataset):
        first, *others = [_resolved(part) for part in dataset.datasets]
        if not isinstance(first, _Joinable) or any(type(one) is not type(first) for one in others):
            raise UsageError(
                "make_loader reads a ConcatDataset of ReIDDatasets of one store; got"
                f" {', '.join(type(one).__name__ for one in (first, *others))}. {_cure(dataset)}."
            )
        return first.joined(*others)
    raise UsageError(f"make_loader cannot read a part of {_described(dataset)}: {_cure(dataset)}")


def _checked(dataset: _Selectable) -> _Selectable:
    """Refuse a dataset that changes what an item is and not what is selected: a loader would read
    what it does not change.
    """
    for kind in type(dataset).__mro__:
        if "selection" in vars(kind):
            break
        if "__getitem__" in vars(kind):
            raise UsageError(
                f"make_loader cannot read {_described(dataset)}: it has its own __getitem__, which"
                " loaders do not call. Use transform=, or implement lmdb_reid.crops.Crops; torch's"
                " DataLoader reads it as it is"
            )
    return dataset


def _of_crops(crops: Crops) -> Selection:
    size: Any = crops.size
    if not (isinstance(size, tuple) and len(size) == 2 and all(map(_is_side, size))):
        raise UsageError(
            f"size of {type(crops).__name__} must be (height, width) in pixels, each at"
            f" least 1, got {size!r}"
        )
    count = len(crops)
    labels, rows = crops.column("label"), crops.column("row")
    return Selection(
        crops=crops,
        labels=np.full(count, NO_LABEL, np.int64)
        if labels is None
        else _numbers("label", labels, count),
        rows=None if rows is None else _numbers("row", rows, count),
    )


def _is_side(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and int(value) >= 1


def _numbers(name: str, values: npt.NDArray[Any], count: int) -> Rows:
    given = np.asarray(values)
    if given.shape != (count,) or not np.issubdtype(given.dtype, np.integer):
        raise UsageError(
            f"column({name!r}) must be whole numbers, one for each of {count} pictures; got"
            f" {given.dtype} {list(given.shape)}"
        )
    return given.astype(np.int64, copy=False)


def _described(dataset: object) -> str:
    kind = type(dataset)
    return f"a {kind.__module__.partition('.')[0]} {kind.__name__}"


def _cure(dataset: object) -> str:
    if isinstance(dataset, Store | str | os.PathLike):
        return "give ReIDDataset(store)"
    if isinstance(dataset, ConcatDataset):
        return (
            "for one store, use ReIDDataset(store, rows) with the rows of all parts; to"
            " join two stores, use `lmdb-reid merge A B --out C`"
        )
    if type(dataset).__module__.partition(".")[0] == "datasets":  # Hugging Face's
        return "write its images to a store first, with StoreWriter, then use ReIDDataset(store)"
    if isinstance(dataset, IterableDataset | Dataset):
        return (
            "torch's DataLoader reads it; to read it here, write its images to a store"
            " with StoreWriter, or implement lmdb_reid.crops.Crops"
        )
    return "use ReIDDataset(store), or an object that implements lmdb_reid.crops.Crops"
