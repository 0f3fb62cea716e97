"""What trains: splits, data modules, the model, and every name of the guide's code.

Importing this package loads nothing else; its names are loaded when they are first asked for.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from builders.samples import BoxSample
    from training.data import Loading, StoreData
    from training.features import Features
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
    from training.module import PlayerReIDModule, PlayerReIDModulePL
    from training.splits import (
        Candidates,
        Split,
        by_group,
        by_identity,
        given,
        load_split,
        open_set,
        save_split,
        stratified,
    )

__all__ = [
    "BBoxSample",
    "BoxSample",
    "Candidates",
    "Features",
    "Loading",
    "MultiViewPlayerReIDDataset",
    "OpenSet",
    "PlayerReIDDataModule",
    "PlayerReIDDataModuleCV",
    "PlayerReIDDataset",
    "PlayerReIDModule",
    "PlayerReIDModulePL",
    "Split",
    "StoreData",
    "build_multiview_pairs",
    "build_open_set_splits",
    "build_open_set_splits_cv",
    "build_tracks",
    "by_group",
    "by_identity",
    "clean_tracks",
    "generate_background_negatives",
    "generate_partial_negatives",
    "get_cache_stats",
    "given",
    "iou_bbox",
    "load_fold_metadata",
    "load_negatives_from_csv",
    "load_split",
    "load_train_meta",
    "make_label_folds",
    "open_set",
    "prepare_cropped_cache",
    "save_fold_metadata",
    "save_split",
    "split_samples_by_ratio_per_label",
    "stratified",
    "view_pairs",
]

_MODULES = {
    "BBoxSample": "training.guide._tracks",
    "BoxSample": "builders.samples",
    "Candidates": "training.splits",
    "Features": "training.features",
    "Loading": "training.data",
    "MultiViewPlayerReIDDataset": "training.guide._pairs",
    "OpenSet": "training.guide._open_set",
    "PlayerReIDDataModule": "training.guide._data",
    "PlayerReIDDataModuleCV": "training.guide._data",
    "PlayerReIDDataset": "training.guide._dataset",
    "PlayerReIDModule": "training.module",
    "PlayerReIDModulePL": "training.module",
    "Split": "training.splits",
    "StoreData": "training.data",
    "build_multiview_pairs": "training.guide._pairs",
    "build_open_set_splits": "training.guide._open_set",
    "build_open_set_splits_cv": "training.guide._open_set",
    "build_tracks": "training.guide._tracks",
    "by_group": "training.splits",
    "by_identity": "training.splits",
    "clean_tracks": "training.guide._tracks",
    "generate_background_negatives": "training.guide._negatives",
    "generate_partial_negatives": "training.guide._negatives",
    "get_cache_stats": "training.guide._crops",
    "given": "training.splits",
    "iou_bbox": "training.guide._tracks",
    "load_fold_metadata": "training.guide._folds",
    "load_negatives_from_csv": "training.guide._negatives",
    "load_split": "training.splits",
    "load_train_meta": "training.guide._tracks",
    "make_label_folds": "training.guide._tracks",
    "open_set": "training.splits",
    "prepare_cropped_cache": "training.guide._crops",
    "save_fold_metadata": "training.guide._folds",
    "save_split": "training.splits",
    "split_samples_by_ratio_per_label": "training.guide._tracks",
    "stratified": "training.splits",
    "view_pairs": "training.guide._pairs",
}
if not TYPE_CHECKING:  # or type checkers would take every name
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
