"""Cleaning of tracks: boxes that suddenly grow are left out, or replaced from their neighbours.

Shapes are given in brackets: N rows in the caller's order, T the same rows by track and time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from lmdb_reid.errors import SourceError, UsageError
from lmdb_reid.schema import NO_LABEL

BboxMode = Literal["drop", "interp", "keep"]
"""What becomes of an outlier: left out, replaced by its neighbours' mean, or nothing at all."""
BBOX_MODES: tuple[BboxMode, ...] = get_args(BboxMode)
BBOX_MODE_HELP = (
    "leave out (drop), replace (interp) or keep (keep) boxes whose area is over twice the median"
    " area of their track (default: drop)"
)
"""What the commands that take a mode say of it."""

_SIDES = ("x", "y", "w", "h")

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


def clean_tracks(
    rows: pd.DataFrame,
    mode: BboxMode,
    *,
    area_multiplier: float = 2.0,
    track: Sequence[str] = ("quarter", "angle", "label_id"),
    time: Sequence[str] = ("session", "frame"),
    label: str = "label_id",
) -> pd.DataFrame:
    """A copy of `rows` whose outliers are marked or replaced, with the fate of every row.

    An outlier is a box whose area is above `area_multiplier` times the median area of its track.
    Mode "drop" marks outliers. "interp" replaces an outlier by the element-wise mean of two boxes
    of its track, the nearest before and after in time that are no outliers themselves, and marks
    it where either is missing. "keep" changes nothing.

    Rows labelled -1, or with no label, form no track, since different people share that label:
    they are kept untouched. A box with a coordinate that is not finite is never a neighbour, and
    one without a width or height is no part of a median.

    Args:
        rows: one box a row, x, y, w, h in pixels beside the columns named below. Any index and
            any order.
        mode: what becomes of an outlier.
        area_multiplier: finite and above 0.
        track: columns whose values together name a track.
        time: columns to sort a track by, the most significant first. Rows of one track and time
            count as following one another in the order of `rows`.
        label: the column of identities.

    Returns:
        The same index, order and columns, x, y, w, h as float64, and a new last column `fate`:
        "kept", "outlier" (to be left out) or "interpolated" (its box is replaced).

    Raises:
        UsageError: an unknown mode, a multiplier out of range, no column for tracks or for time.
        SourceError: a column is missing, x, y, w or h holds something else than numbers, or
            there is a column `fate` already.
    """
    _check_arguments(mode, area_multiplier, track, time)
    _check_columns(rows, [*_SIDES, *track, *time, label])
    boxes = np.stack([_numbers(rows, name) for name in _SIDES], axis=1)
    fate = np.full(len(rows), "kept", dtype=object)
    if mode != "keep":
        codes = _track_codes(rows, track, label)
        outlier = _outliers(boxes, codes, area_multiplier)
        fate[outlier] = "outlier"
        if mode == "interp" and outlier.any():
            order = _time_order(rows, time, codes)
            places, means = _neighbour_means(boxes[order], codes[order], outlier[order])
            boxes[order[places]] = means
            fate[order[places]] = "interpolated"
    cleaned = {name: boxes[:, column] for column, name in enumerate(_SIDES)}
    return rows.assign(**cleaned, fate=fate.astype(str))


def _check_arguments(
    mode: str, area_multiplier: float, track: Sequence[str], time: Sequence[str]
) -> None:
    if mode not in BBOX_MODES:
        raise UsageError(f"bbox mode must be one of {', '.join(BBOX_MODES)}, got {mode!r}.")
    if not (math.isfinite(area_multiplier) and area_multiplier > 0):
        raise UsageError(
            f"area_multiplier must be a finite number above 0, got {area_multiplier!r}."
        )
    if not track or not time:
        raise UsageError(
            f"track and time must name a column or more each, got {track!r} and {time!r}."
        )


def _check_columns(rows: pd.DataFrame, needed: Sequence[str]) -> None:
    missing = sorted(set(needed) - set(rows.columns))
    if missing:
        present = ", ".join(map(str, rows.columns))
        raise SourceError(f"rows lack the columns {', '.join(missing)}: there are {present}")
    if "fate" in rows.columns:
        raise SourceError("a column must not be called 'fate', since cleaning adds one. Rename it")


def _numbers(rows: pd.DataFrame, name: str) -> _Floats:
    """Column `name` as float64 [N], NaN where missing."""
    try:
        numbers: _Floats = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise SourceError(f"column {name!r} must hold numbers: {error}") from None
    return numbers


def _track_codes(rows: pd.DataFrame, track: Sequence[str], label: str) -> _Ints:
    """The number of each row's track [N], -1 where it has none."""
    # Without the index, whose levels may be named like a column.
    keys = rows[list(track)].reset_index(drop=True)
    tracks = keys.groupby(list(track), sort=False, dropna=False, observed=True)
    # A csv read as text says "-1".
    labels = rows[label]
    if not pd.api.types.is_numeric_dtype(labels):
        labels = pd.to_numeric(labels.astype(object), errors="coerce")
    is_none = labels.to_numpy() == NO_LABEL
    untracked = is_none | rows[label].isna().to_numpy()
    return np.where(untracked, -1, tracks.ngroup().to_numpy(np.int64))


def _outliers(boxes: _Floats, codes: _Ints, area_multiplier: float) -> _Bools:
    """Which of `boxes` [N,4] are larger than their track allows [N]."""
    outlier = np.zeros(len(boxes), dtype=np.bool_)
    tracked = codes >= 0
    with np.errstate(over="ignore", invalid="ignore"):  # infinite sides are the caller's to refuse
        area = pd.Series(boxes[tracked, 2] * boxes[tracked, 3])
    median = area.groupby(codes[tracked]).transform("median")
    outlier[tracked] = (area > area_multiplier * median).to_numpy(np.bool_)
    return outlier


def _time_order(rows: pd.DataFrame, time: Sequence[str], codes: _Ints) -> _Ints:
    """Row numbers [T] by track, then time, then position in `rows`."""
    ranks = [pd.factorize(rows[name], sort=True)[0] for name in reversed(time)]
    return np.lexsort([*ranks, codes])  # stable: ties keep their order


def _neighbour_means(boxes: _Floats, codes: _Ints, outlier: _Bools) -> tuple[_Ints, _Floats]:
    """Outliers with a good box on either side in their track, and the mean of those two.

    All of `boxes` [T,4], `codes` [T] and `outlier` [T] are in the order of time; so are the
    results, places [K] and means [K,4].
    """
    place = np.arange(len(boxes))
    good = ~outlier & np.isfinite(boxes).all(axis=1)
    before = np.maximum.accumulate(np.where(good, place, -1))
    after = np.minimum.accumulate(np.where(good, place, len(boxes))[::-1])[::-1]
    places = np.flatnonzero(outlier & (before >= 0) & (after < len(boxes)))
    before, after = before[places], after[places]
    same_track = (codes[before] == codes[places]) & (codes[after] == codes[places])
    means = (boxes[before[same_track]] + boxes[after[same_track]]) / 2
    return places[same_track], means
