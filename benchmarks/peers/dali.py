"""NVIDIA DALI on the CPU: its own file reader and decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nvidia.dali import Pipeline, fn
from torch.utils.dlpack import from_dlpack

from benchmarks.peers._runner import Epochs, Job, main


def start(job: Job) -> Epochs:
    """Variants: accurate, fast."""

    made = Pipeline(job.batch_size, job.num_workers, device_id=None)
    with made:
        jpegs, rows = fn.readers.file(
            files=[str(file) for file in job.files()],
            labels=list(range(job.count)),
            shuffle_after_epoch=True,
            pad_last_batch=True,
        )
        images = fn.decoders.image(
            jpegs,
            device="cpu",
            use_fast_idct=job.variant == "fast",
        )
        made.set_outputs(images, rows)
    made.build()

    def epoch(_: int) -> Iterator[tuple[Any, Any]]:
        for first in range(0, job.count, job.batch_size):
            images, rows = made.run()
            left = job.count - first  # the reader repeats the last one until the batch is full
            yield (
                from_dlpack(rows.as_tensor()).view(-1)[:left],
                from_dlpack(images.as_tensor())[:left],
            )

    return epoch


if __name__ == "__main__":
    main(start, packages=("nvidia-dali-cuda120",))
