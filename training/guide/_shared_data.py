"""What the guide's two Lightning data modules share: a `StoreData` under the guide's names."""

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
from training.guide._boxes import boxes_of
from training.guide._crops import CropSamples, is_crop_cache
from training.guide._frames import FrameSamples
from training.guide._loaders import PairLoader
from training.guide._pil import PilTransform, of_pil
from training.guide._tracks import Place, build_tracks, clean_tracks, load_train_meta
from training.ranking import Entries
from training.splits import (
    Rule,
    Split,
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
            raise UsageError(
                "train_meta_path and img_root must be passed together. Pass both, or a store"
            )
        if (train_meta_path is None) == (store is None):
            raise UsageError("pass either store, or train_meta_path and img_root")
        if store is not None and not use_crop_cache:
            raise UsageError(
                "use_crop_cache=False crops from frames. Pass train_meta_path and img_root"
                " instead of a store"
            )
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
    def has_search(self) -> bool:
        """Whether validation has two loaders, [query, gallery]."""
        return self.data.has_search

    def entries(self, rows: Rows) -> Entries:
        """See `StoreData.entries`."""
        return self.data.entries(rows)

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
                f"use_crop_cache=False crops from frames, and {os.fspath(self.img_root)}"
                " holds cached crops. Pass img_root=, the folder of the frames"
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
