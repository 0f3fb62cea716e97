"""A compact backbone of our own: pictures to embeddings, with torch alone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lmdb_reid.errors import UsageError

_STAGES = 4
_LEAST_WIDTH = 8
"""Below it oneDNN (torch 2.13, processors with AVX2 and no AVX-512) dies in the backward pass of a
strided convolution whose memory is channels last."""


class Embedder(nn.Module):
    """Residual stages, each half as fine and twice as wide as the one before, averaged over the
    picture and projected to an embedding.

    With the defaults 1.3 million parameters. Takes any height and width. Memory is laid out as the
    loaders do it (channels last).

    Args:
        embedding: length of an embedding.
        width: channels of the first stage, 8 or more.

    Raises:
        UsageError: an embedding under 1, or a width under 8.
    """

    def __init__(self, embedding: int = 128, width: int = 32) -> None:
        super().__init__()
        if embedding < 1 or width < _LEAST_WIDTH:
            raise UsageError(
                f"embedding={embedding}, width={width}: give an embedding from 1 up, and a width"
                f" from {_LEAST_WIDTH} up"
            )
        widths = [width << stage for stage in range(_STAGES)]
        self.stem = nn.Sequential(_convolution(3, width, kernel=3, stride=2), nn.ReLU())
        self.stages = nn.Sequential(
            *(
                _Residual(before, after)
                for before, after in zip([width, *widths], widths, strict=False)
            )
        )
        self.project = nn.Linear(widths[-1], embedding)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings, float [B, D], not normalised, of images [B, 3, H, W].

        uint8 images are brought to about -2..2 first; of any other dtype they are taken as they
        are.
        """
        if images.dtype == torch.uint8:
            images = (images.to(self.project.weight.dtype) - 127.5) / 63.75
        features = self.stages(self.stem(images))
        # Not adaptive_avg_pool2d, whose gradient on CUDA depends on the order of atomic additions.
        return self.project(features.mean((2, 3)))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """Two convolutions beside a shortcut; halves height and width."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = _convolution(before, after, kernel=3, stride=2)
        self.second = _convolution(after, after, kernel=3, stride=1)
        self.shortcut = _convolution(before, after, kernel=1, stride=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inner = self.second(functional.relu(self.first(images)))
        return functional.relu(inner + self.shortcut(images))


def _convolution(before: int, after: int, *, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
    )
