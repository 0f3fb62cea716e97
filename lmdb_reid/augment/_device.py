"""Geometry and erasing on pixels that are made on a device, or live there."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lmdb_reid.augment._draws import Draws
from lmdb_reid.augment._erase import noise_table
from lmdb_reid.errors import UsageError

_TOGETHER = 64  # pictures whose indices into the noise are made at once: 8 bytes a byte of theirs


def place_on_device(images: Tensor, draws: Draws, *, erase: bool | None = None) -> Tensor:
    """Mirror, shift, warp and erase a batch that is on a device already; see `place`.

    Flip, shift and erasing give the bytes that `place` gives. A warp is within 1 of 255
    of OpenCV 5's; OpenCV 4 rounds places to 1/32 pixel (docs/augment.md).

    Args:
        images: uint8 [B, 3, H, W]; left as it is.
        draws: of these B pictures.
        erase: as in `place`.

    Returns:
        uint8 [B, 3, H, W], channels-last.

    Raises:
        UsageError: images of another shape or dtype.
    """
    wanted = (len(draws), 3, *draws.size)
    if tuple(images.shape) != wanted or images.dtype != torch.uint8:
        raise UsageError(
            f"images must be uint8 {list(wanted)}, got {images.dtype} {list(images.shape)}."
        )
    with torch.no_grad():
        moved = _moved(images, draws)
        if draws.warped is not None and draws.warped.any():
            _warp(images, moved, draws)
        if not draws.erases_late if erase is None else erase:
            erase_on_device(moved, draws)
    return moved


def _moved(images: Tensor, draws: Draws) -> Tensor:
    """Flipped and shifted, by one gather."""
    height, width = draws.size
    device = images.device
    shift = torch.from_numpy(draws.shift).to(device, torch.int64)
    flip = torch.from_numpy(draws.flip).to(device)[:, None]
    rows = torch.arange(height, device=device) - shift[:, :1]  # [B, H]
    columns = torch.arange(width, device=device) - shift[:, 1:]  # [B, W]
    columns = torch.where(flip, width - 1 - columns, columns)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None, :
    ]
    batch = torch.arange(len(images), device=device)[:, None, None]
    taken = images.permute(0, 2, 3, 1)[
        batch, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]  # [B, H, W, 3]
    return taken.mul_(inside[..., None]).permute(0, 3, 1, 2)


def _warp(images: Tensor, out: Tensor, draws: Draws) -> None:
    """Interpolate the pictures that are warped, into `out`."""
    if draws.warped is None or draws.inverse is None:
        return
    height, width = draws.size
    device = images.device
    at = torch.from_numpy(draws.warped).to(device).nonzero()[:, 0]
    maps = torch.from_numpy(draws.inverse[draws.warped]).to(device, torch.float32)
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32),
        torch.arange(width, device=device, dtype=torch.float32),
        indexing="ij",
    )
    points = torch.stack([x, y, torch.ones_like(x)]).flatten(1)  # [3, H W]
    found = maps @ points
    found = found[:, :2] / found[:, 2:]
    scale = torch.tensor([width, height], device=device, dtype=torch.float32)[:, None]
    grid = ((2 * found + 1) / scale - 1).transpose(1, 2).reshape(-1, height, width, 2)
    sampled = functional.grid_sample(images[at].float(), grid, align_corners=False)
    out[at] = sampled.round_().clamp_(0, 255).to(torch.uint8)


def erase_on_device(images: Tensor, draws: Draws) -> None:
    """Erase from [B, 3, H, W], in place: bytes, or floats of 0 to 1."""
    height, width = draws.size
    device = images.device
    box = torch.from_numpy(draws.erased).to(device, torch.int64)
    top, left, bottom, right = (side[:, None] for side in box.unbind(1))
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    inside = ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None, :]
    scale = 255 if images.is_floating_point() else 1
    if draws.fill is not None:
        for channel, value in zip(images.unbind(1), draws.fill, strict=True):
            channel.masked_fill_(inside, value / scale)
        return
    table = torch.from_numpy(noise_table(draws.size).copy()).to(device)
    start = torch.from_numpy(draws.noise).to(device, torch.int64)
    for first in range(0, len(images), _TOGETHER):
        some = slice(first, first + _TOGETHER)
        pixel = (y - top[some])[:, :, None] * (right - left)[some, :, None]
        pixel = start[some, None, None] + 3 * (pixel + (x - left[some])[:, None, :])
        pixel = torch.where(inside[some], pixel, 0)
        for number, channel in enumerate(images[some].unbind(1)):
            drawn = table[pixel + number].to(images.dtype)
            channel.copy_(torch.where(inside[some], drawn / scale if scale > 1 else drawn, channel))
