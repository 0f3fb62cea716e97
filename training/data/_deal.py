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
        UsageError: the rule cannot deal these out, is no function, or gives no Split.
    """
    if not callable(rule):
        raise UsageError(
            f"a split must be a Split, a file of lmdb-reid split, or a rule; got {rule!r}"
        )
    chosen = usual_rows(samples) if rows is None else _rows(samples, rows)
    roles = samples.store.roles if isinstance(samples, StoreSamples) else None
    split = rule(candidates_of(samples, chosen, roles))
    if not isinstance(split, Split):
        raise UsageError(f"a rule must return a Split, got {split!r} of {rule!r}")
    return split.among(chosen)


def _rows(samples: Samples, rows: Chosen) -> Rows:
    """The rows that a rule deals out, ascending."""
    if isinstance(samples, StoreSamples):
        return np.sort(ReIDDataset(samples.store, rows).rows)
    if isinstance(rows, str):
        raise UsageError(f"a query needs a store, got {rows!r} for {samples!r}. Pass rows")
    return np.sort(np.asarray(rows, np.int64))
