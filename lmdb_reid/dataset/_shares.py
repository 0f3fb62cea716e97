"""A share of a dataset, drawn at random."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows


def first_part(count: int, values: Rows | None, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which of `count` items are in the first of two parts, [count].

    Args:
        count: how many items there are.
        values: [count]; items with one value stay together, and `share` is of the values.
        share: how much the first part gets; above 0, below 1.
        seed: of the draw.

    Raises:
        UsageError: a share that leaves one of the parts empty.
    """
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise UsageError(f"share must be above 0 and below 1, got {share!r}.")
    group = np.arange(count) if values is None else np.unique(values, return_inverse=True)[1]
    groups = int(group.max()) + 1 if count else 0
    taken = round(groups * share)
    if not 0 < taken < groups:
        raise UsageError(
            f"a split must leave something on both sides, got a share of {share} of {groups}."
        )
    is_first = np.zeros(groups, bool)
    is_first[np.random.default_rng(seed).permutation(groups)[:taken]] = True
    chosen: npt.NDArray[np.bool_] = is_first[group]
    return chosen
