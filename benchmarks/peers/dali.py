"""NVIDIA DALI on the CPU: its own file reader and decoder.

With the recipe, its own flip, slice (out of bounds: black) and erase; a rectangle that is not
smaller than the picture on both sides is cut off, where the recipe draws another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nvidia.dali import Pipeline, fn, math
from torch.utils.dlpack import from_dlpack

from benchmarks.peers._outputs import AREA, ERASE, FILL, FLIP, PAD, RATIO
from benchmarks.peers._runner import Epochs, Job, main


def start(job: Job) -> Epochs:
    """Variants: accurate, fast, bot."""
    height, width = job.pixels("fast" if job.variant == "fast" else "accurate").shape[1:3]
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
        if job.output != "pixels":
            images = _augmented(images, height, width)
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


def _augmented(images: Any, height: int, width: int) -> Any:
    images = fn.flip(images, horizontal=fn.random.coin_flip(probability=FLIP))
    moves = [float(number) for number in range(-PAD, PAD + 1)]
    images = fn.slice(
        images,
        fn.random.uniform(values=moves, shape=2),
        (float(height), float(width)),
        axis_names="HW",
        normalized_anchor=False,
        normalized_shape=False,
        out_of_bounds_policy="pad",
        fill_values=0,
    )
    area = fn.random.uniform(range=AREA) * (height * width)
    area *= fn.random.coin_flip(probability=ERASE)
    ratio = fn.random.uniform(range=RATIO)
    tall, wide = math.floor(math.sqrt(area * ratio)), math.floor(math.sqrt(area / ratio))
    top = math.floor(fn.random.uniform(range=(0.0, 1.0)) * math.max(height - tall + 1, 0))
    left = math.floor(fn.random.uniform(range=(0.0, 1.0)) * math.max(width - wide + 1, 0))
    return fn.erase(
        images,
        anchor=fn.stack(top, left),
        shape=fn.stack(tall, wide),
        axis_names="HW",
        fill_value=list(map(float, FILL)),
    )


if __name__ == "__main__":
    main(start, packages=("nvidia-dali-cuda120",))
