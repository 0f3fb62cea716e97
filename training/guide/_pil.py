"""Transforms that take PIL images, for loaders that hand out tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

PilTransform = Callable[..., Any]
"""Takes a crop, a PIL image in RGB; with a keyword `generator` it is given a torch.Generator."""


def of_pil(transform: PilTransform | None) -> Callable[..., Any] | None:
    """The same for a uint8 tensor [3, H, W]."""
    if transform is None:
        return None
    function = transform.forward if isinstance(transform, torch.nn.Module) else transform
    try:
        seeded = "generator" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        seeded = False
    return _Seeded(transform) if seeded else _OfPil(transform)


class _OfPil:
    def __init__(self, transform: PilTransform) -> None:
        self._transform = transform

    def __call__(self, image: torch.Tensor) -> Any:
        return self._transform(_picture(image))

    def __repr__(self) -> str:
        return f"of_pil({self._transform!r})"


class _Seeded(_OfPil):
    def __call__(self, image: torch.Tensor, *, generator: torch.Generator | None = None) -> Any:
        return self._transform(_picture(image), generator=generator)


def _picture(image: torch.Tensor) -> Image.Image:
    # A copy: a transform may keep, or draw on, what it is given.
    return Image.fromarray(image.permute(1, 2, 0).numpy().copy())
