"""Samples handed to a rule, and what it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Kind, Rows
from training.data._samples import Samples, StoreSamples
from training.splits import Candidates, Rule, Split

Chosen = Sequence[int] | Sequence[str] | npt.NDArray[Any] | str
"""Rows, ids, a mask, or a query."""

_KINDS = (Kind.PERSON, Kind.BACKGROUND, Kind.PARTIAL)


def deal(samples: Samples, rule: Rule, rows: Chosen | None = None) -> Split:
    """What a rule makes of samples.

    Args:
        samples: all of them.
        rule: deals them out.
        rows: those that it deals out: rows, a mask, ids or a query; every person and negative, but
            no junk and no distractors, unless given.

    Returns:
        A split of rows of `samples`.

    Raises:
        UsageError: the rule cannot deal these out.
    """
    chosen = _rows(samples, rows)
    place = np.full(len(samples.ids), -1)
    place[chosen] = np.arange(len(chosen))
    order = place[samples.order]
    candidates = Candidates(
        labels=label_column(samples)[chosen],
        order=order[order >= 0],
        columns=_Columns(samples, chosen),
    )
    return rule(candidates).among(chosen)


def label_column(samples: Samples) -> Rows:
    """The labels of all samples, int64 [N].

    Raises:
        UsageError: they have none.
    """
    labels = samples.column("label")
    if labels is None:
        raise UsageError(f"samples must have a column 'label'; {samples!r} has none")
    return labels


class _Columns(Mapping[str, npt.NDArray[Any]]):
    """The columns of some rows, each read when it is asked for."""

    def __init__(self, samples: Samples, rows: Rows) -> None:
        self._samples = samples
        self._rows = rows

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        values = self._samples.column(name)
        if values is None:
            raise KeyError(name)
        return values[self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._samples.column_names)

    def __len__(self) -> int:
        return len(self._samples.column_names)


def _rows(samples: Samples, rows: Chosen | None) -> Rows:
    """The rows that a rule deals out, ascending."""
    if rows is None:
        kinds = samples.column("kind")
        everything = np.arange(len(samples.ids), dtype=np.int64)
        return everything if kinds is None else everything[np.isin(kinds, _KINDS)]
    if isinstance(samples, StoreSamples):
        return np.sort(ReIDDataset(samples.store, rows).rows)
    if isinstance(rows, str):
        raise UsageError(f"a query needs a store; got {rows!r} for {samples!r}: give rows")
    return np.sort(np.asarray(rows, np.int64))
