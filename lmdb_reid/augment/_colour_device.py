"""Colour on a batch of floats on a device, all pictures at once, by torch.

Formulas are those of torchvision's transforms.v2.functional (adjust_brightness, adjust_contrast,
adjust_saturation, adjust_hue, rgb_to_grayscale, gaussian_blur), with a strength for each picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from lmdb_reid.augment._draws import LUMA, ColourDraws

_TOGETHER = 128  # pictures treated at once: what lies between needs no more memory than a batch


def colour_on_device(images: Tensor, draws: ColourDraws) -> None:
    """Colour floats [B, 3, H, W] of 0 to 1, in place, on whatever device they are."""
    strengths = _Strengths(draws, images)
    for start in range(0, len(images), _TOGETHER):
        part = images[start : start + _TOGETHER]
        # Channels apart: arithmetic on a channel of interleaved memory is several times slower.
        work = part.contiguous()
        strengths.apply(work, slice(start, start + len(part)))
        if work.data_ptr() != part.data_ptr():
            part.copy_(work)
    if draws.blur is not None:
        _blur(images, draws.blur, draws.blur_radius)


class _Strengths:
    """The strengths as tensors beside the images, sent once."""

    def __init__(self, draws: ColourDraws, images: Tensor) -> None:
        def beside(array: npt.NDArray[np.float32] | npt.NDArray[np.bool_] | None) -> Tensor | None:
            if array is None:
                return None
            dtype = torch.bool if array.dtype == np.bool_ else images.dtype
            tensor = torch.from_numpy(np.ascontiguousarray(array))
            return tensor.to(images.device, dtype).view(-1, 1, 1, 1)

        self._brightness = beside(draws.brightness)
        self._contrast = beside(draws.contrast)
        self._saturation = beside(draws.saturation)
        self._hue = beside(draws.hue)
        self._grayscale = beside(draws.grayscale)

    def apply(self, images: Tensor, of: slice) -> None:
        """To some pictures, in place; their memory is contiguous."""
        if self._brightness is not None:
            images.mul_(self._brightness[of]).clamp_(0, 1)
        if self._contrast is not None:
            mean = _gray(images).mean(dim=(1, 2, 3), keepdim=True)
            _blend(images, mean, self._contrast[of])
        if self._saturation is not None:
            _blend(images, _gray(images), self._saturation[of])
        if self._hue is not None:
            _turn_hue(images, self._hue[of][:, 0])
        if self._grayscale is not None:
            torch.where(self._grayscale[of], _gray(images), images, out=images)


def _gray(images: Tensor) -> Tensor:
    """[B, 1, H, W]."""
    red, green, blue = images.unbind(1)
    gray = red.mul(LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return gray.unsqueeze_(1)


def _blend(images: Tensor, others: Tensor, ratio: Tensor) -> None:
    """Pictures mixed with others: ratio * images + (1 - ratio) * others, within 0..1."""
    torch.lerp(others, images, ratio, out=images).clamp_(0, 1)


def _turn_hue(images: Tensor, turn: Tensor) -> None:
    """Turn the hue by a share of the circle, [B, 1, 1].

    The way to HSV and back, without saturation and value: with largest and smallest channel and
    h = 6 * hue, each channel is smallest + (largest - smallest) * clamp(ramp(h), 0, 1), where ramp
    is |h - 3| - 1 of red, 2 - |h - 2| of green, 2 - |h - 4| of blue.
    """
    red, green, blue = images.unbind(1)
    least = torch.minimum(torch.minimum(red, green), blue)
    most = torch.maximum(torch.maximum(red, green), blue)
    spread = most - least
    hue = torch.where(most == green, 2 * spread + blue - red, 4 * spread + red - green)
    hue = torch.where(most == red, green - blue, hue)
    hue.div_(spread.clamp(min=torch.finfo(images.dtype).tiny)).add_(6 * turn).remainder_(6)
    for channel, ramp in (
        (red, (hue - 3).abs_().sub_(1)),
        (green, (hue - 2).abs_().neg_().add_(2)),
        (blue, (hue - 4).abs_().neg_().add_(2)),
    ):
        torch.addcmul(least, ramp.clamp_(0, 1), spread, out=channel)


def _blur(images: Tensor, sigmas: npt.NDArray[np.float32], radius: int) -> None:
    """Blur those with a sigma over 0, in two passes; mirrored beyond the borders."""
    blurred = np.flatnonzero(sigmas > 0)
    for start in range(0, len(blurred), _TOGETHER):
        places = blurred[start : start + _TOGETHER]
        at = torch.from_numpy(places).to(images.device)
        sigma = torch.from_numpy(sigmas[places]).to(images.device, images.dtype)
        steps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
        kernel = torch.softmax(-0.5 * (steps / sigma[:, None]) ** 2, dim=1)
        kernel = kernel.repeat_interleave(3, 0)[:, None]  # [3 B, 1, taps]
        chosen = images[at]
        flat = functional.pad(chosen.contiguous(), (radius,) * 4, mode="reflect").flatten(0, 1)
        groups = len(flat)
        rows = functional.conv2d(flat[None], kernel[:, :, None], groups=groups)
        columns = functional.conv2d(rows, kernel[:, :, :, None], groups=groups)
        images[at] = columns.view(chosen.shape).clamp_(0, 1)
