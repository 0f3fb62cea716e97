"""Columns of several stores as one: dictionaries merged, what one of them lacks missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.store._column_files import Column

_EXACT_IN_FLOAT = 1 << 53


class Values(NamedTuple):
    """A column of one store: numbers, or codes with their categories."""

    values: Column
    categories: list[str] | None


def join(sources: Sequence[Values | None], counts: Sequence[int]) -> Values:
    """One column of what several stores have under one name.

    Whole numbers stay whole where every store has them. Numbers are floats where some are, or
    where a store has none (NaN there), unless that would round one. All else becomes strings.

    Args:
        sources: of each store, or None where it has no such column.
        counts: how many samples each store has.
    """
    there = [source for source in sources if source is not None]
    if any(source.categories is not None for source in there):
        return _strings(sources, counts)
    whole = all(source.values.dtype == np.int64 for source in there)
    if whole and len(there) == len(sources):
        return Values(np.concatenate([source.values for source in there]), None)
    if not all(_is_exact(source.values) for source in there):
        return _strings(sources, counts)
    parts = [
        np.full(count, np.nan) if source is None else source.values.astype("<f8")
        for source, count in zip(sources, counts, strict=True)
    ]
    return Values(np.concatenate(parts), None)


def join_ids(texts: Sequence[tuple[Column, Column, bytes]]) -> tuple[Column, Column]:
    """(text, offsets) of the ids of several stores, each with a prefix before all of its ids.

    Args:
        texts: (text, offsets, prefix) of each store, as the columns `id` and `id_offsets`.
    """
    joined, lengths = [], []
    for text, offsets, prefix in texts:
        if not prefix:
            joined.append(text)
            lengths.append(np.diff(offsets))
            continue
        moved = offsets + len(prefix) * np.arange(len(offsets))
        out = np.empty(int(moved[-1]), np.uint8)
        is_text = np.ones(len(out), bool)
        for at, letter in enumerate(prefix):
            out[moved[:-1] + at] = letter
            is_text[moved[:-1] + at] = False
        out[is_text] = text
        joined.append(out)
        lengths.append(np.diff(moved))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype("<i8")
    return np.concatenate(joined), offsets


def _is_exact(values: Column) -> bool:
    """Whether floats hold all of some numbers."""
    if values.dtype != np.int64 or not len(values):
        return True
    return int(values.min()) >= -_EXACT_IN_FLOAT and int(values.max()) <= _EXACT_IN_FLOAT


def _strings(sources: Sequence[Values | None], counts: Sequence[int]) -> Values:
    coded = [source if source is None else _coded(source) for source in sources]
    names = sorted({name for source in coded if source for name in source.categories or ()})
    place = {name: code for code, name in enumerate(names)}
    parts = []
    for source, count in zip(coded, counts, strict=True):
        if source is None:
            parts.append(np.full(count, -1, "<i4"))
            continue
        # The last entry answers code -1.
        new = np.array([place[name] for name in source.categories or ()] + [-1], "<i4")
        parts.append(new[source.values])
    return Values(np.concatenate(parts), names)


def _coded(source: Values) -> Values:
    """A column of numbers as codes and strings; one of strings as it is."""
    if source.categories is not None:
        return source
    values = source.values
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    distinct, codes = np.unique(values[~missing], return_inverse=True)
    out: npt.NDArray[np.int32] = np.full(len(values), -1, "<i4")
    out[~missing] = codes
    with np.errstate(invalid="ignore"):
        whole = distinct.dtype.kind == "f" and bool((distinct == np.trunc(distinct)).all())
    # Whole numbers are floats only where some are missing: their records say 1, not 1.0.
    exact = whole and _fits(distinct)
    return Values(out, [str(int(v)) if exact else str(v) for v in distinct.tolist()])


def _fits(distinct: Column) -> bool:
    return bool(np.isfinite(distinct).all()) and bool((abs(distinct) <= _EXACT_IN_FLOAT).all())
