"""What rules are given: candidates, drawn from the columns of a store or of samples like it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Kind, Roles, Rows
from lmdb_reid.store import Store
from training.splits._candidates import Candidates
from training.splits._split import Split

_Settings = ParamSpec("_Settings")
Place = str | os.PathLike[str]


class Table(Protocol):
    """Columns by name.

    Laws: every array has one entry for each row.
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


class StoreTable:
    """The columns of a store; see `Table`.

    Args:
        store: the store.
        order: all rows in the source's own order (default: as the store says).
    """

    def __init__(self, store: Store, order: Rows | None = None) -> None:
        self.store = store
        self._order = order

    def __repr__(self) -> str:
        return repr(self.store)

    @property
    def ids(self) -> Sequence[str]:
        """See `Table`."""
        return self.store.ids

    @property
    def order(self) -> Rows:
        """See `Table`."""
        return source_order(self.store) if self._order is None else self._order

    @property
    def column_names(self) -> Sequence[str]:
        """See `Table`."""
        return [name for name in self.store.columns if name != "id"]

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """See `Table`."""
        columns = self.store.columns
        if name not in columns:
            return None
        words = columns.categories(name)
        return columns[name] if words is None else np.array([*words, ""])[columns[name]]


def source_order(store: Store) -> Rows:
    """All rows of a store in its source's own order, int64 [N]; rows that the source does not list
    (negatives) come last.
    """
    order = store.columns["src_order"]
    return np.lexsort([np.arange(len(store)), order, order < 0]).astype(np.int64)


def label_column(table: Table) -> Rows:
    """The labels of all rows, int64 [N].

    Raises:
        UsageError: they have none.
    """
    labels = table.column("label")
    if labels is None:
        raise UsageError(f"samples must have a column 'label'; {table!r} has none")
    return labels


def usual_rows(table: Table) -> Rows:
    """The rows that a rule deals out unless others are named: all but junk, ascending."""
    kinds = table.column("kind")
    if kinds is None:
        return np.arange(len(table.ids), dtype=np.int64)
    return np.flatnonzero(kinds != Kind.JUNK).astype(np.int64)


def candidates_of(table: Table, rows: Rows, roles: Roles | None = None) -> Candidates:
    """Some rows of a table, int64 [N], ascending, as candidates: candidate i is row `rows[i]`.

    Raises:
        UsageError: the table has no labels.
    """
    place = np.full(len(table.ids), -1)
    place[rows] = np.arange(len(rows))
    order = place[table.order]
    return Candidates(
        labels=label_column(table)[rows],
        order=order[order >= 0],
        columns=_Columns(table, rows),
        roles=Roles() if roles is None else roles,
    )


def of_stores(
    rule: Callable[Concatenate[Candidates, _Settings], Split],
) -> Callable[Concatenate[Candidates | Store | Place, _Settings], Split]:
    """A rule that also takes a Store, or the path of one: all its rows but junk are dealt out, and
    parts hold rows of the store.
    """

    @functools.wraps(rule)
    def deals(
        candidates: Candidates | Store | Place,
        /,
        *args: _Settings.args,
        **settings: _Settings.kwargs,
    ) -> Split:
        if isinstance(candidates, Candidates):
            return rule(candidates, *args, **settings)
        store = candidates if isinstance(candidates, Store) else Store(candidates)
        table = StoreTable(store)
        rows = usual_rows(table)
        return rule(candidates_of(table, rows, store.roles), *args, **settings).among(rows)

    return deals


class _Columns(Mapping[str, npt.NDArray[Any]]):
    """The columns of some rows, each read when it is asked for."""

    def __init__(self, table: Table, rows: Rows) -> None:
        self._table = table
        self._rows = rows

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        values = self._table.column(name)
        if values is None:
            raise KeyError(name)
        return values[self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.column_names)

    def __len__(self) -> int:
        return len(self._table.column_names)
