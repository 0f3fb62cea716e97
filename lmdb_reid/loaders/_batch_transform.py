"""A user's function of whole batches, and the randomness that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lmdb_reid.errors import UsageError
from lmdb_reid.sampling import Task, position_seed

BatchTransform = Callable[[Any, torch.Generator], Any]
"""Takes the images of a batch, [B, 3, H, W] on their device, and a torch.Generator of that device,
seeded from (seed, epoch, the first sample's place in the epoch); gives new images."""


def transform_batch(function: BatchTransform, images: torch.Tensor, task: Task) -> torch.Tensor:
    """What `function` makes of a batch.

    Raises:
        UsageError: it gives no tensor, another number of images, another dtype or device, or it
            changes its input.
    """
    generator = torch.Generator(images.device)
    generator.manual_seed(position_seed(*task.place(0)))
    version = images._version
    found = function(images, generator)
    if not isinstance(found, torch.Tensor):
        raise UsageError(
            f"batch_transform must return a tensor of {len(images)} images; got"
            f" {type(found).__name__}"
        )
    wrong = {
        "images": (len(found) if found.ndim else 0, len(images)),
        "dtype": (found.dtype, images.dtype),
        "device": (found.device, images.device),
    }
    for name, (given, wanted) in wrong.items():
        if given != wanted:
            raise UsageError(
                f"batch_transform must keep the batch's {name}, {wanted}; it returned {given}"
            )
    if images._version != version:
        raise UsageError(
            "batch_transform must not change its input: work on a clone of the images, or with"
            " functions that return a new tensor"
        )
    return found
