"""Colour on floats, and the erasing that comes after it: once per batch on a device, in the workers
or once per batch on a CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lmdb_reid.augment._colour_device import colour_on_device
from lmdb_reid.augment._colour_host import colour_on_host
from lmdb_reid.augment._device import erase_on_device
from lmdb_reid.augment._draws import Draws
from lmdb_reid.augment._erase import erase_bytes, erase_numbers
from lmdb_reid.errors import UsageError


def finish(images: Tensor, draws: Draws, first: int = 0, *, erase: bool | None = None) -> None:
    """Colour and erase pictures, in place: brightness, contrast, saturation, hue, grayscale, blur,
    then the rectangles.

    float32 on a CPU goes picture by picture through OpenCV, which lets go of the interpreter's
    lock, so that several threads may each finish a part of a batch; fastest in channels-last
    memory. Everything else is torch's, all pictures at once. The two agree within 2e-5
    (docs/augment.md).

    Args:
        images: floats [N, 3, H, W] from 0 to 1, RGB, not normalised yet; on any device, in any
            memory format.
        draws: of a whole batch.
        first: place in `draws` of the first picture.
        erase: whether to erase; None does if the recipe has colour steps (else `place` has).

    Raises:
        UsageError: images of another shape or dtype, or more than were drawn.
        MissingExtraError: OpenCV is not installed, and the images are on a CPU.
    """
    if images.ndim != 4 or not images.is_floating_point() or images.shape[1:] != (3, *draws.size):
        raise UsageError(
            f"images must be floats [N, 3, {draws.size[0]}, {draws.size[1]}], got {images.dtype}"
            f" {list(images.shape)}."
        )
    stop = first + len(images)
    if first < 0 or stop > len(draws):
        raise UsageError(
            f"first must leave {len(images)} pictures within the {len(draws)} drawn, got {first}."
        )
    some = draws if len(images) == len(draws) else draws.take(slice(first, stop))
    erases = some.erases_late if erase is None else erase
    with torch.no_grad():
        if images.device.type == "cpu" and images.dtype == torch.float32:
            _on_host(images, some, erases=erases)
            return
        if some.colour is not None:
            colour_on_device(images, some.colour)
        if erases:
            erase_on_device(images, some)


def erase(images: Tensor, draws: Draws) -> None:
    """Erase from a batch, in place: the last step where `place` and `finish` left it out.

    Args:
        images: uint8 [B, 3, H, W], or floats of 0 to 1; on any device.
        draws: of these B pictures.
    """
    if images.device.type != "cpu":
        erase_on_device(images, draws)
        return
    pixels = images.detach().permute(0, 2, 3, 1).numpy()
    if images.dtype == torch.uint8:
        erase_bytes(pixels, draws)
    else:
        erase_numbers(pixels, draws)


def _on_host(images: Tensor, draws: Draws, *, erases: bool) -> None:
    pixels = images.detach().permute(0, 2, 3, 1).numpy()
    if draws.colour is not None:
        for slot, picture in enumerate(pixels):
            if picture.flags.c_contiguous:
                colour_on_host(picture, draws.colour, slot)
            else:  # channels apart: treated in a copy, and copied back
                copy = np.ascontiguousarray(picture)
                colour_on_host(copy, draws.colour, slot)
                picture[...] = copy
    if erases:
        erase_numbers(pixels, draws)
