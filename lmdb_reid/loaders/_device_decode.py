"""The engine that sends JPEG bytes to a GPU and decodes them there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import CorruptSampleError, UsageError
from lmdb_reid.loaders._engine import Batch, Corrupt, Made, Spent, Task

Decoder = Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]
"""From the bytes of JPEGs, uint8 [n] each in host memory, to pixels, uint8 [3, H, W] RGB each on
the device; raises RuntimeError for bytes that it cannot decode."""


def cuda_decoder(device: torch.device) -> Decoder:
    """The JPEG decoder of torchvision or of nvImageCodec, whichever is there: both are NVIDIA's
    nvJPEG, whose pixels differ a little from libjpeg-turbo's.

    Raises:
        UsageError: neither is.
    """
    try:
        from torchvision.io import decode_jpeg
    except Exception:  # beside a torch that it does not fit it raises whatever comes
        pass
    else:
        return lambda jpegs: decode_jpeg(jpegs, "RGB", device)
    try:
        from nvidia import nvimgcodec
    except ImportError:
        raise UsageError(
            "decode='cuda' needs a JPEG decoder for the GPU: pip install"
            " nvidia-nvimgcodec-cu12[all] (or a torchvision that fits this torch)"
        ) from None
    decoder = nvimgcodec.Decoder(device_id=device.index or 0)

    def decode(jpegs: list[torch.Tensor]) -> list[torch.Tensor]:
        images = decoder.decode([jpeg.numpy() for jpeg in jpegs])
        if any(image is None for image in images):
            raise RuntimeError("nvImageCodec cannot decode an image of this batch")
        return [torch.utils.dlpack.from_dlpack(image).permute(2, 0, 1) for image in images]

    return decode


class DeviceDecodeEngine:
    """Reads and checks JPEG bytes in one thread, and decodes them on the device; see `Engine`.

    Images of other sizes than the dataset's are resized there as `codec.resize` does it: an axis
    that shrinks is averaged, one that grows interpolated.

    Args:
        dataset: what to read; without a transform or cache, whose pixels would be in host memory.
        decoder: see `Decoder`.
        device: where the pixels will be.
        prefetch: batches made ahead.
        skip: leave damaged samples out instead of raising.
    """

    def __init__(
        self,
        dataset: ReIDDataset,
        decoder: Decoder,
        *,
        device: torch.device,
        prefetch: int,
        skip: bool,
    ) -> None:
        self._dataset = dataset
        self._decoder = decoder
        self._device = device
        self._prefetch = prefetch
        self._skip = skip
        self._waiting: deque[Future[tuple[Made, Any]]] = deque()
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's

    def run(self, tasks: Sequence[Task]) -> Generator[Made, None, None]:
        """One pass; see `Engine`."""
        waiting = self._waiting = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="lmdb_reid-device-decode") as pool:
            try:
                for number in range(len(tasks) + self._prefetch):
                    if number < len(tasks):
                        waiting.append(pool.submit(self._made, tasks[number]))
                    if number >= self._prefetch:
                        yield self._arrived(*waiting.popleft().result())
            finally:
                for future in waiting:
                    future.cancel()

    def ready(self) -> int:
        """See `Engine`."""
        return sum(future.done() for future in self._waiting)

    def buffers(self) -> None:
        """See `Engine`: torch's allocator keeps the device's."""
        return None

    def close(self) -> None:
        """Nothing outlives a pass."""

    def _made(self, task: Task) -> tuple[Made, Any]:
        began = time.perf_counter()
        jpegs, corrupt = self._read(task)
        items = np.delete(task.indices, [sample.place for sample in corrupt])
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            images = self._decoded(items, jpegs)
            labels = torch.from_numpy(self._dataset.labels[items]).to(self._device)
            rows = torch.from_numpy(self._dataset.store_rows(items).copy()).to(self._device)
            done = self._stream.record_event() if self._stream is not None else None
        spent = Spent(decode=time.perf_counter() - began)
        return Made(Batch(images, labels, rows), corrupt, spent), done

    def _arrived(self, made: Made, done: Any) -> Made:
        if done is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(done)
            for part in made.batch:
                part.record_stream(current)  # its memory belongs to the other stream's pool
        return made

    def _read(self, task: Task) -> tuple[list[torch.Tensor], list[Corrupt]]:
        """The JPEG bytes of a task's samples, their checksums compared."""
        jpegs: list[torch.Tensor] = []
        corrupt: list[Corrupt] = []
        rows = self._dataset.store_rows(task.indices).tolist()
        with self._dataset.store._reading() as jpegs_of:
            for place, (item, row) in enumerate(zip(task.indices.tolist(), rows, strict=True)):
                try:
                    # A copy: what lies in LMDB's map is read-only, and the device reads it later.
                    jpegs.append(torch.frombuffer(bytearray(*jpegs_of([row])), dtype=torch.uint8))
                except CorruptSampleError:
                    if not self._skip:
                        raise
                    corrupt.append(Corrupt(place, item))
        return jpegs, corrupt

    def _decoded(
        self, items: np.ndarray[tuple[int, ...], np.dtype[np.int64]], jpegs: list[torch.Tensor]
    ) -> torch.Tensor:
        """uint8 [B, 3, H, W] on the device."""
        size = self._dataset.size
        if not jpegs:
            return torch.empty((0, 3, *size), dtype=torch.uint8, device=self._device)
        try:
            images = self._decoder(jpegs)
        except RuntimeError:
            pixels = np.empty((len(items), *size, 3), np.uint8)
            self._dataset.read_into(items, pixels)  # names the sample, if one is damaged
            raise
        return torch.stack([_resized(image, size) for image in images])


def _resized(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(image.shape[1:]) == size:
        return image
    floats = image[None].float()
    shrunk = min(image.shape[1], size[0]), min(image.shape[2], size[1])
    if shrunk != tuple(image.shape[1:]):
        floats = functional.interpolate(floats, shrunk, mode="area")
    if shrunk != size:
        floats = functional.interpolate(floats, size, mode="bilinear")
    return floats[0].round().clamp(0, 255).to(torch.uint8)
