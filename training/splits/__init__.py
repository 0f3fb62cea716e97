"""Splits: which samples are trained on, which are held back. The one place that splits.

Candidates ─► a rule ─► Split(parts: name -> rows, labels) ─► a csv or json

Rules are pure functions; what they return are positions among the candidates, so that rows of a
store and boxes of a csv are split by the same code. Labels below 0 name nobody and are never among
the labels of a split.
"""

from training.splits._candidates import Candidates, Rule, camera_column
from training.splits._duplicates import Keys, Shared, picture_keys, shared_between_parts
from training.splits._facts import Twice, facts_of, twice_in_a_frame
from training.splits._file import check_split, load_split, save_split
from training.splits._open_set import (
    SEED,
    TRAIN_RATIO,
    Labels,
    check_fold,
    fold_labels,
    open_set,
    ratio_labels,
    rows_with,
    split_samples,
    unknown_rows,
)
from training.splits._rules import by_group, by_identity, given, stratified
from training.splits._split import Split
from training.splits._table import (
    StoreTable,
    Table,
    candidates_of,
    label_column,
    source_order,
    usual_rows,
)
from training.splits.hashes import hashes_file, make_hashes, stored_hashes
from training.splits.leaks import (
    LEAK_KINDS,
    Facts,
    Leak,
    LeakKind,
    Leaks,
    find_leaks,
    may_share,
)
from training.splits.repair import Repaired, repair

__all__ = [
    "LEAK_KINDS",
    "SEED",
    "TRAIN_RATIO",
    "Candidates",
    "Facts",
    "Keys",
    "Labels",
    "Leak",
    "LeakKind",
    "Leaks",
    "Repaired",
    "Rule",
    "Shared",
    "Split",
    "StoreTable",
    "Table",
    "Twice",
    "by_group",
    "by_identity",
    "camera_column",
    "candidates_of",
    "check_fold",
    "check_split",
    "facts_of",
    "find_leaks",
    "fold_labels",
    "given",
    "hashes_file",
    "label_column",
    "load_split",
    "make_hashes",
    "may_share",
    "open_set",
    "picture_keys",
    "ratio_labels",
    "repair",
    "rows_with",
    "save_split",
    "shared_between_parts",
    "source_order",
    "split_samples",
    "stored_hashes",
    "stratified",
    "twice_in_a_frame",
    "unknown_rows",
    "usual_rows",
]
