"""Splits: which samples are trained on, which are held back. The one place that splits.

Candidates ─► a rule ─► Split(parts: name -> rows, labels) ─► a csv or json

Rules are pure functions; what they return are positions among the candidates, so that rows of a
store and boxes of a csv are split by the same code. Labels below 0 name nobody and are never among
the labels of a split.
"""

from training.splits._candidates import Candidates, Rule
from training.splits._duplicates import Keys, Shared, picture_keys, shared_between_parts
from training.splits._file import load_split, save_split
from training.splits._open_set import (
    SEED,
    TRAIN_RATIO,
    Labels,
    fold_labels,
    open_set,
    ratio_labels,
    rows_with,
    split_samples,
    unknown_rows,
)
from training.splits._rules import by_group, by_identity, given, stratified
from training.splits._split import Split

__all__ = [
    "SEED",
    "TRAIN_RATIO",
    "Candidates",
    "Keys",
    "Labels",
    "Rule",
    "Shared",
    "Split",
    "by_group",
    "by_identity",
    "fold_labels",
    "given",
    "load_split",
    "open_set",
    "picture_keys",
    "ratio_labels",
    "rows_with",
    "save_split",
    "shared_between_parts",
    "split_samples",
    "stratified",
    "unknown_rows",
]
