"""How a loader is made: its settings, checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from lmdb_reid._names import did_you_mean
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
                raise UsageError(f"{name} must be a whole number, at least {least}, got {value!r}")
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
        if self.dtype is not None:
            dtype_of(self.dtype)
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


_FLOATS = ("float32", "float16", "bfloat16", "float64")
_OTHER_NAMES = {
    "float": "float32",
    "fp32": "float32",
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "double": "float64",
    "fp64": "float64",
}


def dtype_of(given: torch.dtype | str) -> torch.dtype:
    """A floating dtype, from itself or its name, such as "float16".

    Raises:
        UsageError: neither; says the nearest name.
    """
    dtype: object = given
    if isinstance(given, str):
        name = given.removeprefix("torch.")
        dtype = getattr(torch, _OTHER_NAMES.get(name, name), None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        hint = did_you_mean(given, _FLOATS) if isinstance(given, str) else ""
        raise UsageError(
            f"dtype must be a floating dtype, such as torch.float32, or left out for uint8; got"
            f" {given!r}.{hint}"
        )
    return dtype


def device_of(given: str | torch.device | int | None) -> torch.device | None:
    """A device, from itself or its name.

    Raises:
        UsageError: no device of this name, no such GPU, or a device that this torch cannot use;
            says the nearest name.
    """
    if given is None:
        return None
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError):
        gpu = isinstance(given, str) and given.lower().rstrip("0123456789:") in _GPUS
        hint = " Did you mean 'cuda'?" if gpu else did_you_mean(str(given), ("cpu", "cuda", "mps"))
        raise UsageError(
            f"device must be 'cpu', 'cuda', 'cuda:0' or another of torch's, got {given!r}.{hint}"
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device={str(given)!r}: this torch sees no GPU (lmdb-reid doctor prints what it sees)"
        )
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and device.index is not None and device.index >= count:
        raise UsageError(
            f"device={str(given)!r}: the last GPU that this torch sees is 'cuda:{count - 1}'"
        )
    if device.type not in ("cpu", "cuda", "meta"):
        try:
            torch.empty(0, device=device)
        except Exception as error:  # each kind of device has errors of its own
            why = str(error).partition("\n")[0]
            raise UsageError(f"device={str(given)!r} cannot be used here: {why}") from None
    return device


_GPUS = ("gpu", "nvidia", "accelerator")


def _check_choice(name: str, value: object, words: Sequence[str]) -> None:
    if value not in words:
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        raise UsageError(
            f"{name} must be one of {', '.join(map(repr, words))}; got {value!r}.{hint}"
        )
