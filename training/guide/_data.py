"""The guide's Lightning data modules, each a `StoreData` under the guide's names."""

from __future__ import annotations

import functools
import logging
import os
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from builders import AtmaCup, BuildSettings
from builders.ready import ready_store
from builders.samples import BoxSample
from builders.tracks import BboxMode
from lmdb_reid.errors import SourceNotFoundError, UsageError
from lmdb_reid.loaders import Loader
from lmdb_reid.schema import Kind, Rows
from lmdb_reid.store import Store
from training.data import DataModule, EngineName, Loading, Samples, StoreData, StoreSamples
from training.guide._arguments import known_arguments
from training.guide._boxes import boxes_of
from training.guide._crops import CropSamples, is_crop_cache
from training.guide._folds import FOLD_META_DIR, save_fold_metadata
from training.guide._frames import FrameSamples
from training.guide._loaders import PairLoader
from training.guide._pil import PilTransform, of_pil
from training.guide._tracks import Place, build_tracks, clean_tracks, load_train_meta
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


class GuideData(DataModule):
    """What both modules share; their arguments are public attributes, read when they are needed."""

    def __init__(
        self,
        train_meta_path: Place | None,
        img_root: Place | None,
        *,
        batch_size: int,
        num_workers: int | None,
        train_ratio: float,
        bbox_mode: BboxMode,
        area_multiplier: float,
        image_size: ImageSize,
        logger: logging.Logger | None,
        use_crop_cache: bool,
        cache_dir: Place | None,
        expand_ratio: float,
        store: Store | Place | None,
        angle: str | None,
        prefetch_factor: int | None,
        persistent_workers: bool,
        pin_memory: bool | None,
        engine: EngineName,
        transform: PilTransform | None,
        val_transform: PilTransform | None,
        seed: int,
        drop_last: bool,
        val_unknown: bool,
        saved_split: Place | None,
    ) -> None:
        super().__init__()
        if (train_meta_path is None) != (img_root is None):
            raise UsageError("train_meta_path and img_root belong together: give both, or a store")
        if (train_meta_path is None) == (store is None):
            raise UsageError("give either store, or train_meta_path and img_root")
        if store is not None and not use_crop_cache:
            raise UsageError("use_crop_cache=False cuts from frames: give them instead of a store")
        self.train_meta_path = train_meta_path
        self.img_root = img_root
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.train_ratio = train_ratio
        self.bbox_mode = bbox_mode
        self.area_multiplier = area_multiplier
        self.image_size = image_size
        self.logger_obj = logger
        self.use_crop_cache = use_crop_cache
        self.cache_dir = _cache_dir(cache_dir, train_meta_path)
        self.expand_ratio = expand_ratio
        self.store = store
        self.angle = angle
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory = pin_memory
        self.engine = engine
        self.transform = transform
        self.val_transform = val_transform
        self.seed = seed
        self.drop_last = drop_last
        self.val_unknown = val_unknown
        self.saved_split = saved_split
        self._data: StoreData | None = None
        _ = self._loading(), self._settings()  # what is out of range is said at once

    @abstractmethod
    def rule(self) -> Rule:
        """Who is trained on."""

    # -- what is known after `setup`

    @property
    def data(self) -> StoreData:
        """What reads."""
        if self._data is None:
            raise UsageError("nothing is split yet: call setup() first, or let a trainer do it")
        return self._data

    @property
    def samples(self) -> Samples:
        """All samples."""
        return self.data.samples

    @property
    def split(self) -> Split:
        """Which rows of `samples` are in which part."""
        return self.data.split

    @property
    def classes(self) -> Rows:
        """The labels to tell apart, int64 [K], sorted: class k of a batch is `classes[k]`."""
        return self.data.classes

    @property
    def num_classes(self) -> int | None:
        """How many these are; None before `setup`, as in the guide's code."""
        return None if self._data is None else len(self._data.classes)

    @functools.cached_property
    def train_samples(self) -> list[BoxSample]:
        """The samples that are trained on; `label_id` is their class."""
        return self._boxes("train")

    @functools.cached_property
    def val_samples(self) -> list[BoxSample]:
        """Those of known identities that are held back; `label_id` is their class."""
        return self._boxes("val")

    @property
    def unknown_labels_this_fold(self) -> list[int] | None:
        """The identities that are held out, sorted; None before `setup`."""
        if self._data is None:
            return None
        labels = self.samples.column("label")
        assert labels is not None
        held = np.unique(labels[self.split["unknown"]])
        return [int(label) for label in held if label >= 0]

    def save_split(self, path: Place) -> None:
        """Write the split as a .csv or .json, for `training.splits.load_split`."""
        self.data.save_split(path)

    # -- what a trainer calls

    def prepare_data(self) -> None:
        """Build the store, if it is not there yet. A trainer calls it in one process of a machine;
        others may be at it at the same time.
        """
        source = self._source()
        if source is None or self.store is not None or not self.use_crop_cache:
            return
        if not self._reads_crops():
            assert self.cache_dir is not None
            self.store = ready_store(source, self._settings(), self.cache_dir)

    def setup(self, stage: str | None = None) -> None:
        """Open and split; in a trainer's run, save the split into its folder.

        Raises:
            SourceError: the csv or its frames cannot be used.
            StoreError: the store cannot be opened.
            UsageError: there is nothing to split so.
        """
        if self._data is None:
            samples = self._open()
            self._data = StoreData(
                samples,
                self.rule() if self.saved_split is None else self.saved_split,
                self._loading(),
                rows=self._chosen(samples),
                val=("val", "unknown") if self.val_unknown else ("val",),
            )
            self._data.setup()
            self._say()
            self._keep()
        self._data.trainer = self.trainer
        if stage is not None:
            self._data.setup(stage)

    def train_dataloader(self) -> Any:
        """Shuffled batches of the part train, a last one that is not full left out."""
        return self._view(self._reader().train_dataloader())

    def val_dataloader(self) -> Any:
        """Batches of what is held back, in the order of rows."""
        return self._view(self._reader().val_dataloader())

    def test_dataloader(self) -> Any:
        """The same as in validation."""
        return self._view(self._reader().test_dataloader())

    def predict_dataloader(self) -> Any:
        """The same as in validation: what the model of a fold was not trained on."""
        return self._view(self._reader().predict_dataloader())

    def teardown(self, stage: str) -> None:
        """End the workers of the loaders that were made."""
        if self._data is not None:
            self._data.teardown(stage)

    def _build_transforms(self, is_train: bool = True) -> PilTransform | None:
        """What takes each crop, a PIL image in RGB (users override it); None: floats in 0..1."""
        return self.transform if is_train else self.val_transform

    def _view(self, loaders: Loader | list[Loader]) -> Any:
        """Batches as the guide's code has them: images float32 [B, 3, H, W] and labels [B]."""
        if isinstance(loaders, list):
            return [PairLoader(loader) for loader in loaders]
        return PairLoader(loaders)

    # -- how it is made

    def _reader(self) -> StoreData:
        """The data, with the settings as they are now."""
        data = self.data
        data.trainer = self.trainer
        data.loading, data.batch_size = self._loading(), self.batch_size
        data.transform = of_pil(self._build_transforms(is_train=True))
        data.val_transform = of_pil(self._build_transforms(is_train=False))
        return data

    def _loading(self) -> Loading:
        return Loading(
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            prefetch=2 if self.prefetch_factor is None else self.prefetch_factor,
            persistent_workers=self.persistent_workers,
            pin_memory=self.pin_memory,
            engine=self.engine,
            seed=self.seed,
            drop_last=self.drop_last,
            dtype=torch.float32,
        )

    def _size(self) -> tuple[int, int] | None:
        size = self.image_size
        if size is None or isinstance(size, int):
            return None if size is None else (size, size)
        height, width = size
        return height, width

    def _settings(self) -> BuildSettings:
        return BuildSettings(size=self._size() or BuildSettings().size, expand=self.expand_ratio)

    def _source(self) -> AtmaCup | None:
        if self.train_meta_path is None or self.img_root is None:
            return None
        return AtmaCup(
            self.train_meta_path,
            self.img_root,
            bbox_mode=self.bbox_mode,
            area_multiplier=self.area_multiplier,
        )

    def _reads_crops(self) -> bool:
        """Whether img_root holds cached crops instead of frames."""
        if self.img_root is None or not is_crop_cache(self.img_root):
            return False
        if not self.use_crop_cache:
            raise SourceNotFoundError(
                f"use_crop_cache=False cuts from frames, and {os.fspath(self.img_root)} holds"
                " cached crops: give img_root=, the folder of the frames"
            )
        return True

    def _open(self) -> Samples:
        source = self._source()
        if source is not None and self._reads_crops():
            assert self.img_root is not None
            boxes = load_train_meta(source.train_meta, self.img_root)
            kept = clean_tracks(build_tracks(boxes), self.bbox_mode)
            size = self._settings().size
            assert size is not None
            return CropSamples(kept, self.img_root, self.expand_ratio, size)
        if source is not None and not self.use_crop_cache:
            return FrameSamples(source, self._settings())
        if self.store is None:
            self.prepare_data()
        assert self.store is not None
        store = self.store if isinstance(self.store, Store) else Store(self.store)
        return StoreSamples(store, size=self._size())

    def _chosen(self, samples: Samples) -> Rows:
        """The rows that are dealt out: of one camera, where one is asked for."""
        kinds, angles = samples.column("kind"), samples.column("angle")
        assert kinds is not None
        wanted = np.isin(kinds, _KINDS)
        if self.angle is not None and angles is not None:
            wanted &= angles == self.angle
            if not wanted.any():
                there = ", ".join(np.unique(angles).tolist())
                raise UsageError(f"angle must be one of {there}, or None; got {self.angle!r}")
        return np.flatnonzero(wanted).astype(np.int64)

    def _boxes(self, part: str) -> list[BoxSample]:
        return boxes_of(self.samples, self.split[part], self.classes, self.img_root)

    def _say(self) -> None:
        if self.logger_obj is not None:
            self.logger_obj.info(
                "data split: %d samples to train on, %d to validate on, %d classes",
                len(self.split["train"]),
                len(self.split["val"]),
                len(self.classes),
            )

    def _keep(self) -> None:
        """Write what the guide's code keeps of a fold."""


def _cache_dir(cache_dir: Place | None, train_meta_path: Place | None) -> Place | None:
    if cache_dir is not None or train_meta_path is None:
        return cache_dir
    return os.fspath(Path(train_meta_path).parent)


class PlayerReIDDataModuleCV(GuideData):
    """A fold of an open set: a few identities are held out.

    Fed by a csv and its frames, or by a store. Of the former a store is built once, beside the csv,
    and built anew when the csv or these settings changed; a folder of the guide's cached crops is
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
        logger: is told what was split.
        use_crop_cache: False builds no store, and cuts every box from its frame at run time.
        cache_dir: where the store is built, instead of beside the csv.
        expand_ratio: boxes of players are grown by this.
        fold_meta_dir: where the guide's csv files go; "outputs/fold_metadata" unless given.
        store: a store, or its path, instead of a csv and frames. How its boxes were cleaned and
            grown was settled when it was built.
        angle: the camera; None is all of them. A store without angles is taken whole.
        prefetch_factor: batches made ahead (of torch's DataLoader: for each worker).
        persistent_workers: of torch's DataLoader; other engines' workers always persist.
        pin_memory: batches in page-locked memory; where there is a GPU, unless given.
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

    @known_arguments
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

    @known_arguments
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
