"""What Lightning data modules of folds share: where samples come from, how they are read, and what
is kept of a run's fold.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from builders import AtmaCup, BuildSettings
from builders.ready import ready_store
from lmdb_reid.dataset import Transform
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Kind, Rows
from lmdb_reid.store import Store
from training.folds import Fold, load_fold, save_fold
from training.loading import EpochLoader, Loading
from training.pictures import Pictures, cut_at_run_time, stored

FOLD_CSV = "fold.csv"
"""In the run's folder: which sample is in which part."""

Place = str | os.PathLike[str]
ImageSize = int | tuple[int, int] | None
_IN_FOLDS = (Kind.PERSON, Kind.BACKGROUND, Kind.PARTIAL)
_Known = TypeVar("_Known")


class FoldDataModule(LightningDataModule):
    """Everything but the rule of the split.

    Args:
        source: a csv and its frames, whose store is built on first use; or None.
        store: a store, or its path; or None.
        loading: how batches are read.
        image_size: see `PlayerReIDDataModuleCV`, as for all that follow.
        expand_ratio: see there.
        use_crop_cache: see there.
        cache_dir: see there.
        angle: see there.
        transform: see there.
        val_transform: see there.
        saved_fold: see there.

    Raises:
        UsageError: arguments that cannot be meant together.
    """

    def __init__(
        self,
        source: AtmaCup | None,
        store: Store | Place | None,
        loading: Loading,
        *,
        image_size: ImageSize,
        expand_ratio: float,
        use_crop_cache: bool,
        cache_dir: Place | None,
        angle: str | None,
        transform: Transform | None,
        val_transform: Transform | None,
        saved_fold: Place | None,
    ) -> None:
        super().__init__()
        if (source is None) == (store is None):
            raise UsageError("give either store, or train_meta_path and img_root")
        if source is None and not use_crop_cache:
            raise UsageError("use_crop_cache=False cuts from frames: give them instead of a store")
        self.loading = loading
        self._source = source
        self._store = store
        self._size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self._settings = BuildSettings(size=self._size or BuildSettings().size, expand=expand_ratio)
        self._use_crop_cache = use_crop_cache
        self._cache_dir = cache_dir
        self._angle = angle
        self._transform = transform
        self._val_transform = val_transform
        self._saved = saved_fold
        self._pictures: Pictures | None = None
        self._fold: Fold | None = None
        self._loaders: list[EpochLoader] = []

    @abstractmethod
    def split(self, labels: Rows, order: Rows) -> Fold:
        """The fold of samples that have these labels, int64 [N], gone through in this order."""

    @property
    def pictures(self) -> Pictures:
        """All samples; known after `setup`."""
        return _after_setup(self._pictures)

    @property
    def fold(self) -> Fold:
        """Which rows of `pictures` are in which part; known after `setup`."""
        return _after_setup(self._fold)

    @property
    def classes(self) -> Rows:
        """The labels to tell apart, int64 [K], sorted: class k of a batch is `classes[k]`."""
        return np.array(self.fold.known_labels, np.int64)

    def prepare_data(self) -> None:
        """Build the store, if it is not there yet. Lightning calls it in one process of a machine;
        others may be at it at the same time.
        """
        if self._source is not None and self._use_crop_cache and self._store is None:
            folder = self._cache_dir or self._source.train_meta.parent
            self._store = ready_store(self._source, self._settings, folder)

    def setup(self, stage: str | None = None) -> None:
        """Split; in a trainer's run, save the fold into its folder.

        Raises:
            SourceError: the csv or its frames cannot be used.
            StoreError: the store cannot be opened.
            UsageError: there is nothing to split so.
        """
        if self._pictures is None:
            self._pictures = self._opened()
            self._fold = (
                self._split_now(self._pictures)
                if self._saved is None
                else load_fold(self._saved, self._pictures.ids)
            )
        if stage == "fit" and self.trainer is not None and self.trainer.loggers:
            folder = self.trainer.log_dir  # asks all ranks
            if folder is not None and self.trainer.is_global_zero:
                self.save_fold(Path(folder) / FOLD_CSV)

    def _split_now(self, pictures: Pictures) -> Fold:
        chosen = self._chosen(pictures)
        place = np.full(len(pictures.ids), -1)
        place[chosen] = np.arange(len(chosen))
        order = place[pictures.order]
        fold = self.split(pictures.labels[chosen], order[order >= 0])
        return Fold(
            train=chosen[fold.train],
            val=chosen[fold.val],
            unknown=chosen[fold.unknown],
            known_labels=fold.known_labels,
            unknown_labels=fold.unknown_labels,
        )

    def save_fold(self, path: Place) -> None:
        """Write the fold as a csv, for `training.folds.load_fold`."""
        save_fold(path, self.fold, self.pictures.ids, self.pictures.labels)

    def train_dataloader(self) -> EpochLoader:
        """Shuffled batches of the training part."""
        return self._loader(self.fold.train, self._transform, shuffle=True)

    def val_dataloader(self) -> EpochLoader:
        """Batches of the rest of the fold, in the order of rows; class -1 is nobody known."""
        rows = np.sort(np.concatenate([self.fold.val, self.fold.unknown]))
        return self._loader(rows, self._val_transform, shuffle=False)

    def predict_dataloader(self) -> EpochLoader:
        """The same as in validation: what the model of a fold has not seen."""
        return self.val_dataloader()

    def teardown(self, stage: str) -> None:
        """End the workers of the loaders that were made."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()

    def _loader(self, rows: Rows, transform: Transform | None, *, shuffle: bool) -> EpochLoader:
        if not len(rows):
            part = "train" if shuffle else "validate"
            raise UsageError(f"the fold has nothing to {part} on: see train_ratio and angle")
        labels, classes = self.pictures.labels[rows], self.classes
        is_known = np.isin(labels, classes)
        places = np.where(is_known, np.searchsorted(classes, labels), NO_LABEL).astype(np.int64)
        dataset = self.pictures.dataset(rows, places, transform)
        loader = self.loading.loader(dataset, shuffle=shuffle, device=self._device())
        self._loaders.append(loader)
        return loader

    def _device(self) -> torch.device | None:
        """A trainer's GPU: there the loader knows when a buffer's transfer is done."""
        device = self.trainer.strategy.root_device if self.trainer is not None else None
        return device if device is not None and device.type == "cuda" else None

    def _opened(self) -> Pictures:
        if self._source is not None and not self._use_crop_cache:
            return cut_at_run_time(self._source, self._settings)
        if self._store is None:
            self.prepare_data()
        assert self._store is not None
        store = self._store if isinstance(self._store, Store) else Store(self._store)
        return stored(store, self._size, self._source)

    def _chosen(self, pictures: Pictures) -> Rows:
        """The rows that folds are made of."""
        wanted = np.isin(pictures.kinds, _IN_FOLDS)
        if self._angle is not None and pictures.angles is not None:
            wanted &= pictures.angles == self._angle
            if not wanted.any():
                there = ", ".join(np.unique(pictures.angles).tolist())
                raise UsageError(f"angle={self._angle!r}: there are {there}, or None for all")
        return np.flatnonzero(wanted).astype(np.int64)


def _after_setup(value: _Known | None) -> _Known:
    if value is None:
        raise UsageError("nothing is split yet: call setup() first, or let a trainer do it")
    return value
