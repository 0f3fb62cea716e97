"""Negatives: where they lie in a frame, and the csv that keeps them."""

from builders.negatives._boxes import (
    MAX_COUNT,
    MIN_SIDE,
    TRIES,
    background_boxes,
    background_id,
    partial_boxes,
    partial_id,
)
from builders.negatives._csv import load_negatives_from_csv, write_negatives_csv
from builders.negatives._frames import Negative, Negatives, list_negatives, made_negatives
from builders.negatives._store import store_negatives
from builders.negatives._taken import chosen_negatives, taken_negatives

__all__ = [
    "MAX_COUNT",
    "MIN_SIDE",
    "TRIES",
    "Negative",
    "Negatives",
    "background_boxes",
    "background_id",
    "chosen_negatives",
    "list_negatives",
    "load_negatives_from_csv",
    "made_negatives",
    "partial_boxes",
    "partial_id",
    "store_negatives",
    "taken_negatives",
    "write_negatives_csv",
]
