"""SPDL: its pipeline of threads, with the decoder that we use.

It has no augmentation of its own. With the recipe, torchvision's v2 transforms on the uint8 tensor
of each sample, giving normalised float32: `_torchvision.on_tensors` has the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg
import torch
from spdl.pipeline import PipelineBuilder

from benchmarks.peers._runner import Epochs, Job, main


def start(job: Job) -> Epochs:
    """Variants: accurate, fast, bot. A stage makes whole batches, each thread one of its own."""
    data = [file.read_bytes() for file in job.files()]
    fast = job.variant == "fast"
    shape = job.pixels("fast" if fast else "accurate").shape[1:]
    transform = None
    if job.output != "pixels":
        from benchmarks.peers._torchvision import on_tensors

        transform = on_tensors(shape[:2])

    def decode(rows: Any) -> tuple[Any, torch.Tensor]:
        images = np.empty((len(rows), *shape), np.uint8)
        for row, image in zip(rows.tolist(), images, strict=True):
            simplejpeg.decode_jpeg(data[row], "RGB", fastdct=fast, fastupsample=fast, buffer=image)
        pixels = torch.from_numpy(images)
        if transform is None:
            return rows, pixels
        return rows, torch.stack([transform(image) for image in pixels.permute(0, 3, 1, 2)])

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        order = np.random.default_rng(number).permutation(job.count)
        batches = [order[at : at + job.batch_size] for at in range(0, job.count, job.batch_size)]
        pipeline = (
            PipelineBuilder()
            .add_source(batches)
            .pipe(decode, concurrency=job.num_workers)
            .add_sink(3)
            .build(num_threads=job.num_workers)
        )
        with pipeline.auto_stop():
            yield from pipeline

    return epoch


if __name__ == "__main__":
    main(start, packages=("spdl-core", "torchvision"))
