"""Reading a sealed store."""

from __future__ import annotations

import os
from collections.abc import Callable, ItemsView, Iterable, KeysView
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, overload

import numpy as np

from lmdb_reid import pictures
from lmdb_reid._arguments import known_arguments
from lmdb_reid._names import guessed
from lmdb_reid.errors import StoreChangedError, UsageError
from lmdb_reid.progress import Progress
from lmdb_reid.schema import NO_LABEL, Roles, Rows, Size
from lmdb_reid.store import _query, _samples, _tables
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._description import Description, describe
from lmdb_reid.store._export import export as export_store
from lmdb_reid.store._guesses import CLASS, COUNT, READ_ONLY, ROW_OF_SHEET, STORE
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._lookup import Lookup
from lmdb_reid.store._notebook import store_html
from lmdb_reid.store._opening import opened
from lmdb_reid.store._plots import Plots
from lmdb_reid.store._sample import Sample
from lmdb_reid.store._samples import Samples
from lmdb_reid.store._verify import Verification, verify

if TYPE_CHECKING:
    import pandas as pd

_Default = TypeVar("_Default")
_COMPLETED = 5_000  # ids that a notebook completes


class _Suggesting(type):
    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(cls, name: str) -> Any:
            return guessed(cls, name, CLASS)


class Store(Lookup, metaclass=_Suggesting):
    """A sealed store, read-only: a mapping of ids to samples, and columns by name.

    `store[id]` and `store[3]` return a Sample. A slice, a list of rows or ids, or a mask returns
    `Samples`. Two Store objects are never equal, also if they have the same path.

    Opening a store reads the manifest and compares it with the sizes and pins of every file. LMDB
    itself is opened at the first sample, once for each file and process. A forked or unpickled
    store opens it again. Threads may share a store.

    Args:
        path: the store's directory.
        check: "pins" compares the files with the manifest; a page of LMDB's tree is checked before
            it is first used. "structure" checks all of LMDB's pages first (about 6 microseconds
            for each sample).

    Raises:
        StoreNotFoundError: there is no sealed store at the path.
        StoreVersionError: the store has a format that this code does not know.
        StoreDamagedError: a file was cut short, exchanged or damaged.
    """

    @known_arguments(answers=READ_ONLY)
    def __init__(
        self, path: str | os.PathLike[str], *, check: Literal["pins", "structure"] = "pins"
    ) -> None:
        if check not in ("pins", "structure"):
            raise UsageError(f"check must be 'pins' or 'structure', got {check!r}")
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"a store must be opened by its path, got {path!r}")
        self.path = Path(path).absolute()
        self.manifest, self._files, self._parts = opened(self.path, structure=check == "structure")
        self.columns = Columns(self._files)
        self.ids = Ids(self._files, self.manifest.parts)
        self._closed = False
        self._tables = None

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, check: Literal["pins", "structure"] = "pins"
    ) -> Self:
        """The same as `Store(path)`."""
        return cls(path, check=check)

    # -- what it holds

    @property
    def size(self) -> Size | None:
        """(height, width) if all images have one size, else None."""
        return self.manifest.size

    @property
    def digest(self) -> str:
        """The content digest: the same for the same samples, wherever and however they were
        built.
        """
        return self.manifest.digest

    @property
    def kinds(self) -> dict[str, int]:
        """How many samples of each kind there are."""
        return dict(self.manifest.kinds)

    @property
    def labels(self) -> Rows:
        """The label of each sample, int64 [N], -1 without one; a column, read-only."""
        return self.columns["label"]

    @property
    def classes(self) -> Rows:
        """The distinct labels from 0 up, ascending, int64 [num_identities]."""
        labels = self.labels
        return np.unique(labels[labels > NO_LABEL])

    @property
    def num_identities(self) -> int:
        """How many distinct labels from 0 up there are."""
        return self.manifest.identities

    @property
    def roles(self) -> Roles:
        """Which columns say who a sample shows, where and when."""
        return self.manifest.roles

    # -- samples

    def keys(self) -> KeysView[str]:
        """The ids, in row order."""
        return KeysView(cast(Any, self))

    def values(self) -> Samples:
        """All samples, in row order, each read when it is asked for."""
        return self[:]

    def items(self) -> ItemsView[str, Sample]:
        """(id, sample) of all, in row order, each read when it is asked for."""
        return ItemsView(cast(Any, self))

    @overload
    def get(self, sample_id: str, default: None = None) -> Sample | None: ...
    @overload
    def get(self, sample_id: str, default: _Default) -> Sample | _Default: ...
    def get(self, sample_id: str, default: Any = None) -> Any:
        """The sample of this id, or `default` if there is none."""
        row = self.ids.find(self._checked_key(sample_id)) if isinstance(sample_id, str) else -1
        return default if row < 0 else self.at(row)

    @overload
    def __getitem__(self, sample: str | int | np.integer[Any]) -> Sample: ...
    @overload
    def __getitem__(self, sample: slice | Iterable[Any]) -> Samples: ...
    def __getitem__(self, sample: Any) -> Sample | Samples:
        """The sample of an id or row; of a slice, a list of rows or ids, or a mask, `Samples`.

        Raises:
            UnknownSampleError: no sample of this id; the message names the nearest.
            UnknownRowError: no such row.
            UsageError: none of these.
            CorruptSampleError: its bytes are not those that were sealed.
        """
        if isinstance(sample, str):
            key = self._checked_key(sample)
            return self._sample(self._row(key), key)
        if isinstance(sample, int | np.integer) and not isinstance(sample, bool):
            return self.at(int(sample))
        return _samples.select(self, sample)

    @known_arguments(answers=COUNT)
    def head(self, n: int = 5) -> Samples:
        """The first `n` samples."""
        return self[: max(0, n)]

    @known_arguments(answers=COUNT)
    def sample(self, n: int = 1, seed: int = 0, query: str | None = None) -> Samples:
        """`n` samples at random (all if there are fewer), in row order; the same for one seed.

        Args:
            n: how many.
            seed: of the choice.
            query: choose among these, such as "kind == 'person'".
        """
        rows = None if query is None else self.query(query)
        return _samples.draw(self, n, seed, rows, query or "")

    # -- tables and pictures

    def to_pandas(self) -> pd.DataFrame:
        """All columns as a pandas DataFrame, indexed by sample id, in row order; strings as
        categories.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _tables.whole(self.ids, self.columns)

    def query(self, expression: str | None = None, /, **equal: Any) -> Rows:
        """Rows for which a pandas expression over the columns is true, int64, ascending; and, by
        keyword, those with a value, or one of several, in a column.

        >>> store.query("label == 3 and kind == 'person'")  # doctest: +SKIP
        >>> store.query(label=3, quarter=["Q1-000", "Q2-000"])  # doctest: +SKIP

        Raises:
            UsageError: the expression cannot be evaluated, or is not a condition.
            UnknownColumnError: a keyword that is no column; names the nearest.
        """
        return _query.query(self.ids, self.columns, expression, equal)

    @known_arguments(works=ROW_OF_SHEET)
    def sheet(
        self,
        samples: Any = None,
        *,
        columns: int | None = None,
        by: str | None = "auto",
        title: str | None = None,
    ) -> pictures.Picture:
        """A contact sheet of samples: each with what is known of it, in the colour of its kind.

        Args:
            samples: how many persons to draw at random (default: 48), a query, an id, rows or
                ids, a mask, a DataFrame of samples, or `Samples`.
            columns: pictures in a row (default: chosen by their number).
            by: the column or role whose values are groups; see `Samples.sheet`.
            title: the first line (default: the store, the query and the number of samples).

        Raises:
            UsageError: no sample, or more than 1,000.
            MissingExtraError: Pillow is not installed.
        """
        return _samples.chosen_for_sheet(self, samples).sheet(columns=columns, by=by, title=title)

    def describe(self) -> Description:
        """Counts, sizes, columns and roles; prints as a few lines."""
        return describe(self)

    @property
    def plot(self) -> Plots:
        """Charts, with matplotlib: `plot.identities()`, `plot.sizes()`, `plot.timeline()`."""
        return Plots(self)

    export = export_store

    @known_arguments()
    def verify(self, *, deep: bool = False, progress: Progress | None = None) -> Verification:
        """Check every checksum of the store; with `deep`, decode every image too. See
        `Verification`. `progress` is called with the samples that were checked.
        """
        return verify(self, self._files, self._parts, deep=deep, progress=progress)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items())
        size = f"{self.size[0]}x{self.size[1]}" if self.size else "native sizes"
        return (
            f"Store({str(self.path)!r}: {len(self):,} samples ({kinds}),"
            f" {self.manifest.identities} identities, {size})"
        )

    def _repr_html_(self) -> str:
        return store_html(self, closed=self._closed)

    def _ipython_key_completions_(self) -> list[str]:
        return self.ids[:_COMPLETED]

    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(self, name: str) -> Any:
            return guessed(self, name, STORE)

    # -- lifetime

    def close(self) -> None:
        """Give LMDB's environment back. Columns that were taken stay valid."""
        self._closed = True
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[str, str], Store], tuple[str, str]]:
        return _reopened, (str(self.path), self.manifest.fingerprint)


def _reopened(path: str, fingerprint: str) -> Store:
    store = Store(path)
    if store.manifest.fingerprint != fingerprint:
        raise StoreChangedError(
            f"the store at {path} was replaced since this was pickled: open it again", path=path
        )
    return store
