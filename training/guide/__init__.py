"""The guide's names: thin over splits, data and builders.

All of them are also names of `training`. Each is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from training.guide._crops import get_cache_stats, prepare_cropped_cache
    from training.guide._data import PlayerReIDDataModule, PlayerReIDDataModuleCV
    from training.guide._dataset import PlayerReIDDataset
    from training.guide._folds import load_fold_metadata, save_fold_metadata
    from training.guide._negatives import (
        generate_background_negatives,
        generate_partial_negatives,
        load_negatives_from_csv,
    )
    from training.guide._open_set import OpenSet, build_open_set_splits, build_open_set_splits_cv
    from training.guide._pairs import MultiViewPlayerReIDDataset, build_multiview_pairs, view_pairs
    from training.guide._tracks import (
        BBoxSample,
        build_tracks,
        clean_tracks,
        iou_bbox,
        load_train_meta,
        make_label_folds,
        split_samples_by_ratio_per_label,
    )

__all__ = [
    "BBoxSample",
    "MultiViewPlayerReIDDataset",
    "OpenSet",
    "PlayerReIDDataModule",
    "PlayerReIDDataModuleCV",
    "PlayerReIDDataset",
    "build_multiview_pairs",
    "build_open_set_splits",
    "build_open_set_splits_cv",
    "build_tracks",
    "clean_tracks",
    "generate_background_negatives",
    "generate_partial_negatives",
    "get_cache_stats",
    "iou_bbox",
    "load_fold_metadata",
    "load_negatives_from_csv",
    "load_train_meta",
    "make_label_folds",
    "prepare_cropped_cache",
    "save_fold_metadata",
    "split_samples_by_ratio_per_label",
    "view_pairs",
]

_MODULES = {
    "BBoxSample": "training.guide._tracks",
    "MultiViewPlayerReIDDataset": "training.guide._pairs",
    "OpenSet": "training.guide._open_set",
    "PlayerReIDDataModule": "training.guide._data",
    "PlayerReIDDataModuleCV": "training.guide._data",
    "PlayerReIDDataset": "training.guide._dataset",
    "build_multiview_pairs": "training.guide._pairs",
    "build_open_set_splits": "training.guide._open_set",
    "build_open_set_splits_cv": "training.guide._open_set",
    "build_tracks": "training.guide._tracks",
    "clean_tracks": "training.guide._tracks",
    "generate_background_negatives": "training.guide._negatives",
    "generate_partial_negatives": "training.guide._negatives",
    "get_cache_stats": "training.guide._crops",
    "iou_bbox": "training.guide._tracks",
    "load_fold_metadata": "training.guide._folds",
    "load_negatives_from_csv": "training.guide._negatives",
    "load_train_meta": "training.guide._tracks",
    "make_label_folds": "training.guide._tracks",
    "prepare_cropped_cache": "training.guide._crops",
    "save_fold_metadata": "training.guide._folds",
    "split_samples_by_ratio_per_label": "training.guide._tracks",
    "view_pairs": "training.guide._pairs",
}
if not TYPE_CHECKING:  # or type checkers would take every name
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
