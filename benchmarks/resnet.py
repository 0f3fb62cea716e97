"""ResNet-50 (He et al. 2015, "Deep Residual Learning for Image Recognition", table 1), by hand.

The stride of a stage stands in its 3x3 convolution, as in torchvision's, which has the same
25,557,032 parameters at 1,000 classes. The model that a loader has to keep up with.
"""

from __future__ import annotations

import torch
from torch import nn

_BLOCKS, _WIDER = (3, 4, 6, 3), 4


class _Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = width * _WIDER
        self.inner = nn.Sequential(
            *_convolution(before, width, 1, 1),
            nn.ReLU(inplace=True),
            *_convolution(width, width, 3, stride),
            nn.ReLU(inplace=True),
            *_convolution(width, after, 1, 1),
        )
        same = before == after and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_convolution(before, after, 1, stride))
        )
        self.out = nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.inner(images) + self.shortcut(images))
        return found


def resnet50(classes: int) -> nn.Sequential:
    """Pictures, floats [B, 3, H, W], to scores [B, classes]."""
    stem = (*_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    stages: list[nn.Module] = []
    before = 64
    for stage, count in enumerate(_BLOCKS):
        width = 64 << stage
        for block in range(count):
            stages.append(_Bottleneck(before, width, 2 if stage and not block else 1))
            before = width * _WIDER
    end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
    return nn.Sequential(*stem, *stages, *end)


def _convolution(before: int, after: int, kernel: int, stride: int) -> tuple[nn.Module, nn.Module]:
    layer = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    return layer, nn.BatchNorm2d(after)
