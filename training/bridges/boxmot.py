"""A store for BoxMOT 25.0.0: a trainer whose loaders read it.

from boxmot.reid.training.trainer import ReIDTrainer

Trainer = store_trainer(ReIDTrainer, "market.lmdb", "split.json")
Trainer("osnet_x0_25", "store", "", p=16, k=4, epochs=60).run()
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from lmdb_reid.loaders import Loader
from lmdb_reid.sampling import PKSampler
from lmdb_reid.store import Store
from training.bridges._parts import PARTS, Loaders, People, Place, Reading
from training.splits import Split


class BoxmotBatches:
    """A loader's batches as BoxMOT has them: images, pids, camera ids.

    Args:
        loader: what gives the batches.
        people: whose rows they are.
    """

    def __init__(self, loader: Loader, people: People) -> None:
        self.loader = loader
        self.sampler = loader.batch_sampler.sampler
        """Whose `set_epoch` the trainer calls."""
        self._cameras = torch.from_numpy(people.cameras)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for images, labels, rows in self.loader:
            yield images, labels, self._cameras[rows]


def store_trainer(
    trainer: type[Any], store: Store | Place, split: Split | Place, **reading: Any
) -> type[Any]:
    """A subclass of BoxMOT's trainer that reads a store, whatever data set it is given.

    Batches are p identities of k pictures, by lmdb_reid's PKSampler, unless `sampler` makes others;
    images have the trainer's size and go to its device. Augmentation is `Reading`'s, not the
    trainer's.

    Args:
        trainer: `boxmot.reid.training.trainer.ReIDTrainer`, or a subclass.
        store: a Store, or the path of one.
        split: rows of train, query and gallery, or the file of a saved split.
        **reading: of `Reading`: augment, normalize, num_workers, ...

    Raises:
        UsageError: an empty part, or settings that do not fit.
    """
    people, settings = People.of(store, split), Reading(**reading)

    class StoreTrainer(trainer):  # type: ignore[misc]  # whatever class it is
        """Reads a store."""

        def _build_dataset_bundle(self) -> Any:
            from boxmot.reid.training.trainer_components.types import DatasetBundle

            dataset = _dataset(people)
            self._train_samples = tuple(dataset.train.samples)
            self._train_sample_count = len(self._train_samples)
            return DatasetBundle(
                dataset=dataset,
                num_classes=len(people.classes),
                default_eval_name=self.dataset_name.lower(),
            )

        def _build_train_loader(self, dataset: Any) -> BoxmotBatches:
            self._store_loaders = Loaders.of(people, _of_trainer(self, settings))
            return BoxmotBatches(self._store_loaders.train, people)

        def _build_test_loaders(self, dataset: Any) -> tuple[Any, Any]:
            if not isinstance(dataset, _StoreSets):  # of eval_datasets, which are files
                found: tuple[Any, Any] = super()._build_test_loaders(dataset)
                return found
            return (
                BoxmotBatches(self._store_loaders.query, people),
                BoxmotBatches(self._store_loaders.gallery, people),
            )

    return StoreTrainer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _StoreSets:
    """What BoxMOT asks of a dataset."""

    train: Any
    query: Any
    gallery: Any
    num_train_pids: int
    name: str = "store"

    def summary(self) -> str:
        """For its log."""
        return ", ".join(f"{part} {getattr(self, part).num_imgs:,} images" for part in PARTS)


def _dataset(people: People) -> _StoreSets:
    from boxmot.reid.datasets.base import DatasetSplit, ReIDSample

    place = {label: number for number, label in enumerate(people.classes.tolist())}
    sets = {}
    for name in PARTS:
        rows = getattr(people, name)
        labels = people.identities[rows].tolist()
        pids = [place[label] for label in labels] if name == "train" else labels
        cameras = people.cameras[rows].tolist()
        ids = (people.store.ids[row] for row in rows.tolist())
        # Its log of a run says what it was trained on; nothing is read by this path.
        known = zip(ids, pids, cameras, strict=True)
        sets[name] = DatasetSplit([ReIDSample(*each, source="store") for each in known])
    return _StoreSets(**sets, num_train_pids=len(people.classes))


def _of_trainer(trainer: Any, reading: Reading) -> Reading:
    """What is not given is the trainer's."""

    def drawn(samples: Any) -> PKSampler:
        return PKSampler(samples, trainer.p, trainer.k, seed=trainer.seed)

    device = trainer.device if trainer.device.type == "cuda" else None
    return dataclasses.replace(
        reading,
        sampler=reading.sampler or drawn,
        test_batch_size=reading.test_batch_size or trainer.batch_size,
        size=reading.size or trainer.img_size,
        device=reading.device or device,
    )
