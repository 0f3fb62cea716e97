"""Which rows are trained on, and which are held back."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from lmdb_reid._arguments import known_fields
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows

NOWHERE: Rows = np.empty(0, np.int64)


@known_fields
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Parts of a set of samples.

    Names that the data modules know: train; val, identities of train held back; unknown, whoever
    is none of these; test; query and gallery. Others may stand beside them.

    Raises:
        UsageError: a row stands in two parts, or twice in one, or is below 0; parts that are no map
            of rows, rows or labels that are no whole numbers.
    """

    parts: Mapping[str, Rows]
    """By name: rows, int64, ascending; each row in one part at most."""
    labels: Sequence[int]
    """The identities to tell apart, sorted: class k of a batch is `labels[k]`."""

    def __post_init__(self) -> None:
        if not isinstance(self.parts, Mapping):
            raise UsageError(f"parts must be a map of names to rows, got {_short(self.parts)}")
        parts = {name: np.sort(_rows(name, rows)) for name, rows in self.parts.items()}
        object.__setattr__(self, "parts", MappingProxyType(parts))
        object.__setattr__(self, "labels", _labels(self.labels))
        rows, counts = np.unique(np.concatenate([NOWHERE, *parts.values()]), return_counts=True)
        if len(rows) and rows[0] < 0:
            raise UsageError(f"a split's rows must be 0 or more, got {rows[0]}")
        twice = rows[counts > 1]
        if len(twice):
            where = [name for name, part in parts.items() if twice[0] in part]
            raise UsageError(
                f"a row must be in one part of a split; row {twice[0]} is in {' and '.join(where)}"
            )

    def __getitem__(self, name: str) -> Rows:
        """The rows of a part, int64, ascending; none where the split has no such part."""
        return self.parts.get(name, NOWHERE)

    def __contains__(self, name: object) -> bool:
        return name in self.parts

    def rows(self, *names: str) -> Rows:
        """The rows of some parts together, ascending."""
        return np.sort(np.concatenate([NOWHERE, *(self[name] for name in names)]))

    def among(self, rows: Rows) -> Split:
        """The same split of samples that stand at other rows: row i becomes `rows[i]`."""
        return Split(
            parts={name: rows[part] for name, part in self.parts.items()}, labels=self.labels
        )

    def __getstate__(self) -> tuple[dict[str, Rows], Sequence[int]]:
        return dict(self.parts), self.labels  # a MappingProxyType cannot be pickled

    def __setstate__(self, state: tuple[dict[str, Rows], Sequence[int]]) -> None:
        object.__setattr__(self, "parts", MappingProxyType(state[0]))
        object.__setattr__(self, "labels", state[1])

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {len(rows):,}" for name, rows in self.parts.items())
        return f"Split({counts}; {len(self.labels)} labels)"


def _rows(name: str, rows: object) -> Rows:
    try:
        found = np.asarray(rows)
    except ValueError:  # lists of different lengths
        found = np.empty((0, 0))
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise UsageError(
            f"part {name!r} must be a list of rows, whole numbers; got {_short(rows)}. A mask has"
            " rows by np.flatnonzero, a query by store.query"
        )
    return found.astype(np.int64)


def _labels(labels: object) -> list[int]:
    try:
        return sorted(operator.index(label) for label in labels)  # type: ignore[attr-defined]
    except TypeError:
        raise UsageError(f"labels must be a list of whole numbers, got {_short(labels)}") from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:80] + "..."
