"""The guide's Lightning data modules: a fold of a store, or of a csv and its frames, as batches."""

from __future__ import annotations

import numpy as np

from builders import AtmaCup
from builders.tracks import BboxMode
from lmdb_reid.dataset import Transform
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Rows
from lmdb_reid.store import Store
from training.fold_data import FOLD_CSV, FoldDataModule, ImageSize, Place
from training.folds import SEED, TRAIN_RATIO, Fold, open_set_fold, split_known
from training.loading import EngineName, Loading

__all__ = ["FOLD_CSV", "PlayerReIDDataModule", "PlayerReIDDataModuleCV"]


class PlayerReIDDataModuleCV(FoldDataModule):
    """A fold of an open set: a few identities are held out; in validation they are nobody known, as
    background and partial negatives are.

    Fed by a store, or by a csv and its frames: then the store is built once, beside the csv, and
    built anew when the csv or these settings changed. Batches are `(images, classes)`, as the
    guide's code has them: images float32 [B, 3, H, W], RGB, 0..1, or what a transform makes of
    them; classes int64 [B], places in `classes`, -1 for nobody known. With `with_rows` they are
    `(images, classes, rows)`, images uint8 and rows int64 [B], of `pictures`. A trainer's run keeps
    the fold in its folder, as fold.csv.

    Args:
        train_meta_path: a csv in the atmaCup layout.
        img_root: the folder of its frames.
        batch_size: samples in a batch.
        num_workers: threads, or processes, that decode; 0 decodes in the caller's thread; 4, or as
            many as there are cores if these are fewer, unless given.
        train_ratio: the share of every known identity's samples to train on.
        bbox_mode: what happens to boxes much larger than their track's median: "drop", "interp" or
            "keep".
        image_size: of a square, or (height, width), in pixels; None is a store's own size, and
            256x128 where one is built.
        use_crop_cache: False builds no store, and cuts every box from its frame at run time.
        cache_dir: where the store is built, instead of beside the csv.
        expand_ratio: boxes of players are grown by this.
        n_folds: how many folds there are.
        fold_idx: which of them, from 0.
        unknown_per_fold: identities that each holds out.
        cv_seed: of the folds; the same for all of a run.
        store: a store, or its path, instead of a csv and frames. How its boxes were cleaned and
            grown was settled when it was built.
        angle: the camera; None is all of them. A store without angles is taken whole.
        prefetch_factor: batches made ahead (of torch's DataLoader: for each worker).
        persistent_workers: of torch's DataLoader; other engines' workers always persist.
        pin_memory: batches in page-locked memory; where there is a GPU, unless given.
        engine: "auto", "threads", "processes" or "dataloader", see `make_loader`; the last passes
            what is said of workers to torch's DataLoader unchanged.
        transform: called with each training image, uint8 [3, H, W]; see `ReIDDataset`.
        val_transform: likewise of validation.
        seed: of the order of training samples, and of what is random about them.
        with_rows: batches with rows, and with bytes that the model scales by itself.
        saved_fold: a fold.csv that a run kept: its parts, instead of a split by the above.

    Raises:
        UsageError: a value that cannot be meant.
    """

    def __init__(
        self,
        train_meta_path: Place | None = None,
        img_root: Place | None = None,
        *,
        batch_size: int = 64,
        num_workers: int | None = None,
        train_ratio: float = TRAIN_RATIO,
        bbox_mode: BboxMode = "drop",
        image_size: ImageSize = 224,
        use_crop_cache: bool = True,
        cache_dir: Place | None = None,
        expand_ratio: float = 1.2,
        n_folds: int = 5,
        fold_idx: int = 0,
        unknown_per_fold: int = 2,
        cv_seed: int = SEED,
        store: Store | Place | None = None,
        angle: str | None = None,
        prefetch_factor: int | None = 2,
        persistent_workers: bool = True,
        pin_memory: bool | None = None,
        engine: EngineName = "auto",
        transform: Transform | None = None,
        val_transform: Transform | None = None,
        seed: int = 0,
        with_rows: bool = False,
        saved_fold: Place | None = None,
    ) -> None:
        super().__init__(
            _source(train_meta_path, img_root, bbox_mode),
            store,
            Loading(
                batch_size=batch_size,
                num_workers=num_workers,
                prefetch_factor=prefetch_factor,
                persistent_workers=persistent_workers,
                pin_memory=pin_memory,
                engine=engine,
                seed=seed,
                with_rows=with_rows,
            ),
            image_size=image_size,
            expand_ratio=expand_ratio,
            use_crop_cache=use_crop_cache,
            cache_dir=cache_dir,
            angle=angle,
            transform=transform,
            val_transform=val_transform,
            saved_fold=saved_fold,
        )
        self._train_ratio = train_ratio
        self._n_folds = n_folds
        self._fold_idx = fold_idx
        self._unknown_per_fold = unknown_per_fold
        self._cv_seed = cv_seed

    def split(self, labels: Rows, order: Rows) -> Fold:
        """See `training.folds.open_set_fold`."""
        return open_set_fold(
            labels,
            n_folds=self._n_folds,
            fold=self._fold_idx,
            unknown_per_fold=self._unknown_per_fold,
            train_ratio=self._train_ratio,
            seed=self._cv_seed,
            order=order,
        )


class PlayerReIDDataModule(FoldDataModule):
    """Every identity known, its samples split once, side views only unless told otherwise: no
    validation sample is nobody known.

    Otherwise as `PlayerReIDDataModuleCV`, with its arguments but those of folds, and these:

    Args:
        train_ratio: the share of every identity's samples to train on.
        area_multiplier: a box is too large at this many times its track's median area.
        angle: the camera; None is all of them.
    """

    def __init__(
        self,
        train_meta_path: Place | None = None,
        img_root: Place | None = None,
        *,
        batch_size: int = 64,
        num_workers: int | None = None,
        train_ratio: float = TRAIN_RATIO,
        bbox_mode: BboxMode = "drop",
        area_multiplier: float = 2.0,
        image_size: ImageSize = 224,
        use_crop_cache: bool = True,
        cache_dir: Place | None = None,
        expand_ratio: float = 1.2,
        store: Store | Place | None = None,
        angle: str | None = "side",
        prefetch_factor: int | None = 2,
        persistent_workers: bool = True,
        pin_memory: bool | None = None,
        engine: EngineName = "auto",
        transform: Transform | None = None,
        val_transform: Transform | None = None,
        seed: int = 0,
        with_rows: bool = False,
        saved_fold: Place | None = None,
    ) -> None:
        super().__init__(
            _source(train_meta_path, img_root, bbox_mode, area_multiplier),
            store,
            Loading(
                batch_size=batch_size,
                num_workers=num_workers,
                prefetch_factor=prefetch_factor,
                persistent_workers=persistent_workers,
                pin_memory=pin_memory,
                engine=engine,
                seed=seed,
                with_rows=with_rows,
            ),
            image_size=image_size,
            expand_ratio=expand_ratio,
            use_crop_cache=use_crop_cache,
            cache_dir=cache_dir,
            angle=angle,
            transform=transform,
            val_transform=val_transform,
            saved_fold=saved_fold,
        )
        self._train_ratio = train_ratio

    def split(self, labels: Rows, order: Rows) -> Fold:
        """See `training.folds.split_known`."""
        train, val = split_known(labels, train_ratio=self._train_ratio, order=order)
        known = np.unique(labels[labels > NO_LABEL]).tolist()
        none = np.empty(0, np.int64)
        return Fold(train=train, val=val, unknown=none, known_labels=known, unknown_labels=[])


def _source(
    train_meta: Place | None, img_root: Place | None, mode: BboxMode, area_multiplier: float = 2.0
) -> AtmaCup | None:
    if (train_meta is None) != (img_root is None):
        raise UsageError("train_meta_path and img_root belong together: give both, or a store")
    if train_meta is None or img_root is None:
        return None
    return AtmaCup(train_meta, img_root, bbox_mode=mode, area_multiplier=area_multiplier)
