"""Negatives: where they lie in a frame, and the csv that keeps them."""

from builders.negatives._boxes import (
    background_boxes,
    background_id,
    partial_boxes,
    partial_id,
)
from builders.negatives._choice import csv_negatives, negatives_of
from builders.negatives._csv import (
    IMG_ROOT,
    TRAIN_META,
    load_negatives_from_csv,
    write_negatives_csv,
)
from builders.negatives._frames import (
    NearbyNegatives,
    Negative,
    Negatives,
    list_negatives,
    random_negatives,
)
from builders.negatives._store import store_negatives

__all__ = [
    "IMG_ROOT",
    "TRAIN_META",
    "NearbyNegatives",
    "Negative",
    "Negatives",
    "background_boxes",
    "background_id",
    "csv_negatives",
    "list_negatives",
    "load_negatives_from_csv",
    "negatives_of",
    "partial_boxes",
    "partial_id",
    "random_negatives",
    "store_negatives",
    "write_negatives_csv",
]
