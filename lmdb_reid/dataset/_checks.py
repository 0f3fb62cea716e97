"""Arguments of a dataset, checked against its store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from lmdb_reid._names import did_you_mean
from lmdb_reid.errors import UnknownColumnError, UsageError
from lmdb_reid.schema import NO_LABEL, Rows, Size
from lmdb_reid.store import Store


def check_size(size: Size | int | None) -> Size | None:
    """(height, width) of what may be one number for both."""
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


def check_labels(labels: Sequence[int] | Rows, count: int) -> Rows:
    """One label for each of `count` rows, int64."""
    given = np.asarray(labels)
    if given.shape != (count,) or not (np.issubdtype(given.dtype, np.integer) or not count):
        raise UsageError(
            f"labels must be one whole number for each of {count} rows; got {given.dtype}"
            f" {list(given.shape)}"
        )
    return given.astype(np.int64)


def check_classes(classes: Sequence[int] | Rows | None, numbering: str | Rows) -> Rows | None:
    """Stored labels in the order of the numbers that they get, int64."""
    if classes is None:
        return None
    if not isinstance(numbering, str) or numbering != "relabel":
        raise UsageError("classes= needs labels='relabel'. Pass that too, or remove classes=")
    given = np.asarray(classes)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise UsageError(
            f"classes must be whole numbers [N]; got {given.dtype} {list(given.shape)}"
        )
    if len(np.unique(given)) != len(given) or (given.size and given.min() <= NO_LABEL):
        raise UsageError("classes must be distinct labels, each at least 0")
    return given.astype(np.int64)


def check_columns(store: Store, columns: Sequence[str]) -> tuple[str, ...]:
    """Names of columns or roles that the store has."""
    if isinstance(columns, str):
        raise UsageError(f"columns must be a list of names, got {columns!r}. Use [{columns!r}]")
    for name in columns:
        column_of(store, name)
    return tuple(columns)


def column_of(store: Store, name: str) -> str:
    """The column of this name, or the one that has the role of this name."""
    if name in store.columns:
        return name
    column = getattr(store.roles, name, None)
    if not isinstance(column, str):
        roles = [role for role, names in dataclasses.asdict(store.roles).items() if names]
        hint = did_you_mean(name, [*store.columns, *roles])
        raise UnknownColumnError(
            f"no column or role {name!r} in {store.path}.{hint} It has {', '.join(store.columns)}."
        )
    return column
