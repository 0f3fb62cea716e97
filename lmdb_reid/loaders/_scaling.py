"""From pixel values as floats to what a model takes, in place.

Host memory goes through NumPy a few pictures at a time, on the calling thread: torch would share
each step among its own threads, which wait for each other on the cores that decode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


class Scaling:
    """Brings floats of 0..255, or 0..1, to 0..1 or to (value - mean) / std of each channel.

    Args:
        moments: (mean, std) per channel, of values in 0..1; None only scales.
        device: where the images are.
    """

    def __init__(
        self, moments: tuple[Sequence[float], Sequence[float]] | None, device: torch.device
    ) -> None:
        self.normalises = moments is not None
        self._moments = moments
        self._device = device
        self._tables: dict[tuple[int, int | None], tuple[torch.Tensor, torch.Tensor]] = {}

    def apply(self, images: torch.Tensor, *, of: int) -> None:
        """Scale floats [B, 3, H, W], or any shape without moments, whose values are 0..`of`."""
        if self._moments is None and of == 1:
            return
        lines = host_lines(images)
        if self._moments is None:
            if lines is None:
                images.div_(of)
            else:
                np.divide(lines, np.float32(of), out=lines)
        elif lines is None:
            offset, factor = self._table(of, None)
            images.sub_(offset).mul_(factor)
        else:
            # A line at once: channel by channel would go three numbers at a time.
            offset, factor = self._table(of, images.shape[3])
            np.subtract(lines, offset.numpy(), out=lines)
            np.multiply(lines, factor.numpy(), out=lines)

    def _table(self, of: int, width: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(what is taken off, what is multiplied by): [1, 3, 1, 1], or of a line, [3 W]."""
        found = self._tables.get((of, width))
        if found is None:
            mean, std = (
                torch.tensor(values, dtype=torch.float32, device=self._device)
                for values in self._moments or ()
            )
            offset, factor = mean * of, 1 / (std * of)
            if width is None:
                found = offset.view(1, -1, 1, 1), factor.view(1, -1, 1, 1)
            else:
                found = offset.repeat(width), factor.repeat(width)
            self._tables[of, width] = found
        return found


def copy_pixels(floats: torch.Tensor, images: torch.Tensor) -> None:
    """`floats.copy_(images)`."""
    to, source = host_lines(floats), host_lines(images)
    if to is None or source is None:
        floats.copy_(images)
    else:
        np.copyto(to, source)


def host_lines(images: torch.Tensor) -> npt.NDArray[Any] | None:
    """Bytes or float32 [B, C, H, W] as [B, H, W C], where they lie so in host memory; else None."""
    known = images.dtype in (torch.uint8, torch.float32) and images.device.type == "cpu"
    if not known or images.ndim != 4:
        return None
    channels_last = images.detach().permute(0, 2, 3, 1)
    return channels_last.flatten(2).numpy() if channels_last.is_contiguous() else None
