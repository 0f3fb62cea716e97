"""Folds: which samples are trained on, which are held back. The one place that splits.

Pure functions over one label or group for each sample; results are row numbers, so that rows of a
store and boxes of a csv are split by the same code. Labels below 0 name nobody and are never
among the labels that folds are made of.
"""

from training.folds._csv import load_fold, save_fold
from training.folds._groups import group_codes, split_groups
from training.folds._open_set import (
    SEED,
    TRAIN_RATIO,
    Fold,
    Labels,
    fold_labels,
    open_set_fold,
    ratio_labels,
    split_known,
    unknown_rows,
    with_labels,
)

__all__ = [
    "SEED",
    "TRAIN_RATIO",
    "Fold",
    "Labels",
    "fold_labels",
    "group_codes",
    "load_fold",
    "open_set_fold",
    "ratio_labels",
    "save_fold",
    "split_groups",
    "split_known",
    "unknown_rows",
    "with_labels",
]
