"""The recipes as torchvision's transforms, in an environment that `--install` makes.

Nothing of ours needs torchvision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers._outputs import AREA, ERASE, FLIP, MEAN, PAD, RATIO, STD

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _import() -> Any:
    """torchvision. Its wheel's compiled operators want the torch that they were built with; beside
    a CPU build they do not load, and the import stops where it describes them. They are declared
    here then: transforms use none of them.
    """
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in _OPERATORS:
            library.define(operator)
        import torchvision

        torchvision.declared_here = library  # what is declared goes when nobody holds it
    return torchvision


_import()
from torchvision import transforms  # noqa: E402  # after the above
from torchvision.transforms import v2  # noqa: E402


def on_pictures(recipe: str, size: tuple[int, int]) -> Callable[[Any], torch.Tensor]:
    """v1 transforms of Pillow's pictures to normalised float32 [3, H, W].

    "bot" in torchreid's order: flip, pad and crop, tensor, normalise, erase with what is the mean
    colour then. "guide" is its `_build_transforms`, resizing to the size that the crops have.
    """
    end = (transforms.ToTensor(), transforms.Normalize(MEAN, STD))
    steps: tuple[Any, ...] = (
        transforms.RandomHorizontalFlip(FLIP),
        transforms.RandomCrop(size, padding=PAD),
        *end,
        transforms.RandomErasing(ERASE, scale=AREA, ratio=RATIO, value=0),
    )
    if recipe == "guide":
        jitter = transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
        flip = transforms.RandomHorizontalFlip()
        steps = (transforms.Resize(size), flip, jitter, *end)
    composed: Callable[[Any], torch.Tensor] = transforms.Compose(steps)
    return composed


def on_tensors(size: tuple[int, int]) -> Callable[[Any], torch.Tensor]:
    """ "bot" as v2 transforms of uint8 tensors [3, H, W] to normalised float32."""
    composed: Callable[[Any], torch.Tensor] = v2.Compose(
        [
            v2.RandomHorizontalFlip(FLIP),
            v2.RandomCrop(size, padding=PAD),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
            v2.RandomErasing(ERASE, scale=AREA, ratio=RATIO, value=0),
        ]
    )
    return composed
