"""What passes between workers, loader and consumer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch


class _Parts(NamedTuple):
    images: Any
    labels: torch.Tensor
    rows: torch.Tensor


class Batch(_Parts):
    """What a loader yields; the consumer's for as long as they hold it.

    Unpacks to three: images [B, 3, H, W] uint8 RGB (or what the transform returns, stacked, or
    converted to the dtype asked for); labels int64 [B]; rows int64 [B], rows of the store, always
    in host memory. `columns` has further numbers by name, int64 or float64 [B] each.

    Images lie in channels-last memory, as they are decoded, unless `memory_format` was given: their
    shape is [B, 3, H, W], and `images.view(B, -1)` needs `images.contiguous()` first.
    """

    columns: Mapping[str, torch.Tensor]

    def __new__(
        cls,
        images: Any,
        labels: torch.Tensor,
        rows: torch.Tensor,
        columns: Mapping[str, torch.Tensor] | None = None,
    ) -> Self:
        """`columns` may be left out."""
        batch = super().__new__(cls, images, labels, rows)
        batch.columns = {} if columns is None else columns
        return batch

    def _replace(self, **changes: Any) -> Self:
        """As a named tuple's; columns stay."""
        parts = self._asdict() | changes
        return type(self)(columns=self.columns, **parts)

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """The batch with images, labels and columns on `device`; rows stay in host memory."""

        def moved(part: Any) -> Any:
            return part.to(device, non_blocking=non_blocking)

        columns = {name: moved(values) for name, values in self.columns.items()}
        return Batch(_each(moved, self.images), moved(self.labels), self.rows, columns)

    def __repr__(self) -> str:
        columns = "".join(f", {name}" for name in self.columns)
        return f"Batch({len(self.rows)} samples: images {_words(self.images)}{columns})"


def _each(change: Any, images: Any) -> Any:
    """`change` of every tensor in what a transform gave."""
    if isinstance(images, torch.Tensor):
        return change(images)
    if isinstance(images, Mapping):
        return {name: _each(change, part) for name, part in images.items()}
    if isinstance(images, list | tuple):
        parts = [_each(change, part) for part in images]
        if isinstance(images, list):
            return parts
        return type(images)(*parts) if hasattr(images, "_fields") else tuple(parts)
    return images


def _words(images: Any) -> str:
    if not isinstance(images, torch.Tensor):
        return type(images).__name__
    dtype = str(images.dtype).removeprefix("torch.")
    dense = images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last)
    memory = ", channels-last" if dense and not images.is_contiguous() else ""
    return f"{dtype} {list(images.shape)} on {images.device}{memory}"


class Damaged(NamedTuple):
    """A damaged sample that was left out of its batch."""

    slot: int
    """In the task."""
    position: int
    """In the dataset."""


class Timings(NamedTuple):
    """What a batch took: seconds of all its workers together, except for the transfer's."""

    cached: int = 0
    """Samples whose pixels came from a cache."""
    gather: float = 0.0
    """From that cache."""
    decode: float = 0.0
    """Reading, checking, decoding and resizing the others."""
    transform: float = 0.0
    transfer: float = 0.0
    """To the device, converting and normalising there."""

    def plus(self, other: Timings) -> Timings:
        """Both together."""
        return Timings(
            self.cached + other.cached,
            self.gather + other.gather,
            self.decode + other.decode,
            self.transform + other.transform,
            self.transfer + other.transfer,
        )


class BatchResult(NamedTuple):
    """What an engine makes of a task: the images of its whole samples, in the task's order."""

    images: Any
    """uint8 [B, 3, H, W], or what the transform returns, stacked."""
    damaged: list[Damaged]
    timings: Timings = Timings()
