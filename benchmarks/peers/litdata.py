"""LitData: chunks of JPEG bytes, its own streaming data set and DataLoader.

Its own JPEG type decodes with torchvision, which a CPU build of torch may lack, so both decoders
stand in the data set's transform, as its manual shows.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from litdata import StreamingDataLoader, StreamingDataset, optimize

from benchmarks.peers._decoders import decoder
from benchmarks.peers._runner import Epochs, Job, main


def read(job: Job, row: int) -> dict[str, Any]:
    """One sample for the writer."""
    return {"row": row, "image": job.file(row).read_bytes()}


def prepare(job: Job) -> None:
    """Chunks of its usual 64 MB would be two; smaller ones shuffle better and share out evenly."""
    optimize(
        functools.partial(read, job),
        list(range(job.count)),
        job.out,
        chunk_bytes="8MB",
        num_workers=1,
        verbose=False,
    )


def start(job: Job) -> Epochs:
    """Variants: pil, turbo."""
    decode = decoder(job.variant)

    def transform(found: dict[str, Any]) -> tuple[int, torch.Tensor]:
        return found["row"], torch.from_numpy(decode(found["image"]))

    loader: Any = StreamingDataLoader(
        StreamingDataset(job.out, shuffle=True, transform=transform),
        batch_size=job.batch_size,
        num_workers=job.num_workers,
        persistent_workers=True,
    )
    return lambda _: iter(loader)


if __name__ == "__main__":
    main(start, prepare, packages=("litdata",))
