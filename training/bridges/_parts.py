"""The loaders of a split's train, query and gallery, and what toolboxes want to know of a row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import torch

from lmdb_reid._arguments import known_fields
from lmdb_reid.augment import ReIDAugment
from lmdb_reid.dataset import ReIDDataset, Selection
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import Loader, Normalize, make_loader
from lmdb_reid.sampling import Sampler
from lmdb_reid.schema import NO_LABEL, Rows, Size
from lmdb_reid.store import Store
from training.ranking.rules import MARKET1501, Entries, columns_of
from training.splits import Split, load_split

Place: TypeAlias = str | os.PathLike[str]
SamplerOf: TypeAlias = Callable[[Selection], Sampler | Iterable[int]]
PARTS = ("train", "query", "gallery")


@known_fields
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """How batches are read; the arguments are those of `make_loader`.

    `normalize=None` hands over uint8: the model then has to begin with `x.float() / 255`.
    """

    batch_size: int | None = None
    """Of training: the sampler's own if it makes batches, else 64, unless given."""
    test_batch_size: int | None = None
    """256 unless given."""
    sampler: SamplerOf | None = None
    """Makes the order of training: `lambda samples: PKSampler(samples, p=16, k=4)`; every sample
    once, in another order each epoch, unless given."""
    size: Size | int | None = None
    augment: ReIDAugment | str | None = "bot"
    normalize: Normalize | None = "imagenet"
    num_workers: int | None = None
    device: str | torch.device | None = None
    drop_last: bool = True
    """Of training, as both toolboxes have it: batch normalisation fails on a batch of one."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampler is not None and not callable(self.sampler):
            raise UsageError(
                "sampler must be a function that makes one from the samples, such as lambda"
                f" samples: PKSampler(samples, p=16, k=4); got {self.sampler!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """The rows of train, query and gallery, and who they show."""

    store: Store
    train: Rows
    """Rows of people among the split's labels."""
    query: Rows
    """Nobody unknown is among them."""
    gallery: Rows
    """Without junk and the unknown."""
    identities: Rows
    """int64 [len(store)]: the store's labels, -1 for whoever is a wrong answer to all."""
    classes: Rows
    """int64 [K], sorted: a training label is a place among them."""
    cameras: Rows
    """int64 [len(store)]. Where cameras are not known no query and gallery entry share one, so that
    a rule about them changes nothing."""

    @classmethod
    def of(cls, store: Store | Place, split: Split | Place) -> Self:
        """Those of a split.

        Raises:
            UsageError: a part that is not there, or without anybody known.
        """
        opened = store if isinstance(store, Store) else Store(store)
        dealt = split if isinstance(split, Split) else load_split(split, opened.ids)
        labels, kinds = opened.columns[opened.roles.identity], opened.columns["kind"]
        entries = Entries(labels=labels, kinds=kinds)
        known = columns_of(entries, len(opened), "store", MARKET1501.ignored)
        classes = np.array(dealt.labels, np.int64)
        train, query, gallery = (dealt[name] for name in PARTS)
        rows = {
            "train": train[np.isin(known.identities[train], classes)],
            "query": query[known.identities[query] > NO_LABEL],
            "gallery": gallery[~known.is_ignored[gallery]],
        }
        for name, found in rows.items():
            if not len(found):
                there = ", ".join(dealt.parts) or "none"
                raise UsageError(
                    f"the split must have known people in train, query and gallery, got none in"
                    f" {name}; its parts: {there}"
                )
        return cls(
            store=opened,
            **rows,
            identities=known.identities,
            classes=classes,
            cameras=_cameras(opened, rows["query"], rows["gallery"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaders:
    """Of training, whose labels are places in `classes`; of queries and gallery, whose labels are
    `People.identities`.
    """

    train: Loader
    query: Loader
    gallery: Loader
    size: Size

    @classmethod
    def of(cls, people: People, reading: Reading) -> Self:
        """Loaders that read so."""
        dataset = ReIDDataset(
            people.store,
            people.train,
            size=reading.size,
            labels="relabel",
            classes=people.classes,
        )
        query, gallery = (
            _test_loader(people, rows, reading) for rows in (people.query, people.gallery)
        )
        train = _train_loader(dataset, reading)
        return cls(train=train, query=query, gallery=gallery, size=dataset.size)

    def close(self) -> None:
        """End the workers."""
        for loader in (self.train, self.query, self.gallery):
            loader.close()


def _train_loader(dataset: ReIDDataset, reading: Reading) -> Loader:
    size = 64 if reading.batch_size is None else reading.batch_size
    order: dict[str, Any] = {"batch_size": size, "shuffle": True}
    if reading.sampler is not None:
        drawn = reading.sampler(dataset.selection())
        if drawn is None:
            raise UsageError(f"sampler must return a sampler, got None of {reading.sampler!r}")
        own = isinstance(drawn, Sampler) and drawn.batch_size is not None
        order = {
            "batch_size": None if own and reading.batch_size is None else size,
            "sampler": drawn,
        }
    return make_loader(
        dataset,
        **order,
        augment=reading.augment,
        drop_last=reading.drop_last,
        **_common(reading),
    )


def _test_loader(people: People, rows: Rows, reading: Reading) -> Loader:
    labels = people.identities[rows]
    dataset = ReIDDataset(people.store, rows, size=reading.size, labels=labels)
    size = 256 if reading.test_batch_size is None else reading.test_batch_size
    return make_loader(dataset, size, **_common(reading))


def _common(reading: Reading) -> dict[str, Any]:
    return {
        "normalize": reading.normalize,
        "num_workers": reading.num_workers,
        "device": reading.device,
        "seed": reading.seed,
        # Toolboxes call .view; and channels-last memory, which loaders give otherwise, kills the
        # process on some CPUs, see training/model.py.
        "memory_format": torch.contiguous_format,
    }


def _cameras(store: Store, query: Rows, gallery: Rows) -> Rows:
    values = None if store.roles.camera is None else store.columns[store.roles.camera]
    if values is not None:
        used = values[np.concatenate([query, gallery])]
        if not (np.isnan(used).any() if used.dtype.kind == "f" else (used < 0).any()):
            return np.unique(values, return_inverse=True)[1].astype(np.int64)
    cameras = np.zeros(len(store), np.int64)
    cameras[gallery] = 1
    return cameras
