"""BoxMOT 25.0.0: its loader of files, and the bridge."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import _torchvision  # noqa: F401  # makes torchvision importable
from benchmarks.toolboxes._job import Job, listed, run

from boxmot.reid.datasets import registry, sampler, transforms  # isort: skip  # after the above
from boxmot.reid.datasets.base import BaseReIDDataset, ReIDSample  # isort: skip
from boxmot.reid.training.trainer import ReIDTrainer  # isort: skip

from training.bridges.boxmot import store_trainer

__all__ = ["Crops", "ReIDTrainer", "loaders", "sampler", "trainer", "transforms"]

NAME = "crops"


class Crops(BaseReIDDataset):  # type: ignore[misc]  # it ships no types
    """What BoxMOT's users write for files of their own."""

    name = NAME

    def _load_split(self, split: str) -> list[Any]:
        return [ReIDSample(*each) for each in listed(self.root / split)]


registry._DATASET_SPECS_BY_ALIAS[NAME] = registry.DatasetSpec(
    NAME, "benchmarks.toolboxes.boxmot", "Crops"
)


def trainer(kind: type[Any], job: Job, **settings: Any) -> Any:
    """One that trains a small model on a CPU."""
    given = {
        "img_size": job.size,
        "batch_size": job.batch_size,
        "p": job.batch_size // 4,
        "k": 4,
        "pretrained": False,
        "device": "cpu",
        "random_patch": False,
        "color_augmentation": False,
    } | settings
    made = kind("osnet_x0_25", NAME, job.files, **given)
    made.num_workers = job.num_workers  # it takes none on a CPU, whatever it is given
    return made


def loaders(job: Job) -> tuple[Any, Any]:
    """Of training, flip, crop and erasing on, and of queries."""
    kind = ReIDTrainer
    if job.way != "files":
        normalize = None if job.way == "store-uint8" else "imagenet"
        workers = job.num_workers
        kind = store_trainer(
            ReIDTrainer, job.store, job.split, normalize=normalize, num_workers=workers
        )
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(kind, job, project=str(Path(folder)))
        bundle = made._build_loader_bundle(made._build_dataset_bundle())
    return bundle.train, bundle.query


if __name__ == "__main__":
    run(loaders, lambda batch: batch[0])
