"""From a batch of uint8 in host memory to what the model takes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import torch

from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._engine import Batch, Made

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel, of pixels scaled to 0..1 (the values torchvision documents for its weights)."""


class Transfer:
    """Moves batches to a device; with a dtype, converts and normalises them there.

    Normalised is (pixel / 255 - mean) / std. On a GPU the next batch is sent by a stream of its own
    while the consumer works on the one before; a page-locked buffer is kept until its copy is done.

    Args:
        device: where to; None leaves them where they are.
        dtype: a floating dtype, or None for uint8.
        mean: of each channel, ImageNet's unless given.
        std: likewise.
    """

    def __init__(
        self,
        device: torch.device | None,
        dtype: torch.dtype | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        if dtype is None and (mean is not None or std is not None):
            raise UsageError(
                "mean and std need a dtype to normalise into, such as dtype=torch.float32"
            )
        if dtype is not None and not dtype.is_floating_point:
            raise UsageError(f"dtype={dtype}: give a floating dtype, or none for uint8")
        self._device = device
        self._dtype = dtype
        self._mean = _of_channels("mean", IMAGENET_MEAN if mean is None else mean, device)
        self._std = _of_channels("std", IMAGENET_STD if std is None else std, device)
        on_gpu = device is not None and device.type == "cuda"
        self._stream: torch.cuda.Stream | None = None
        if on_gpu:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's

    def over(self, batches: Iterable[Made]) -> Generator[Made, None, None]:
        """The batches on the device, in order; on a GPU one is always under way ahead."""
        if self._stream is None:
            for batch, corrupt in batches:
                yield Made(self._converted(batch), corrupt)
            return
        ahead: tuple[Made, torch.cuda.Event, Batch] | None = None
        for batch, corrupt in batches:
            sent, done = self._sent(batch, self._stream)
            if ahead is not None:
                yield self._arrived(*ahead)
            ahead = Made(sent, corrupt), done, batch
        if ahead is not None:
            yield self._arrived(*ahead)

    def _sent(self, batch: Batch, stream: torch.cuda.Stream) -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            moved = Batch(*(part.to(self._device, non_blocking=True) for part in batch))
            converted = self._converted(moved)
            return converted, stream.record_event()

    def _arrived(self, made: Made, done: torch.cuda.Event, host: Batch) -> Made:
        current = torch.cuda.current_stream(self._device)
        current.wait_event(done)
        for part in made.batch:
            part.record_stream(current)  # its memory belongs to the other stream's pool
        done.synchronize()  # the copy ran while the batch before was used
        del host  # so that its buffer may be written again only now
        return made

    def _converted(self, batch: Batch) -> Batch:
        if self._dtype is None:
            return batch
        images = ((batch.images.float() / 255 - self._mean) / self._std).to(self._dtype)
        return batch._replace(images=images)


def _of_channels(name: str, values: Sequence[float], device: torch.device | None) -> torch.Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32, device=device)
    if tensor.shape != (3,):
        raise UsageError(f"{name}={values!r}: one number for each of the three channels is needed")
    return tensor.view(1, 3, 1, 1)
