"""A folder of JPEG files, Pillow and torch's DataLoader: what most re-ID code does.

With a recipe, torchvision's v1 transforms on Pillow's pictures, one by one, giving normalised
float32, as torchreid and the guide do it: `_torchvision.on_pictures` has the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers._runner import Epochs, Job, main


class Files(Dataset[tuple[int, torch.Tensor]]):
    """One file a sample."""

    def __init__(self, job: Job, transform: Callable[[Any], torch.Tensor]) -> None:
        self.paths = [str(file) for file in job.files()]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[int, torch.Tensor]:
        with Image.open(self.paths[row]) as image:
            return row, self.transform(image.convert("RGB"))


def as_they_are(image: Any) -> torch.Tensor:
    """uint8 [H, W, 3]."""
    return torch.from_numpy(np.array(image))


def start(job: Job) -> Epochs:
    """Variants: pil, bot, guide."""
    transform: Callable[[Any], torch.Tensor] = as_they_are
    if job.output != "pixels":
        from benchmarks.peers._torchvision import on_pictures

        transform = on_pictures(job.output, job.pixels("accurate").shape[1:3])
    loader: Any = DataLoader(
        Files(job, transform),
        job.batch_size,
        shuffle=True,
        num_workers=job.num_workers,
        persistent_workers=True,
    )
    return lambda _: iter(loader)


if __name__ == "__main__":
    main(start, packages=("torchvision",))
