"""WebDataset: tar files, a shuffle buffer, its own DataLoader."""

from __future__ import annotations

from typing import Any

import torch
import webdataset as wds

from benchmarks.peers._decoders import decoder
from benchmarks.peers._runner import Epochs, Job, main

_SHARDS = 16  # shuffled, and shared out among the workers


def prepare(job: Job) -> None:
    """Tar files of equal size, the bytes as they are."""
    files = job.files()
    for shard in range(_SHARDS):
        with wds.TarWriter(f"{job.out}/{shard:02d}.tar") as tar:
            for row in range(shard, job.count, _SHARDS):
                tar.write({"__key__": f"{row:08d}", "jpg": files[row].read_bytes()})


def start(job: Job) -> Epochs:
    """Variants: pil, turbo."""
    decode = decoder(job.variant)
    dataset = (
        wds.WebDataset(f"{job.out}/{{00..{_SHARDS - 1}}}.tar", shardshuffle=_SHARDS)
        .shuffle(1000)
        .map(lambda found: (int(found["__key__"]), torch.from_numpy(decode(found["jpg"]))))
        .batched(job.batch_size)
    )
    loader: Any = wds.WebLoader(
        dataset, batch_size=None, num_workers=job.num_workers, persistent_workers=True
    )
    return lambda _: iter(loader)


if __name__ == "__main__":
    main(start, prepare, packages=("webdataset",))
