"""A fold's samples as three csv files, as the guide's code keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from builders.samples import BoxSample
from lmdb_reid._arguments import known_arguments
from lmdb_reid._disk import whole_text
from training.guide._tracks import NAMES, Place, read_samples

FOLD_META_DIR = "outputs/fold_metadata"
_COLUMNS = (*NAMES, "img_path")


@known_arguments()
def save_fold_metadata(
    fold_idx: int,
    train_samples: Sequence[BoxSample],
    val_samples: Sequence[BoxSample],
    unknown_labels: Sequence[int],
    output_dir: Place,
) -> None:
    """Write fold<I>_train_samples.csv, fold<I>_val_samples.csv and fold<I>_unknown_labels.csv.

    Raises:
        WriteError: the disk or its permissions stand in the way.
    """
    for part, samples in (("train", train_samples), ("val", val_samples)):
        columns = {name: [getattr(sample, name) for sample in samples] for name in _COLUMNS}
        _write(_path(output_dir, fold_idx, f"{part}_samples"), pd.DataFrame(columns))
    labels = pd.DataFrame({"label_id": [int(label) for label in unknown_labels]})
    _write(_path(output_dir, fold_idx, "unknown_labels"), labels)


@known_arguments()
def load_fold_metadata(
    fold_idx: int, output_dir: Place
) -> tuple[list[BoxSample], list[BoxSample], list[int]]:
    """(train samples, val samples, unknown labels) of a fold that was saved.

    Raises:
        SourceNotFoundError: it was not.
        SourceError: a csv lacks a column, or has a cell that is no number.
    """
    train, val = (
        [
            BoxSample(*row)
            for row in read_samples(
                _path(output_dir, fold_idx, f"{part}_samples"), _COLUMNS
            ).itertuples(index=False, name=None)
        ]
        for part in ("train", "val")
    )
    labels = read_samples(_path(output_dir, fold_idx, "unknown_labels"), ["label_id"])
    return train, val, labels["label_id"].tolist()


def is_saved(fold_idx: int, output_dir: Place) -> bool:
    """Whether a fold was saved there."""
    return _path(output_dir, fold_idx, "unknown_labels").is_file()  # the last to be written


def _path(folder: Place, fold_idx: int, what: str) -> Path:
    return Path(folder) / f"fold{fold_idx}_{what}.csv"


def _write(path: Path, table: pd.DataFrame) -> None:
    with whole_text(path) as file:
        table.to_csv(file, index=False, lineterminator="\n")
