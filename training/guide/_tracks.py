"""The guide's way from a csv to samples: tracks, cleaning, folds; thin over builders and splits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from builders import tracks as cleaning
from builders.samples import BoxSample
from builders.text_storage import PythonTexts
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import SourceError, SourceNotFoundError, UsageError
from lmdb_reid.schema import Box, iou
from training.splits import SEED, TRAIN_RATIO, Candidates, fold_labels, split_samples

BBoxSample = BoxSample
"""The guide's name for it."""

Place = str | os.PathLike[str]
Track = tuple[str, str, int]
"""quarter, angle, label."""

TEXT = ("quarter", "angle", "img_path")
NAMES = ("quarter", "angle", "session", "frame", "x", "y", "w", "h", "label_id")


@known_arguments()
def load_train_meta(csv_path: Place, img_root: Place) -> list[BoxSample]:
    """A sample for each row of a csv in the atmaCup layout, in its order.

    No frame is looked for: `img_path` is where the layout has it.

    Raises:
        SourceNotFoundError: no such csv.
        SourceError: it lacks a column, or has a cell that is no number.
    """
    table = read_samples(csv_path, NAMES)
    return [
        BoxSample(*(*row, os.path.join(img_root, frame_name(*row[:4]))))  # noqa: PTH118
        for row in table.itertuples(index=False, name=None)
    ]


def frame_name(quarter: str, angle: str, session: int, frame: int) -> str:
    """A frame's file, as the layout names it."""
    return f"{quarter}__{angle}__{session:02d}__{frame:02d}.jpg"


@PythonTexts()
def read_samples(path: Place, names: Sequence[str]) -> pd.DataFrame:
    """Some columns of a csv; text as text, numbers as whole numbers.

    Raises:
        SourceNotFoundError: no such csv.
        SourceError: it lacks a column, or has a cell that is no number.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), encoding="utf-8-sig")
    except FileNotFoundError:
        raise SourceNotFoundError(f"no csv at {os.fspath(path)}", path=path) from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{os.fspath(path)} cannot be read: {error}", path=path) from None
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise SourceError(
            f"{os.fspath(path)} must have the columns {', '.join(names)}; it lacks"
            f" {', '.join(missing)}",
            path=path,
        )
    table = table[list(names)]
    for name in names:
        if name not in TEXT:
            try:
                table = table.assign(**{name: pd.to_numeric(table[name]).astype(np.int64)})
            except (ValueError, TypeError) as error:
                raise SourceError(
                    f"{name} in {os.fspath(path)} must be whole numbers: {error}", path=path
                ) from None
    return table


@known_arguments()
def build_tracks(samples: Iterable[BoxSample]) -> dict[Track, list[BoxSample]]:
    """The samples by (quarter, angle, label), each track by session and frame."""
    tracks: dict[Track, list[BoxSample]] = {}
    for sample in samples:
        tracks.setdefault((sample.quarter, sample.angle, sample.label_id), []).append(sample)
    return {
        key: sorted(track, key=lambda sample: (sample.session, sample.frame))
        for key, track in tracks.items()
    }


@known_arguments()
def clean_tracks(
    tracks: Mapping[Track, Sequence[BoxSample]], mode: cleaning.BboxMode = "drop"
) -> list[BoxSample]:
    """The samples of all tracks, track after track, without the boxes that suddenly grow ("drop"),
    or with their neighbours' mean instead ("interp").

    Raises:
        UsageError: another mode.
    """
    samples = [sample for track in tracks.values() for sample in track]
    if not samples:
        return []
    rows = pd.DataFrame(
        {name: [getattr(sample, name) for sample in samples] for name in NAMES}, columns=list(NAMES)
    )
    cleaned = cleaning.clean_tracks(rows, mode)
    found: list[BoxSample] = []
    fates = zip(samples, cleaned["fate"], cleaned[["x", "y", "w", "h"]].to_numpy(), strict=True)
    for sample, fate, box in fates:
        if fate == "interpolated":
            x, y, w, h = (int(side) for side in box)
            found.append(dataclasses.replace(sample, x=x, y=y, w=w, h=h))
        elif fate == "kept":
            found.append(sample)
    return found


@known_arguments()
def make_label_folds(
    unique_labels: Sequence[int], n_folds: int = 5, unknown_per_fold: int = 2, seed: int = SEED
) -> list[list[int]]:
    """The labels that each fold holds out, in the order in which they were drawn.

    Raises:
        UsageError: numbers out of range, or more to hold out than there are labels.
    """
    folds = [
        fold_labels(
            unique_labels,
            n_folds=n_folds,
            fold=fold,
            unknown_per_fold=unknown_per_fold,
            seed=seed,
        )
        for fold in range(n_folds)
    ]
    return [found.drawn for found in folds]


@known_arguments()
def split_samples_by_ratio_per_label(
    samples: Sequence[BoxSample], train_ratio: float = TRAIN_RATIO, seed: int = SEED
) -> tuple[list[BoxSample], list[BoxSample]]:
    """Each label's samples, shuffled, in two parts; see `training.splits.split_samples`.

    Raises:
        UsageError: a ratio out of range.
    """
    labels = np.array([sample.label_id for sample in samples], np.int64)
    parts = split_samples(
        Candidates(labels=labels),
        np.unique(labels).tolist(),
        train_ratio=train_ratio,
        seed=seed,
    )
    train, val = ([samples[row] for row in rows.tolist()] for rows in parts)
    return train, val


@known_arguments()
def iou_bbox(a: Any, b: Any) -> float:
    """The share of two samples' boxes that both have: their intersection over their union.

    Raises:
        UsageError: an object without x, y, w, h.
    """
    try:
        one, other = (Box(each.x, each.y, each.w, each.h) for each in (a, b))
    except AttributeError as error:
        raise UsageError(f"iou_bbox needs samples with x, y, w, h: {error}") from None
    return iou(one, other)
