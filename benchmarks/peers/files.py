"""A folder of JPEG files, Pillow and torch's DataLoader: what most re-ID code does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers._runner import Epochs, Job, main


class Files(Dataset[tuple[int, torch.Tensor]]):
    """One file a sample."""

    def __init__(self, job: Job) -> None:
        self.paths = [str(file) for file in job.files()]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[int, torch.Tensor]:
        with Image.open(self.paths[row]) as image:
            return row, torch.from_numpy(np.array(image.convert("RGB")))


def start(job: Job) -> Epochs:
    """There are no variants."""
    loader: Any = DataLoader(
        Files(job),
        job.batch_size,
        shuffle=True,
        num_workers=job.num_workers,
        persistent_workers=True,
    )
    return lambda _: iter(loader)


if __name__ == "__main__":
    main(start)
