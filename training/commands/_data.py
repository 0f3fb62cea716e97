"""The data of `lmdb-reid train`."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from builders.tracks import BboxMode
from lmdb_reid.augment import resolve
from lmdb_reid.loaders import Loader
from training.data import EngineName, Loading, Normalize
from training.guide import PlayerReIDDataModuleCV
from training.splits import SEED, TRAIN_RATIO

Place = str | os.PathLike[str]

_NORMALIZE: Normalize = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class TrainData(PlayerReIDDataModuleCV):
    """A fold of an open set in batches of `Batch`, normalised, validated on everything that is not
    trained on.

    Args:
        train_meta_path: a csv in the atmaCup layout.
        img_root: the folder of its frames, or of the guide's cached crops.
        store: a store, instead of the two.
        batch_size: samples in a batch.
        num_workers: that decode; 4, or as many as there are cores if these are fewer.
        train_ratio: the share of every known identity's samples to train on.
        bbox_mode: what happens to boxes much larger than their track's median.
        image_size: (height, width) in pixels, or one number; None is the store's own.
        n_folds: how many folds there are.
        fold_idx: which of them, from 0.
        unknown_per_fold: identities that each holds out.
        cv_seed: of the folds; the same for all of a run.
        use_crop_cache: False builds no store, and cuts every box from its frame at run time.
        cache_dir: where the store is built, instead of beside the csv.
        expand_ratio: boxes of persons are grown by this.
        angle: the camera; None is all of them.
        prefetch_factor: batches made ahead.
        persistent_workers: of torch's DataLoader.
        pin_memory: batches in page-locked memory (default: where there is a GPU).
        engine: auto, threads, processes or dataloader.
        seed: of the order of training samples.
        drop_last: leave out a last training batch that is not full.
        normalize: "imagenet" or (mean, std), of pixels in 0..1: what the model trains on.
        augment: the recipe of training batches, a preset such as "bot"; none in validation.
        saved_split: a split.csv that a run kept, instead of a split by the above.
    """

    def __init__(
        self,
        train_meta_path: Place | None = None,
        img_root: Place | None = None,
        store: Place | None = None,
        *,
        batch_size: int = 64,
        num_workers: int | None = None,
        train_ratio: float = TRAIN_RATIO,
        bbox_mode: BboxMode = "drop",
        image_size: int | tuple[int, int] | None = None,
        n_folds: int = 5,
        fold_idx: int = 0,
        unknown_per_fold: int = 2,
        cv_seed: int = SEED,
        use_crop_cache: bool = True,
        cache_dir: Place | None = None,
        expand_ratio: float = 1.2,
        angle: str | None = None,
        prefetch_factor: int | None = 2,
        persistent_workers: bool = True,
        pin_memory: bool | None = None,
        engine: EngineName = "auto",
        seed: int = 0,
        drop_last: bool = False,
        normalize: Normalize = _NORMALIZE,
        augment: str | None = None,
        saved_split: Place | None = None,
    ) -> None:
        self.normalize = normalize
        self.augment = augment
        super().__init__(
            train_meta_path,
            img_root,
            store=store,
            batch_size=batch_size,
            num_workers=num_workers,
            train_ratio=train_ratio,
            bbox_mode=bbox_mode,
            image_size=image_size,
            n_folds=n_folds,
            fold_idx=fold_idx,
            unknown_per_fold=unknown_per_fold,
            cv_seed=cv_seed,
            use_crop_cache=use_crop_cache,
            cache_dir=cache_dir,
            expand_ratio=expand_ratio,
            angle=angle,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            pin_memory=pin_memory,
            engine=engine,
            seed=seed,
            drop_last=drop_last,
            val_unknown=True,
            saved_split=saved_split,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: how images are read, for whoever uses its model."""
        crops = self.samples.select(self.split["train"][:1], np.zeros(1, np.int64), None).crops
        return {"size": list(crops.size), "normalize": self.normalize}

    def _view(self, loaders: Loader | list[Loader]) -> Any:
        return loaders

    def _loading(self) -> Loading:
        return dataclasses.replace(
            super()._loading(), dtype=None, normalize=self.normalize, augment=resolve(self.augment)
        )

    def _keep(self) -> None:
        """The run's split.csv says it all."""
