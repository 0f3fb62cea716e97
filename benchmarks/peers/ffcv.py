"""FFCV: with the JPEG bytes as they are (its decoder's DCT is the fast one), or raw pixels.

With the recipe, its own RandomHorizontalFlip, RandomTranslate and Cutout, which numba compiles. Its
Cutout erases a square of one size of every picture; its side is chosen so that as much is erased,
on the whole, as the recipe erases. Normalised by its own NormalizeImage, which looks values up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers._decoders import decoder
from benchmarks.peers._outputs import FILL, FLIP, MEAN, PAD, STD, expected
from benchmarks.peers._runner import Epochs, Job, main

# numba refuses later to use more threads than it began with.
_CORES = len(os.sched_getaffinity(0))
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(_CORES, 16)))

from ffcv.fields import IntField, RGBImageField  # noqa: E402  # after the setting above
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder  # noqa: E402
from ffcv.fields.rgb_image import IMAGE_MODES  # noqa: E402
from ffcv.loader import Loader, OrderOption  # noqa: E402
from ffcv.transforms import (  # noqa: E402
    Cutout,
    NormalizeImage,
    RandomHorizontalFlip,
    RandomTranslate,
    Squeeze,
    ToTensor,
)
from ffcv.writer import DatasetWriter  # noqa: E402


class Pictures:
    """(row, picture) for the writer."""

    def __init__(self, job: Job, read: Callable[[Path], Any]) -> None:
        self.files = job.files()
        self.read = read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[int, Any]:
        return row, self.read(self.files[row])


def prepare(job: Job) -> None:
    """The writer would encode anew, so its `encode` is replaced by one that keeps the bytes."""
    height, width = job.pixels("fast").shape[1:3]

    def keep_bytes(_: Any, destination: Any, jpeg: bytes, malloc: Any) -> None:
        destination["mode"] = IMAGE_MODES["jpg"]
        destination["height"], destination["width"] = height, width
        destination["data_ptr"], storage = malloc(len(jpeg))
        storage[:] = np.frombuffer(jpeg, np.uint8)

    mode = job.variant.partition("-")[0]
    if mode == "raw":
        decode = decoder("pil")
        pictures = Pictures(job, lambda file: decode(file.read_bytes()))
    else:
        RGBImageField.encode = keep_bytes
        pictures = Pictures(job, Path.read_bytes)
    fields = {"row": IntField(), "image": RGBImageField(write_mode=mode)}
    writer = DatasetWriter(f"{job.out}/all.beton", fields, num_workers=1)
    writer.from_indexed_dataset(pictures)


def start(job: Job) -> Epochs:
    """Variants: jpg, raw, jpg-bot, jpg-bot-float32."""
    loader = Loader(
        f"{job.out}/all.beton",
        batch_size=job.batch_size,
        num_workers=job.num_workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines={
            "row": [IntDecoder(), ToTensor(), Squeeze(1)],
            "image": [SimpleRGBImageDecoder(), *_steps(job), ToTensor()],
        },
    )
    return lambda _: iter(loader)


def _steps(job: Job) -> list[Any]:
    """Between its decoder and the tensor."""
    steps: list[Any] = []
    if job.output == "bot":
        size = job.pixels("fast").shape[1:3]
        side = round((expected("bot", size)["erased"].mean * size[0] * size[1]) ** 0.5)
        steps += [
            RandomHorizontalFlip(FLIP),
            RandomTranslate(padding=PAD, fill=(0, 0, 0)),
            Cutout(side, fill=FILL),
        ]
    if job.variant.endswith("float32"):
        mean, std = (np.array(values) * 255 for values in (MEAN, STD))
        steps.append(NormalizeImage(mean, std, np.float32))
    return steps


if __name__ == "__main__":
    main(start, prepare, packages=("ffcv", "numba"))
