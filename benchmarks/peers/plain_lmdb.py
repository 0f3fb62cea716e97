"""A plain LMDB of JPEG bytes read one sample at a time by torch's DataLoader, as BasicSR and
mmengine do; with the decoder that we use, which is faster than theirs.
"""

from __future__ import annotations

from typing import Any

import lmdb
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers._decoders import decoder
from benchmarks.peers._runner import Epochs, Job, main


class PlainLmdb(Dataset[tuple[int, torch.Tensor]]):
    """Opens its environment in the worker that first reads."""

    def __init__(self, job: Job) -> None:
        self.job = job
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
        return row, torch.from_numpy(self.decode(data))


def prepare(job: Job) -> None:
    """Write it in the order of keys."""
    with lmdb.open(job.out, map_size=1 << 40) as env, env.begin(write=True) as txn:
        for row, file in enumerate(job.files()):
            txn.put(b"%08d" % row, file.read_bytes(), append=True)


def start(job: Job) -> Epochs:
    """There are no variants."""
    loader: Any = DataLoader(
        PlainLmdb(job),
        job.batch_size,
        shuffle=True,
        num_workers=job.num_workers,
        persistent_workers=True,
    )
    return lambda _: iter(loader)


if __name__ == "__main__":
    main(start, prepare, packages=("lmdb",))
