"""Bare torch.index_select of rows from a memory-mapped array into a buffer that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.peers._runner import Epochs, Job, main


def start(job: Job) -> Epochs:
    """The array is the reference of the accurate DCT."""
    torch.set_num_threads(job.num_workers)
    pixels = job.pixels("accurate")
    flat = torch.from_numpy(pixels).view(job.count, -1)
    buffer = torch.empty((job.batch_size, flat.shape[1]), dtype=torch.uint8)

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        order = torch.randperm(job.count, generator=torch.Generator().manual_seed(number))
        for first in range(0, job.count, job.batch_size):
            rows = order[first : first + job.batch_size]
            images = buffer[: len(rows)]
            torch.index_select(flat, 0, rows, out=images)
            yield rows, images.view(-1, *pixels.shape[1:])

    return epoch


if __name__ == "__main__":
    main(start)
