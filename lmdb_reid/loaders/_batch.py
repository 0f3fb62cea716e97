"""What passes between workers, loader and consumer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch

from lmdb_reid._arguments import known_arguments
from lmdb_reid._names import guessed
from lmdb_reid.errors import UnsupportedError, UsageError
from lmdb_reid.loaders._guesses import BATCH
from lmdb_reid.pictures import Picture, contact_sheet
from lmdb_reid.schema import Pixels, Rows


class _Parts(NamedTuple):
    images: Any
    labels: torch.Tensor
    rows: torch.Tensor


Names = Callable[[Rows], list[str]]
"""Ids of positions, as `Crops.names` gives them."""


class Batch(_Parts):
    """What a loader yields; the consumer's for as long as they hold it.

    Unpacks to three: images [B, 3, H, W] uint8 RGB (or what the transform returns, stacked, or
    converted to the dtype asked for); labels int64 [B]; rows int64 [B], rows of the store, always
    in host memory. `columns` has further numbers by name, int64 or float64 [B] each.

    Images lie in channels-last memory, as they are decoded, unless `memory_format` was given: their
    shape is [B, 3, H, W], and `images.view(B, -1)` needs `images.contiguous()` first.
    """

    columns: Mapping[str, torch.Tensor]
    _named: tuple[Names, Rows] | None

    def __new__(
        cls,
        images: Any,
        labels: torch.Tensor,
        rows: torch.Tensor,
        columns: Mapping[str, torch.Tensor] | None = None,
        named: tuple[Names, Rows] | None = None,
    ) -> Self:
        """`columns` may be left out, and `named`: what names positions, and those of the batch."""
        batch = super().__new__(cls, images, labels, rows)
        batch.columns = {} if columns is None else columns
        batch._named = named
        return batch

    def _replace(self, **changes: Any) -> Self:
        """As a named tuple's; columns and ids stay."""
        parts = self._asdict() | changes
        return type(self)(columns=self.columns, named=self._named, **parts)

    @property
    def ids(self) -> list[str]:
        """The sample id, or the path, of each image, looked up at each call.

        Raises:
            UsageError: the batch was not made by a loader.
        """
        if self._named is None:
            raise UsageError("ids must be asked of a loader's batch; this one was made by hand.")
        names, positions = self._named
        return names(positions)

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """The batch with images, labels and columns on `device`; rows stay in host memory."""
        return self._changed(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch with images, labels and columns in page-locked memory, as torch's DataLoader
        asks for it; the batch itself if there is no accelerator.
        """
        if not torch.cuda.is_available():
            return self
        return self._changed(lambda part: part.pin_memory() if part.device.type == "cpu" else part)

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """As torch's `Tensor.record_stream`, for all that lies on a GPU: once let go, its memory is
        left alone until what `stream` does with it is done.
        """

        def record(part: torch.Tensor) -> torch.Tensor:
            if part.device.type == "cuda":
                part.record_stream(stream)
            return part

        self._changed(record)

    @known_arguments()
    def sheet(self, *, columns: int | None = None) -> Picture:
        """The images as a contact sheet, each with its label; floats of 0..1 as they are, others
        from their least value to their greatest.

        Raises:
            UsageError: the images are not one tensor [B, 3, H, W].
            MissingExtraError: Pillow is not installed.
        """
        captions = [f"label {label}" for label in self.labels.tolist()]
        return contact_sheet(
            _pixels(self.images), captions, columns=columns, title=f"batch of {len(captions):,}"
        )

    def show(self) -> None:
        """Show `sheet()`: in a notebook below the cell, else in the system's viewer."""
        self.sheet().show()

    def _changed(self, change: Callable[[Any], Any]) -> Batch:
        columns = {name: change(values) for name, values in self.columns.items()}
        images, labels = _each(change, self.images), change(self.labels)
        return Batch(images, labels, self.rows, columns, self._named)

    def __repr__(self) -> str:
        labels = self.labels.tolist()
        spread = f"labels {min(labels)}..{max(labels)}" if labels else "no labels"
        columns = "".join(f", {name}" for name in self.columns)
        return f"Batch({len(self.rows)} images {_words(self.images)}, {spread}{columns})"

    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getitem__(self, place: Any) -> Any:
            if isinstance(place, str):
                raise UnsupportedError(
                    f"a batch unpacks to images, labels, rows; got [{place!r}]. {_answer(place)}"
                )
            return super().__getitem__(place)

        def __getattr__(self, name: str) -> Any:
            return guessed(self, name, BATCH)


def _answer(name: str) -> str:
    if name in ("images", "labels", "rows", "columns", "ids"):
        return f"Use batch.{name}."
    return BATCH.answers.get(name) or f'Use batch.images, or batch.columns["{name}"].'


def _pixels(images: Any) -> list[Pixels]:
    """uint8 [H, W, 3] of each image."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[1] != 3:
        raise UsageError(
            f"images must be one tensor [B, 3, H, W] to be shown, got {_words(images)}."
        )
    if images.dtype != torch.uint8:
        floats = images.detach().to("cpu", torch.float32)
        least, most = (float(floats.min()), float(floats.max())) if floats.numel() else (0.0, 1.0)
        if least < 0 or most > 1:
            floats = (floats - least) / max(most - least, 1e-12)
        images = (floats * 255).round().to(torch.uint8)
    return list(images.cpu().permute(0, 2, 3, 1).contiguous().numpy())


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
    memory = " channels-last" if dense and not images.is_contiguous() else ""
    where = "" if images.device.type == "cpu" else f" on {images.device}"
    return f"{dtype} {list(images.shape[1:])}{memory}{where}"


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
