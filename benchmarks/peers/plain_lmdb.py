"""A plain LMDB of JPEG bytes read one sample at a time by torch's DataLoader, as BasicSR and
mmengine do; with the decoder that we use, which is faster than theirs.

With a recipe, torchvision's v2 transforms on the uint8 tensor of each sample, giving normalised
float32: `_torchvision.on_tensors` has the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lmdb
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers._decoders import decoder
from benchmarks.peers._runner import Epochs, Job, main


class PlainLmdb(Dataset[tuple[int, torch.Tensor]]):
    """Opens its environment in the worker that first reads."""

    def __init__(self, job: Job, transform: Callable[[Any], torch.Tensor] | None) -> None:
        self.job = job
        self.transform = transform
        self.decode = decoder("turbo")
        self.env: Any = None

    def __len__(self) -> int:
        return self.job.count

    def __getitem__(self, row: int) -> tuple[int, torch.Tensor]:
        if self.env is None:
            self.env = lmdb.open(
                self.job.out, readonly=True, lock=False, readahead=False, meminit=False
            )
        with self.env.begin() as txn:
            data = txn.get(b"%08d" % row)
        pixels = torch.from_numpy(self.decode(data))
        return row, pixels if self.transform is None else self.transform(pixels.permute(2, 0, 1))


def prepare(job: Job) -> None:
    """Write it in the order of keys."""
    with lmdb.open(job.out, map_size=1 << 40) as env, env.begin(write=True) as txn:
        for row, file in enumerate(job.files()):
            txn.put(b"%08d" % row, file.read_bytes(), append=True)


def start(job: Job) -> Epochs:
    """Variants: turbo, bot."""
    transform = None
    if job.output != "pixels":
        from benchmarks.peers._torchvision import on_tensors

        transform = on_tensors(job.pixels("accurate").shape[1:3])
    loader: Any = DataLoader(
        PlainLmdb(job, transform),
        job.batch_size,
        shuffle=True,
        num_workers=job.num_workers,
        persistent_workers=True,
    )
    return lambda _: iter(loader)


if __name__ == "__main__":
    main(start, prepare, packages=("lmdb", "torchvision"))
