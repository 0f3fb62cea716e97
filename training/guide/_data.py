"""The guide's Lightning data modules, each a `StoreData` under the guide's names."""

from __future__ import annotations

import functools
import logging
import os

import numpy as np

from builders.tracks import BboxMode
from lmdb_reid._arguments import known_arguments
from lmdb_reid.schema import Kind
from lmdb_reid.store import Store
from training.data import EngineName
from training.guide._boxes import boxes_of
from training.guide._folds import FOLD_META_DIR, save_fold_metadata
from training.guide._pil import PilTransform
from training.guide._shared_data import GuideData
from training.guide._tracks import Place
from training.splits import (
    SEED,
    TRAIN_RATIO,
    Candidates,
    Rule,
    Split,
    open_set,
    split_samples,
)

ImageSize = int | tuple[int, int] | None
_KINDS = (Kind.PERSON, Kind.BACKGROUND, Kind.PARTIAL)


class PlayerReIDDataModuleCV(GuideData):
    """A fold of an open set: a few identities are held out.

    Fed by a csv and its frames, or by a store. Of the former a store is built once, beside the csv,
    and built again when the csv or these settings changed; a folder of the guide's cached crops is
    read as it is. Batches are `(images, classes)`: images float32 [B, 3, H, W], RGB, 0..1, or what
    a transform makes of them; classes int64 [B], places in `classes`. Validation reads the samples
    of known identities that are held back. A trainer's run keeps the split in its folder, as
    split.csv; of a csv, `setup` also writes the guide's three csv files into `fold_meta_dir`.

    Every argument is an attribute of that name, and may be changed until it is used (`logger` is
    `logger_obj`).

    Args:
        train_meta_path: a csv in the atmaCup layout.
        img_root: the folder of its frames, or of the guide's cached crops.
        batch_size: samples in a batch.
        num_workers: threads, or processes, that decode; 0 decodes in the caller's thread; 4, or as
            many as there are cores if these are fewer, unless given.
        train_ratio: the share of every known identity's samples to train on.
        bbox_mode: what happens to boxes much larger than their track's median: "drop", "interp" or
            "keep".
        image_size: of a square, or (height, width), in pixels; None is a store's own size, and
            256x128 where one is built.
        n_folds: how many folds there are.
        fold_idx: which of them, from 0.
        unknown_per_fold: identities that each holds out.
        cv_seed: of the folds; the same for all of a run.
        logger: is called with what was split.
        use_crop_cache: False builds no store, and cuts every box from its frame at run time.
        cache_dir: where the store is built, instead of beside the csv.
        expand_ratio: boxes of players are grown by this.
        fold_meta_dir: where the guide's csv files go (default: "outputs/fold_metadata").
        store: a store, or its path, instead of a csv and frames. How its boxes were cleaned and
            grown was settled when it was built.
        angle: the camera; None is all of them. A store without angles is taken whole.
        prefetch_factor: batches made ahead (of torch's DataLoader: for each worker).
        persistent_workers: of torch's DataLoader; other engines' workers always persist.
        pin_memory: batches in page-locked memory (default: where there is a GPU).
        engine: "auto", "threads", "processes" or "dataloader", see `make_loader`.
        transform: called with each training image, a PIL image in RGB; or override
            `_build_transforms(is_train)`.
        val_transform: likewise of validation.
        seed: of the order of training samples, and of what is random about them.
        drop_last: leave out a last training batch that is not full.
        val_unknown: validate on the held-out identities and on negatives too, as class -1.
        saved_split: a split.csv that a run kept: its parts, instead of a split by the above.

    Raises:
        UsageError: a value out of range, or arguments that do not go together.
        UnknownArgumentError: an argument that no version of the guide's code had.
    """

    @known_arguments()
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
        n_folds: int = 5,
        fold_idx: int = 0,
        unknown_per_fold: int = 2,
        cv_seed: int = SEED,
        logger: logging.Logger | None = None,
        use_crop_cache: bool = True,
        cache_dir: Place | None = None,
        expand_ratio: float = 1.2,
        fold_meta_dir: Place = FOLD_META_DIR,
        store: Store | Place | None = None,
        angle: str | None = None,
        prefetch_factor: int | None = 2,
        persistent_workers: bool = True,
        pin_memory: bool | None = None,
        engine: EngineName = "auto",
        transform: PilTransform | None = None,
        val_transform: PilTransform | None = None,
        seed: int = 0,
        drop_last: bool = True,
        val_unknown: bool = False,
        saved_split: Place | None = None,
    ) -> None:
        super().__init__(
            train_meta_path,
            img_root,
            batch_size=batch_size,
            num_workers=num_workers,
            train_ratio=train_ratio,
            bbox_mode=bbox_mode,
            area_multiplier=2.0,
            image_size=image_size,
            logger=logger,
            use_crop_cache=use_crop_cache,
            cache_dir=cache_dir,
            expand_ratio=expand_ratio,
            store=store,
            angle=angle,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            pin_memory=pin_memory,
            engine=engine,
            transform=transform,
            val_transform=val_transform,
            seed=seed,
            drop_last=drop_last,
            val_unknown=val_unknown,
            saved_split=saved_split,
        )
        self.n_folds = n_folds
        self.fold_idx = fold_idx
        self.unknown_per_fold = unknown_per_fold
        self.cv_seed = cv_seed
        self.fold_meta_dir = fold_meta_dir

    def rule(self) -> Rule:
        """See `training.splits.open_set`."""
        return functools.partial(
            open_set,
            n_folds=self.n_folds,
            fold=self.fold_idx,
            unknown_per_fold=self.unknown_per_fold,
            train_ratio=self.train_ratio,
            seed=self.cv_seed,
        )

    def _keep(self) -> None:
        if self.train_meta_path is None or os.environ.get("LOCAL_RANK", "0") != "0":
            return
        labels = np.arange(1 + max(self.classes.tolist(), default=0))
        train, val = (
            boxes_of(self.samples, self.split[part], labels, self.img_root)
            for part in ("train", "val")
        )
        unknown = self.unknown_labels_this_fold or []
        save_fold_metadata(self.fold_idx, train, val, unknown, self.fold_meta_dir)


class PlayerReIDDataModule(GuideData):
    """Every identity known, its samples split once, side views only unless told otherwise.

    As `PlayerReIDDataModuleCV`, with its arguments but those of folds, and these:

    Args:
        train_ratio: the share of every identity's samples to train on: the first ones of the csv.
        area_multiplier: a box is too large at this many times its track's median area.
        angle: the camera; None is all of them.
    """

    @known_arguments()
    def __init__(
        self,
        train_meta_path: Place | None = None,
        img_root: Place | None = None,
        *,
        batch_size: int = 64,
        num_workers: int | None = None,
        train_ratio: float = TRAIN_RATIO,
        area_multiplier: float = 2.0,
        bbox_mode: BboxMode = "drop",
        image_size: ImageSize = 224,
        logger: logging.Logger | None = None,
        use_crop_cache: bool = True,
        cache_dir: Place | None = None,
        expand_ratio: float = 1.2,
        store: Store | Place | None = None,
        angle: str | None = "side",
        prefetch_factor: int | None = 2,
        persistent_workers: bool = True,
        pin_memory: bool | None = None,
        engine: EngineName = "auto",
        transform: PilTransform | None = None,
        val_transform: PilTransform | None = None,
        seed: int = 0,
        drop_last: bool = True,
        val_unknown: bool = False,
        saved_split: Place | None = None,
    ) -> None:
        super().__init__(
            train_meta_path,
            img_root,
            batch_size=batch_size,
            num_workers=num_workers,
            train_ratio=train_ratio,
            bbox_mode=bbox_mode,
            area_multiplier=area_multiplier,
            image_size=image_size,
            logger=logger,
            use_crop_cache=use_crop_cache,
            cache_dir=cache_dir,
            expand_ratio=expand_ratio,
            store=store,
            angle=angle,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            pin_memory=pin_memory,
            engine=engine,
            transform=transform,
            val_transform=val_transform,
            seed=seed,
            drop_last=drop_last,
            val_unknown=val_unknown,
            saved_split=saved_split,
        )

    def rule(self) -> Rule:
        """Of each identity the first samples are trained on, in the source's own order."""
        return functools.partial(_known, train_ratio=self.train_ratio)


def _known(candidates: Candidates, *, train_ratio: float) -> Split:
    train, val = split_samples(candidates, train_ratio=train_ratio, seed=None)
    unknown = np.flatnonzero(candidates.labels < 0)
    parts = {"train": train, "val": val, "unknown": unknown}
    return Split(parts=parts, labels=candidates.identities)
