"""Bare torch.index_select of rows from a memory-mapped array into a buffer that is kept; and the
bare conversion: that, then `copy_`, `mul_` and `sub_` into a float32 buffer that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.peers._outputs import MEAN, STD
from benchmarks.peers._runner import Epochs, Job, main


def start(job: Job) -> Epochs:
    """Variants: bare, float32. The array is the reference of the accurate DCT."""
    torch.set_num_threads(job.num_workers)
    pixels = job.pixels("accurate")
    flat = torch.from_numpy(pixels).view(job.count, -1)
    buffer = torch.empty((job.batch_size, flat.shape[1]), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    floats = torch.empty((job.batch_size, *pixels.shape[1:])).permute(0, 3, 1, 2)

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        order = torch.randperm(job.count, generator=torch.Generator().manual_seed(number))
        for first in range(0, job.count, job.batch_size):
            rows = order[first : first + job.batch_size]
            images = buffer[: len(rows)]
            torch.index_select(flat, 0, rows, out=images)
            images = images.view(-1, *pixels.shape[1:])
            if job.variant == "float32":
                images = floats[: len(rows)].copy_(images.permute(0, 3, 1, 2))
                images.mul_(1 / (255 * std)).sub_(mean / std)
            yield rows, images

    return epoch


if __name__ == "__main__":
    main(start)
