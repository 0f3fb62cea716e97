"""From images in host memory to what the model takes: the one place that moves, converts and
normalises.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from contextlib import closing
from typing import Any, NamedTuple

import torch

from lmdb_reid.augment import Draws, erase, finish, place, place_on_device
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._ahead import run_ahead
from lmdb_reid.loaders._batch import Batch, Timings
from lmdb_reid.loaders._batch_transform import BatchTransform, transform_batch
from lmdb_reid.loaders._config import DeviceConfig
from lmdb_reid.loaders._pinning import can_pin
from lmdb_reid.loaders._ring import Ring, tensor_of
from lmdb_reid.loaders._scaling import Scaling, copy_pixels
from lmdb_reid.loaders._stream import SideStream, side_stream
from lmdb_reid.sampling import Task

_FLOAT_BYTES = 4
_TOGETHER = 2  # pictures converted at once: of 256x128 they fill the second-level cache
_KEPT = 3  # float buffers that the consumer may hold before the ring is out
_AHEAD = 2  # batches that wait on a GPU, beside the consumer's own


class Made(NamedTuple):
    """A batch with labels, and what it took."""

    batch: Batch
    timings: Timings
    draws: Draws | None = None
    """What is still to be done to its images."""
    task: Task | None = None
    """Where it stands in the epoch."""


class Transfer:
    """Moves batches to a device; with a dtype, converts and normalises them there.

    On a GPU a thread sends batches and works on them, in a stream of its own, while the consumer
    works on those before: what it hands over is done. A page-locked buffer is kept until its copy
    is. On a CPU images are converted in the consumer's thread, into buffers that come back when the
    consumer has let them go.

    Args:
        config: where to, and into what.
        made_on: where the engine's images are.
        places: whether geometry is still to be done, since the engine has no workers that do it.
        erases: whether erasing comes with geometry, and not last.
        pin: whether what is converted in host memory is page-locked.
        batch_transform: a user's function of whole batches, called last.
    """

    def __init__(
        self,
        config: DeviceConfig,
        made_on: torch.device,
        *,
        places: bool = False,
        erases: bool = True,
        pin: bool = False,
        batch_transform: BatchTransform | None = None,
    ) -> None:
        self._places = places
        self._erases = erases
        self._pin = pin
        self._batch_transform = batch_transform
        self.device = self._device = config.device or made_on
        """Where batches are in the end."""
        self._dtype = config.dtype
        self._memory_format = config.memory_format
        self._moves = self._device != made_on
        converts = self._dtype is not None or self._memory_format is not None
        self._changes_something = (
            self._moves
            or converts
            or places
            or batch_transform is not None
            or config.device is not None
        )
        self._scaling = Scaling(config.moments, self._device)
        self._to_unit = Scaling(None, self._device)
        self._ring: Ring | None = None
        self._made = self._taken = 0  # batches of the pass at hand, on a GPU
        self._stream = side_stream(self._device)

    @property
    def dtype_name(self) -> str | None:
        """What images are converted into; None leaves them as they are."""
        return None if self._dtype is None else str(self._dtype).removeprefix("torch.")

    @property
    def copies(self) -> list[str]:
        """What it does to each batch, in words."""
        steps = [f"copy to {self._device}"] if self._moves else []
        if self._dtype is not None:
            how = "normalise" if self._scaling.normalises else "scale to 0..1"
            steps.append(f"convert to {self.dtype_name} and {how}")
        if self._memory_format == torch.contiguous_format:
            steps.append("make contiguous")
        if self._batch_transform is not None:
            steps.append("batch_transform")
        return steps

    def ready(self) -> int | None:
        """Batches that are on the GPU and wait for the consumer; None where none is sent ahead."""
        return None if self._stream is None else self._made - self._taken

    def over(self, batches: Generator[Made, None, None]) -> Generator[Made, None, None]:
        """The batches on the device, in order; closes `batches` at its own end."""
        if self._stream is not None:
            yield from self._ahead(batches, self._stream)
            return
        with closing(batches):
            if not self._changes_something:
                yield from batches
                return
            for made in batches:
                began = time.perf_counter()
                batch = self._converted(made, made.batch.to(self._device))
                yield _with_transfer(made, batch, time.perf_counter() - began)
                del made, batch  # or its buffer could not return while the next is waited for

    def _ahead(
        self, batches: Generator[Made, None, None], stream: SideStream
    ) -> Generator[Made, None, None]:
        self._made = self._taken = 0
        number, consumers = stream.consumers_number(), stream.consumers()
        sent = run_ahead(self._sent(batches, stream, consumers), _AHEAD, name="lmdb_reid-send")
        with closing(sent):
            for made in sent:
                if stream.consumers_number() != number:
                    made.batch.record_stream(stream.consumers())
                self._taken += 1
                yield made
                del made

    def _sent(
        self,
        batches: Generator[Made, None, None],
        stream: SideStream,
        consumers: torch.cuda.Stream,
    ) -> Generator[Made, None, None]:
        """Batches that are done on the device; run by the thread that sends.

        What lets go of the interpreter's lock is done here, since whoever does has to wait for it
        again: `next` should not. To free a tensor is such a thing, so batches are kept until the
        consumer has the next one.
        """
        kept: deque[Batch] = deque(maxlen=_AHEAD + 1)
        with closing(batches):
            while True:
                with stream.entered():  # not around the yield: it is the thread's
                    made = next(batches, None)
                    if made is None:
                        return
                    begun = stream.mark()
                    moved = made.batch.to(self._device, non_blocking=True)
                    batch = self._converted(made, moved)
                    batch.record_stream(consumers)
                    done = stream.mark()
                done.synchronize()
                made = _with_transfer(made, batch, begun.elapsed_time(done) / 1e3)
                kept.append(batch)
                del moved, batch
                self._made += 1
                yield made
                del made

    def _converted(self, made: Made, batch: Batch) -> Batch:
        images = batch.images
        if self._dtype is not None and not isinstance(images, torch.Tensor):
            raise UsageError(
                f"dtype={self._dtype} converts images that are one tensor; the transform"
                f" returns {type(images).__name__}. Remove dtype"
            )
        if self._places and made.draws is not None:
            images = _placed(images, made.draws, erases=self._erases)
        if self._dtype is not None:
            images = self._floats(images, made).to(self._dtype)
        elif self._batch_transform is not None:
            images = self._last_steps(images, made)
        if self._memory_format is not None and isinstance(images, torch.Tensor):
            images = images.contiguous(memory_format=self._memory_format)
        if self._pin and images is not batch.images and images.device.type == "cpu" and can_pin():
            images = images.pin_memory()  # itself, where nothing behind the floats made new memory
        return batch if images is batch.images else batch._replace(images=images)

    def _floats(self, images: torch.Tensor, made: Made) -> torch.Tensor:
        """float32 of uint8 images (or of a transform's floats), augmented and scaled as asked."""
        colours = made.draws is not None and made.draws.colour is not None
        in_one_go = not colours and self._batch_transform is None
        kept = self._kept_floats(images)
        floats = images.to(torch.float32, copy=True) if kept is None else kept
        for some in _parts(floats):
            part = floats[some]
            if kept is not None:
                copy_pixels(part, images[some])
            (self._scaling if in_one_go else self._to_unit).apply(part, of=255)
        if in_one_go:
            return floats
        if made.draws is not None and colours:
            finish(floats, made.draws, erase=False)
        images = self._last_steps(floats, made)
        for some in _parts(images):
            self._scaling.apply(images[some], of=1)
        return images

    def _last_steps(self, images: Any, made: Made) -> Any:
        """A user's own function, then erasing, on uint8 or floats of 0..1."""
        if self._batch_transform is not None and made.task is not None:
            images = transform_batch(self._batch_transform, images, made.task)
        if made.draws is not None:
            erase(images, made.draws)
        return images

    def _kept_floats(self, images: torch.Tensor) -> torch.Tensor | None:
        """Memory for these images as float32 that was used before, channels-last: fresh memory
        costs its page faults, which take longer than the arithmetic.
        """
        if images.device.type != "cpu" or images.ndim != 4 or not images.numel():
            return None
        count, channels, height, width = images.shape
        shape = (count, height, width * channels * _FLOAT_BYTES)
        if self._ring is None or not self._ring.holds(shape):
            self._ring = Ring(shape, limit=_KEPT, pin=self._pin)
        memory = self._ring.lend()[:count].reshape(-1)
        floats = tensor_of(memory).view(torch.float32)
        return floats.view(count, height, width, channels).permute(0, 3, 1, 2)


def _parts(images: torch.Tensor) -> list[slice]:
    """A batch in host memory in parts that stay in the processor's cache from step to step."""
    step = _TOGETHER if images.device.type == "cpu" and images.ndim == 4 else max(len(images), 1)
    return [slice(start, start + step) for start in range(0, len(images), step)]


def _placed(images: torch.Tensor, draws: Draws, *, erases: bool) -> torch.Tensor:
    """Geometry of a batch that no worker did."""
    if images.device.type != "cpu":
        return place_on_device(images, draws, erase=erases)
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()  # the batch's own memory, as a rule
    place(pixels, draws, erase=erases)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _with_transfer(made: Made, batch: Batch, seconds: float) -> Made:
    return Made(batch, made.timings._replace(transfer=seconds))
