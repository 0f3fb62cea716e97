"""How a loader is made: its settings, checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from lmdb_reid.errors import UsageError

EngineName = Literal["auto", "threads", "processes", "dataloader"]
OnError = Literal["raise", "skip"]
StartMethod = Literal["forkserver", "fork", "spawn"]
Normalize = Literal["imagenet"] | tuple[Sequence[float], Sequence[float]]

IMAGENET: tuple[tuple[float, ...], tuple[float, ...]] = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)
"""(mean, std) per channel, of pixels scaled to 0..1: the values torchvision documents for its
weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    """Who makes batches, and how many ahead.

    Raises:
        UsageError: a value outside its range; names it.
    """

    engine: EngineName = "auto"
    num_workers: int = 1
    """Threads or processes; 0 decodes in the caller's thread."""
    prefetch: int = 3
    """Batches made ahead of the consumer, in total."""
    drop_last: bool = False
    seed: int = 0
    on_error: OnError = "raise"
    start_method: StartMethod = "forkserver"
    pin_memory: bool = False
    persistent_workers: bool = True

    def __post_init__(self) -> None:
        for name, least in (("num_workers", 0), ("prefetch", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or int(value) < least:
                raise UsageError(f"{name} must be a whole number from {least} up; got {value!r}")
        _check_choice("engine", self.engine, get_args(EngineName))
        _check_choice("on_error", self.on_error, get_args(OnError))
        _check_choice("start_method", self.start_method, get_args(StartMethod))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """Where batches go, and what they become there.

    Images of a floating dtype are pixel / 255; with (mean, std) they are (pixel / 255 - mean) /
    std, per channel.

    Raises:
        UsageError: a value that does not fit.
    """

    device: torch.device | None = None
    """None leaves batches in host memory."""
    dtype: torch.dtype | None = None
    """None is uint8, or float32 where `normalize` is given."""
    normalize: Normalize | None = None
    memory_format: torch.memory_format | None = None
    decode: Literal["cpu", "cuda"] = "cpu"
    resident: bool = False

    def __post_init__(self) -> None:
        if self.normalize is not None and self.dtype is None:
            object.__setattr__(self, "dtype", torch.float32)
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise UsageError(
                f"dtype must be a floating dtype, or left out for uint8; got {self.dtype}"
            )
        if self.memory_format not in (None, torch.channels_last, torch.contiguous_format):
            raise UsageError(
                "memory_format must be torch.channels_last or torch.contiguous_format; got"
                f" {self.memory_format}"
            )
        _check_choice("decode", self.decode, ("cpu", "cuda"))
        _ = self.moments

    @property
    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """(mean, std) of each channel, of pixels in 0..1; None leaves them in 0..1."""
        if self.normalize is None:
            return None
        if isinstance(self.normalize, str):
            _check_choice("normalize", self.normalize, ("imagenet",))
            return IMAGENET
        try:
            mean, std = (tuple(float(value) for value in part) for part in self.normalize)
        except (TypeError, ValueError):
            raise UsageError(
                f"normalize must be 'imagenet' or (mean, std); got {self.normalize!r}"
            ) from None
        whole = len(mean) == len(std) == 3 and all(map(math.isfinite, mean + std))
        if not whole or not all(std):
            raise UsageError(
                "normalize must have one mean and one std, not 0, for each of three channels; got"
                f" {self.normalize!r}"
            )
        return mean, std


def _check_choice(name: str, value: object, words: Sequence[str]) -> None:
    if value not in words:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, words))}; got {value!r}")
