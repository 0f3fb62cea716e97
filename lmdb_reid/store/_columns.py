"""Columns: one array for each fact known of the samples, in row order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lmdb_reid._names import Guesses, did_you_mean, guessed
from lmdb_reid.errors import UnknownColumnError
from lmdb_reid.store._column_files import Column, ColumnFiles
from lmdb_reid.store._format import ID_COLUMN, ID_OFFSETS_COLUMN


class Columns(Mapping[str, Column]):
    """The columns of a store by name, each a read-only numpy memory map of one entry per sample.

    `columns["label"]`, or `columns.label` where no method has the name.

    A column of strings holds int32 codes into `categories(name)`, -1 where a sample has no value;
    a column of numbers that some samples lack is float64 with NaN there. A column's checksum is
    compared when a process first maps it. The maps are aligned, shared by all processes, and valid
    after the store is closed and in a forked child. Ids are not among them: see `Store.ids`.
    """

    def __init__(self, files: ColumnFiles) -> None:
        self._files = files
        self._names = [name for name in files.specs if name not in (ID_COLUMN, ID_OFFSETS_COLUMN)]
        self._known = frozenset(self._names)

    def __getitem__(self, name: str) -> Column:
        return self._files.column(self._checked(name))

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        dtypes = ", ".join(f"{name}: {self._files.specs[name].dtype}" for name in self)
        return f"Columns({dtypes})"

    def categories(self, name: str) -> list[str] | None:
        """The strings that a column's codes stand for, or None where the column holds numbers.

        Raises:
            UnknownColumnError: no column of this name.
        """
        return self._files.categories(self._checked(name))

    def _checked(self, name: str) -> str:
        if name not in self._known:
            if name in (ID_COLUMN, ID_OFFSETS_COLUMN):
                hint = " The ids are store.ids."
            else:
                hint = did_you_mean(name, self) if isinstance(name, str) else ""
            raise UnknownColumnError(
                f"no column {name!r} in {self._files.path}.{hint} It has {', '.join(self)}.",
                path=self._files.path,
            )
        return name

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._names})

    def _ipython_key_completions_(self) -> list[str]:
        return self._names

    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(self, name: str) -> Any:
            if not name.startswith("_") and name in self._known:
                return self[name]
            return guessed(self, name, _GUESSES)


_GUESSES = Guesses(works={}, answers={"id": "The ids are store.ids.", "ids": "Use store.ids."})
