"""BoxMOT's trainer on its own files and on a store, in BoxMOT's environment: prints losses.

python boxmot_run.py FOLDER     with people.lmdb, split.json and files/{train,query,gallery}
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.toolboxes._job import Job
from benchmarks.toolboxes.boxmot import Crops, ReIDTrainer, sampler, trainer, transforms
from training.bridges.boxmot import store_trainer


class Plain(ReIDTrainer):
    """Without random transforms: its flip cannot be switched off."""

    def _build_train_loader(self, dataset: Any) -> Any:
        loader = super()._build_train_loader(dataset)
        loader.dataset.transform = transforms.build_test_transforms(self.img_size)
        return loader


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    job = Job(
        way="files",
        store=str(folder / "people.lmdb"),
        split=str(folder / "split.json"),
        files=str(folder / "files"),
        size=(64, 32),
        batch_size=16,
        num_workers=0,
        epochs=2,
    )
    samples = Crops(job.files).train.samples
    on_store = store_trainer(
        ReIDTrainer,
        job.store,
        job.split,
        batch_size=16,
        sampler=lambda _: sampler.PKSampler(samples, p=4, k=4, seed=0),
        augment=None,
        num_workers=1,
    )
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as out:
        for name, kind in (("files", Plain), ("store", on_store)):
            found = trainer(
                kind,
                job,
                project=out,
                name=name,
                epochs=job.epochs,
                eval_interval=job.epochs,
                warmup_epochs=0,
                random_erasing=0.0,
            ).run()
            result[f"triplet {name}"] = {
                "losses": [epoch.loss for epoch in found.history],
                "mAP": found.val_history[-1].mAP,
                "rank1": found.val_history[-1].rank1,
            }
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
