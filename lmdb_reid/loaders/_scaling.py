"""From pixel values as floats to what a model takes, in place."""

from __future__ import annotations

from collections.abc import Sequence

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
        """Scale [B, 3, H, W], or anything without moments, whose values are 0..`of`."""
        if self._moments is None:
            if of != 1:
                images.div_(of)
            return
        width = None
        if images.device.type == "cpu" and images.ndim == 4:
            lines = images.permute(0, 2, 3, 1)
            if lines.is_contiguous():
                # A line at once: channel by channel torch would go three numbers at a time.
                width, images = images.shape[3], lines.flatten(2)
        offset, factor = self._table(of, width)
        images.sub_(offset).mul_(factor)

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
