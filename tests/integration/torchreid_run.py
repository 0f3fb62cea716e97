"""torchreid's engines on its own files and on a store, in torchreid's environment: prints losses.

python torchreid_run.py FOLDER     with people.lmdb, split.json and files/{train,query,gallery}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

from benchmarks.toolboxes._job import Job
from benchmarks.toolboxes.torchreid import manager, torchreid
from lmdb_reid import PKSampler, Store
from training.bridges.torchreid import TorchreidData

SIZE, BATCH = (64, 32), 16


class Model(nn.Module):
    """As torchreid's models: logits, with features beside them for triplets; features to test."""

    def __init__(self, classes: int, loss: str) -> None:
        super().__init__()
        self.loss = loss
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4)
        )
        self.head = nn.Linear(128, classes)

    def forward(self, images: torch.Tensor) -> Any:
        features = self.body(images).reshape(len(images), -1)
        if not self.training:
            return features
        logits = self.head(features)
        return (logits, features) if self.loss == "triplet" else logits


def losses(data: Any, loss: str) -> dict[str, Any]:
    """Two epochs: the loss of each step, then mAP and rank 1."""
    torch.manual_seed(0)
    model = Model(data.num_train_pids, loss)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    kind = {"softmax": "ImageSoftmaxEngine", "triplet": "ImageTripletEngine"}[loss]
    engine = getattr(torchreid.engine, kind)(data, model, optimizer, use_gpu=False)
    found: list[float] = []
    step = engine.forward_backward

    def noted(batch: Any) -> Any:
        summary = step(batch)
        found.append(sum(value for name, value in summary.items() if name.startswith("loss")))
        return summary

    engine.forward_backward = noted
    for engine.epoch in range(2):
        engine.max_epoch = 2
        engine.train()
    engine.set_model_mode("eval")
    name = data.targets[0]
    loaders = data.test_loader[name]
    rank1, precision = engine._evaluate(name, loaders["query"], loaders["gallery"], ranks=[1, 5])
    return {"losses": found, "mAP": float(precision), "rank1": float(rank1)}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    job = Job(
        way="files",
        store=str(folder / "people.lmdb"),
        split=str(folder / "split.json"),
        files=str(folder / "files"),
        size=SIZE,
        batch_size=BATCH,
        num_workers=0,
        epochs=2,
    )
    theirs = manager(job, [])
    result: dict[str, Any] = {}
    with Store(job.store) as store:
        for loss in ("softmax", "triplet"):
            drawn: list[PKSampler] = []

            def sampler(samples: Any, drawn: list[PKSampler] = drawn) -> PKSampler:
                drawn.append(PKSampler(samples, p=4, k=4))
                return drawn[0]

            settings = {
                "augment": None,
                "sampler": sampler,
                "test_batch_size": 20,
                "num_workers": 1,
            }
            with TorchreidData(store, job.split, **settings) as ours:
                result[f"{loss} store"] = losses(ours, loss)
            orders = [drawn[0].positions(epoch).tolist() for epoch in range(2)]
            theirs.train_loader = Ordered(theirs.train_loader.dataset, orders)
            result[f"{loss} files"] = losses(theirs, loss)
    print("\n" + json.dumps(result))


class Ordered:
    """torchreid's own loader of its own files, in the order of each epoch."""

    def __init__(self, dataset: Any, orders: list[list[int]]) -> None:
        self.dataset, self.orders = dataset, orders

    def __len__(self) -> int:
        return len(self.orders[0]) // BATCH

    def __iter__(self) -> Any:
        return iter(
            torch.utils.data.DataLoader(
                self.dataset, sampler=self.orders.pop(0), batch_size=BATCH, drop_last=True
            )
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
