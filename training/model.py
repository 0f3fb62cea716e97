"""A compact backbone of our own: pictures to embeddings, with torch alone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lmdb_reid.errors import UsageError

_STAGES = 4


class Embedder(nn.Module):
    """Residual stages, each half as fine and twice as wide as the one before, averaged over the
    picture and projected to an embedding.

    With the defaults 1.3 million parameters. Takes any height and width.

    Args:
        embedding: length of an embedding.
        width: channels of the first stage.

    Raises:
        UsageError: an embedding or a width under 1.
    """

    def __init__(self, embedding: int = 128, width: int = 32) -> None:
        super().__init__()
        if embedding < 1 or width < 1:
            raise UsageError(f"embedding and width must be 1 or more; got {embedding} and {width}")
        widths = [width << stage for stage in range(_STAGES)]
        self.stem = nn.Sequential(_convolution(3, width, kernel=3, stride=2), nn.ReLU())
        self.stages = nn.Sequential(
            *(
                _Residual(before, after)
                for before, after in zip([width, *widths], widths, strict=False)
            )
        )
        self.project = nn.Linear(widths[-1], embedding)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings, float [B, D], not normalised, of images, floats [B, 3, H, W] as a loader
        normalises them.

        Raises:
            UsageError: images of whole numbers.
        """
        if not images.is_floating_point():
            raise UsageError(
                f"images must be floats, got {images.dtype}. Pass normalize= to the loader,"
                " or to Loading"
            )
        # Loaders give channels-last memory, which is faster on CUDA. On a CPU oneDNN (torch 2.13,
        # with AVX-512 and without) kills the process in the backward pass of a narrow strided
        # convolution of such memory.
        memory = torch.channels_last if images.is_cuda else torch.contiguous_format
        images = images.contiguous(memory_format=memory)
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
