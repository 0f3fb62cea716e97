"""Samples handed to a rule, and what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.data._samples import Samples, StoreSamples
from training.splits import Rule, Split, candidates_of, usual_rows

Chosen = Sequence[int] | Sequence[str] | npt.NDArray[Any] | str
"""Rows, ids, a mask, or a query."""


def deal(samples: Samples, rule: Rule, rows: Chosen | None = None) -> Split:
    """What a rule makes of samples.

    Args:
        samples: all of them.
        rule: deals them out.
        rows: those that it deals out: rows, a mask, ids or a query (default: all but junk).

    Returns:
        A split of rows of `samples`.

    Raises:
        UsageError: the rule cannot deal these out.
    """
    chosen = usual_rows(samples) if rows is None else _rows(samples, rows)
    roles = samples.store.roles if isinstance(samples, StoreSamples) else None
    return rule(candidates_of(samples, chosen, roles)).among(chosen)


def _rows(samples: Samples, rows: Chosen) -> Rows:
    """The rows that a rule deals out, ascending."""
    if isinstance(samples, StoreSamples):
        return np.sort(ReIDDataset(samples.store, rows).rows)
    if isinstance(rows, str):
        raise UsageError(f"a query needs a store, got {rows!r} for {samples!r}. Pass rows")
    return np.sort(np.asarray(rows, np.int64))
