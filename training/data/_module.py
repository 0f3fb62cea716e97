"""A store, split by a rule, as a Lightning data module."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

import numpy as np
import torch

from lmdb_reid._arguments import known_arguments
from lmdb_reid.dataset import Transform
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import Loader
from lmdb_reid.schema import NO_LABEL, Roles, Rows, Size
from lmdb_reid.store import Store
from training.data._deal import Chosen, deal
from training.data._lightning import DataModule
from training.data._loading import Loading, SamplerOf
from training.data._samples import Samples, StoreSamples
from training.entries import EntryColumns, entry_columns
from training.ranking import Entries
from training.splits import (
    Rule,
    Split,
    label_column,
    load_split,
    picture_keys,
    save_split,
    shared_between_parts,
)

SPLIT_CSV = "split.csv"
"""In the folder of a trainer's run: which sample is in which part."""

Place = str | os.PathLike[str]
_RANKED = ("query", "gallery")
_SHOWN = 3  # pairs of samples that a warning names
_Known = TypeVar("_Known")


class StoreData(DataModule):
    """The parts of a split as loaders of `Batch(images, labels, rows)`; for the Trainers of
    `lightning` and of `pytorch_lightning`.

    The part train is read in a new order in each epoch; val, unknown and test in the order of
    their rows. Labels are indices into `classes`; -1 is any other person. If the split has query
    and gallery, validation and tests have two loaders, [query, gallery], whose labels are those of
    the store: a module ranks the gallery for the queries (`has_search`, `entries`). Otherwise tests
    read the part test, or, without one, what validation reads. Predictions read what validation
    reads. A training saves the split in its folder, as split.csv.

    Args:
        store: a Store, the path of one, or `Samples` of another kind.
        rule: a rule that makes the split (`functools.partial(open_set, fold=1)`), a Split of rows,
            or the file of a saved split.
        loading: how batches are read.
        sampler: makes the order of training: `lambda samples: PKSampler(samples, p=16, k=4)`.
        rows: the rows that the rule splits: rows, a mask, ids or a query (default: all except
            junk).
        val: the parts that validation reads together, if there are no query and gallery.
        size: (height, width) of images, or one number; None is the store's own.
        columns: names of columns that batches carry.
        transform: called with each training image, uint8 [3, H, W]; see `ReIDDataset`.
        val_transform: called with all other images.
    """

    @known_arguments()
    def __init__(
        self,
        store: Store | Place | Samples,
        rule: Rule | Split | Place,
        loading: Loading | None = None,
        *,
        sampler: SamplerOf | None = None,
        rows: Chosen | None = None,
        val: Sequence[str] = ("val", "unknown"),
        size: Size | int | None = None,
        columns: Sequence[str] = (),
        transform: Transform | None = None,
        val_transform: Transform | None = None,
    ) -> None:
        super().__init__()
        self.loading = Loading() if loading is None else loading
        self.batch_size = self.loading.batch_size
        """As Lightning's batch size finder wants it: what is set here is what loaders take."""
        self._store = store
        self._rule = rule
        self._sampler = sampler
        self._rows = rows
        self._val = tuple(val)
        self._size = size
        self._columns = columns
        self.transform = transform
        self.val_transform = val_transform
        self._samples: Samples | None = None
        self._split: Split | None = None
        self._entry_columns: EntryColumns | None = None
        self._loaders: WeakSet[Loader] = WeakSet()

    @property
    def samples(self) -> Samples:
        """All samples; known after `setup`."""
        return _after_setup(self._samples)

    @property
    def split(self) -> Split:
        """Which rows of `samples` are in which part; known after `setup`."""
        return _after_setup(self._split)

    @property
    def classes(self) -> Rows:
        """The labels to tell apart, int64 [K], sorted: class k of a batch is `classes[k]`."""
        return np.array(self.split.labels, np.int64)

    @property
    def has_search(self) -> bool:
        """Whether validation has two loaders, [query, gallery]; known after `setup`."""
        return all(name in self.split for name in _RANKED)

    def entries(self, rows: Rows) -> Entries:
        """What a ranking has to know of some samples, int64 [N]: labels, kinds and, where all that
        are ranked have one, cameras.
        """
        if self._entry_columns is None:
            samples = self.samples
            roles = samples.store.roles if isinstance(samples, StoreSamples) else Roles()
            ranked = self.split.rows(*(_RANKED if self.has_search else self.split.parts))
            self._entry_columns = entry_columns(samples, roles, ranked)
        return self._entry_columns.of(rows)

    def setup(self, stage: str | None = None) -> None:
        """Open the store and split; in a trainer's run, save the split into its folder.

        Warns of samples that show the same picture, byte for byte, in two parts of the split.

        Raises:
            StoreError: the store cannot be opened.
            UsageError: there is nothing to split so.
        """
        if self._samples is None:
            samples = self._open()
            self._split = self._deal(samples)
            self._samples = samples
            _warn_of_same_pictures(samples, self._split)
        if stage == "fit" and self.trainer is not None and self.trainer.loggers:
            folder = self.trainer.log_dir  # asks all ranks
            if folder is not None and self.trainer.is_global_zero:
                self.save_split(Path(folder) / SPLIT_CSV)

    def save_split(self, path: Place) -> None:
        """Write the split as a .csv or .json, for `training.splits.load_split`."""
        save_split(path, self.split, self.samples.ids, label_column(self.samples))

    def train_dataloader(self) -> Loader:
        """Batches of the part train, in another order each epoch."""
        rows = self.split["train"]
        return self._loader(rows, self.transform, "train on", training=True)

    def val_dataloader(self) -> Loader | list[Loader]:
        """Batches of the parts in `val`, or loaders of [query, gallery]."""
        if self.has_search:
            return [
                self._loader(self.split[name], self.val_transform, f"{name} with", stored=True)
                for name in _RANKED
            ]
        return self._loader(self.split.rows(*self._val), self.val_transform, "validate on")

    def test_dataloader(self) -> Loader | list[Loader]:
        """Loaders of [query, gallery]; or batches of the part test, or what validation reads."""
        if self.has_search or "test" not in self.split:
            return self.val_dataloader()
        return self._loader(self.split["test"], self.val_transform, "test on")

    def predict_dataloader(self) -> Loader | list[Loader]:
        """What validation reads: nothing that the model was trained on."""
        return self.val_dataloader()

    def teardown(self, stage: str) -> None:
        """End the workers of the loaders that were made."""
        for loader in list(self._loaders):
            loader.close()
        self._loaders.clear()

    def _loader(
        self,
        rows: Rows,
        transform: Transform | None,
        purpose: str,
        *,
        training: bool = False,
        stored: bool = False,
    ) -> Loader:
        if not len(rows):
            raise UsageError(f"the split has nothing to {purpose}: it is {self.split}")
        labels: Rows = label_column(self.samples)[rows]
        selection = self.samples.select(rows, labels if stored else self._places(labels), transform)
        loading = dataclasses.replace(self.loading, batch_size=self.batch_size)
        loader = loading.loader(
            selection, device=self._device(), training=training, sampler=self._sampler
        )
        self._loaders.add(loader)
        return loader

    def _places(self, labels: Rows) -> Rows:
        """The place of each label in `classes`; -1 where it is not there."""
        classes = self.classes
        if not len(classes):
            return np.full(len(labels), NO_LABEL, np.int64)
        places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        return np.where(classes[places] == labels, places, NO_LABEL).astype(np.int64)

    def _device(self) -> torch.device | None:
        """A trainer's GPU: there the loader knows when a buffer's transfer is done."""
        device = self.trainer.strategy.root_device if self.trainer is not None else None
        return device if device is not None and device.type == "cuda" else None

    def _open(self) -> Samples:
        if not isinstance(self._store, Store | str | os.PathLike):
            return self._store
        store = self._store if isinstance(self._store, Store) else Store(self._store)
        return StoreSamples(
            store, size=self._size, columns=self._columns, cache=self.loading.cache_of(store)
        )

    def _deal(self, samples: Samples) -> Split:
        if isinstance(self._rule, Split):
            return self._rule
        if isinstance(self._rule, str | os.PathLike):
            return load_split(self._rule, samples.ids)
        return deal(samples, self._rule, self._rows)


def _after_setup(value: _Known | None) -> _Known:
    if value is None:
        raise UsageError("nothing is split yet: call setup() first, or let a trainer do it")
    return value


def _warn_of_same_pictures(samples: Samples, split: Split) -> None:
    """Data that was copied makes scores too good: what is validated on was trained on."""
    crc32, image_size = samples.column("crc32"), samples.column("image_size")
    if crc32 is None or image_size is None:
        return
    for shared in shared_between_parts(split, picture_keys(crc32, image_size)):
        pairs = zip(shared.rows[:_SHOWN].tolist(), shared.others[:_SHOWN].tolist(), strict=True)
        shown = ", ".join(f"{samples.ids[row]} is {samples.ids[other]}" for row, other in pairs)
        more = ", ..." if len(shared.rows) > _SHOWN else ""
        warnings.warn(
            f"{len(shared.rows):,} of {len(split[shared.part]):,} samples of {shared.part} show the"
            f" same picture as one of {shared.other}, byte for byte: {shown}{more}. Leave one of"
            " each out (rows=), or split by what keeps them together (by_group)",
            stacklevel=3,
        )
