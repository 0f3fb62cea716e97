"""From a batch of uint8 in host memory to what the model takes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._engine import Batch, Made

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel, of pixels scaled to 0..1 (the values torchvision documents for its weights)."""


class _Sent(NamedTuple):
    """A batch on its way to a GPU."""

    made: Made
    host: Batch
    """Kept until the copy is done: then its buffer may be written again."""
    begun: Any
    done: Any
    """CUDA events."""


class Transfer:
    """Moves batches to a device; with a dtype, converts and normalises them there.

    Normalised is (pixel / 255 - mean) / std. On a GPU the next batch is sent by a stream of its own
    while the consumer works on the one before; a page-locked buffer is kept until its copy is done.

    Args:
        device: where to; None leaves them where they are.
        dtype: a floating dtype, or None for uint8.
        mean: of each channel, ImageNet's unless given.
        std: likewise.
        memory_format: torch.channels_last (which they are decoded in) or torch.contiguous_format;
            None leaves them as they are.
        made_on: where batches are when they come, if not in host memory.
    """

    def __init__(
        self,
        device: torch.device | None,
        dtype: torch.dtype | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        memory_format: torch.memory_format | None = None,
        *,
        made_on: torch.device | None = None,
    ) -> None:
        if dtype is None and (mean is not None or std is not None):
            raise UsageError(
                "mean and std need a dtype to normalise into, such as dtype=torch.float32"
            )
        if dtype is not None and not dtype.is_floating_point:
            raise UsageError(f"dtype={dtype}: give a floating dtype, or none for uint8")
        if memory_format not in (None, torch.channels_last, torch.contiguous_format):
            raise UsageError(
                f"memory_format={memory_format}: give torch.channels_last or"
                " torch.contiguous_format"
            )
        moves = device is not None and device.type != "cpu"
        self._changes_something = moves or dtype is not None or memory_format is not None
        self._device = device
        self._dtype = dtype
        self._memory_format = memory_format
        where = device or made_on
        self._mean = _of_channels("mean", IMAGENET_MEAN if mean is None else mean, where)
        self._std = _of_channels("std", IMAGENET_STD if std is None else std, where)
        on_gpu = device is not None and device.type == "cuda"
        self._stream: torch.cuda.Stream | None = None
        if on_gpu:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's

    def over(self, batches: Iterable[Made]) -> Generator[Made, None, None]:
        """The batches on the device, in order; on a GPU one is always under way ahead."""
        if self._stream is None:
            if not self._changes_something:
                yield from batches
                return
            for made in batches:
                began = time.perf_counter()
                batch = self._converted(self._moved(made.batch))
                yield _with_transfer(made, batch, time.perf_counter() - began)
                del made, batch  # or its buffer could not return while the next is waited for
            return
        ahead: _Sent | None = None
        for made in batches:
            sent = self._sent(made, self._stream)
            if ahead is not None:
                yield self._arrived(ahead)
            ahead = sent
        if ahead is not None:
            yield self._arrived(ahead)

    def _moved(self, batch: Batch) -> Batch:
        """On a device that has no streams (a GPU's way is `_sent`)."""
        if self._device is None or self._device.type == "cpu":
            return batch
        return Batch(*(part.to(self._device) for part in batch))

    def _sent(self, made: Made, stream: torch.cuda.Stream) -> _Sent:
        with torch.cuda.stream(stream):
            begun = stream.record_event(_timed_event())
            moved = Batch(*(part.to(self._device, non_blocking=True) for part in made.batch))
            converted = self._converted(moved)
            done = stream.record_event(_timed_event())
        return _Sent(made._replace(batch=converted), made.batch, begun, done)

    def _arrived(self, sent: _Sent) -> Made:
        current = torch.cuda.current_stream(self._device)
        current.wait_event(sent.done)
        for part in sent.made.batch:
            part.record_stream(current)  # its memory belongs to the other stream's pool
        sent.done.synchronize()  # the copy ran while the batch before was used
        return _with_transfer(sent.made, sent.made.batch, sent.begun.elapsed_time(sent.done) / 1e3)

    def _converted(self, batch: Batch) -> Batch:
        images = batch.images
        if self._dtype is not None and not isinstance(images, torch.Tensor):
            raise UsageError(
                f"dtype={self._dtype} converts images that are one tensor; the transform gives"
                f" {type(images).__name__}: leave dtype out"
            )
        if self._dtype is not None:
            images = ((images.float() / 255 - self._mean) / self._std).to(self._dtype)
        if self._memory_format is not None and isinstance(images, torch.Tensor):
            images = images.contiguous(memory_format=self._memory_format)
        return batch if images is batch.images else batch._replace(images=images)


def _timed_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's


def _with_transfer(made: Made, batch: Batch, seconds: float) -> Made:
    return made._replace(batch=batch, spent=made.spent._replace(transfer=seconds))


def _of_channels(name: str, values: Sequence[float], device: torch.device | None) -> torch.Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32, device=device)
    if tensor.shape != (3,):
        raise UsageError(f"{name}={values!r}: one number for each of the three channels is needed")
    return tensor.view(1, 3, 1, 1)
