"""Rows of a store, from whatever names samples: rows, masks, ids, tables of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UnknownRowError, UsageError
from lmdb_reid.schema import Rows


class _Numbered(Protocol):
    """What of a store is asked: the row of an id, and how many rows there are."""

    def row(self, sample_id: str) -> int: ...
    def __len__(self) -> int: ...


def resolve_rows(store: _Numbered, chosen: Iterable[Any], *, from_end: bool = False) -> Rows:
    """Rows of a store, int64 [N], in the order given.

    Args:
        store: the store.
        chosen: rows; a boolean mask, one entry for each sample; sample ids; or a pandas DataFrame,
            whose index is one of these.
        from_end: let rows below 0 count from the end, as an index does.

    Raises:
        UsageError: none of these, a mask of another length, or rows outside the store.
        UnknownRowError: with `from_end`, rows outside the store.
        UnknownSampleError: an id that the store lacks.
    """
    return rows_of(chosen, len(store), store.row, "the store", from_end=from_end)


def rows_of(
    chosen: Any,
    count: int,
    find: Callable[[str], int],
    what: str,
    *,
    noun: str = "rows",
    from_end: bool = False,
) -> Rows:
    """`resolve_rows` of anything with `count` entries, in which `find` finds an id."""
    given = _array(chosen)
    if given.ndim != 1:
        raise UsageError(f"{noun} must have one dimension, got {given.ndim}.")
    if given.dtype == bool:
        if len(given) != count:
            raise UsageError(
                f"a mask must have one entry for each of the {count} samples of {what}, got"
                f" {len(given)}."
            )
        return np.flatnonzero(given).astype(np.int64)
    if given.dtype.kind in "UOT" and any(isinstance(one, str) for one in given.tolist()):
        # Ids, perhaps among rows.
        listed = [find(one) if isinstance(one, str) else one for one in given.tolist()]
        given = np.asarray(listed)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise UsageError(
            f"{noun} must be whole numbers, a mask, ids or a query, got {given.dtype}."
            " store.query and store.row return rows."
        )
    rows: Rows = given.astype(np.int64)
    if rows.size and not (rows.min() >= (-count if from_end else 0) and rows.max() < count):
        bad = rows.min() if rows.max() < count else rows.max()
        message = f"{noun} must be 0..{count - 1}, for {what} has {count} samples, got {bad}."
        raise UnknownRowError(message, rows=[bad]) if from_end else UsageError(message, rows=[bad])
    return rows + count * (rows < 0) if from_end else rows


def _array(chosen: Any) -> npt.NDArray[Any]:
    """A numpy array of what may be a list, a series, a tensor, a table, a view or a generator."""
    if hasattr(chosen, "iloc") and chosen.ndim == 2:  # a DataFrame
        chosen = chosen.index
    if not isinstance(chosen, list | tuple | range) and not hasattr(chosen, "__array__"):
        try:
            if isinstance(chosen, str | bytes):
                raise TypeError
            chosen = list(chosen)
        except TypeError:
            raise UsageError(
                f"rows must be whole numbers, a mask, ids or a query, got {chosen!r}."
            ) from None
    mixed = isinstance(chosen, list | tuple) and len({isinstance(one, str) for one in chosen}) == 2
    try:
        # NumPy would make the text "7" of a 7 that stands beside ids.
        given = np.asarray(chosen, object) if mixed else np.asarray(chosen)
    except ValueError as error:
        raise UsageError(f"rows must be whole numbers, a mask or ids: {error}.") from None
    if given.dtype == object and given.size and all(type(one) is bool for one in given.tolist()):
        return given.astype(bool)  # pandas' nullable kind
    return given
