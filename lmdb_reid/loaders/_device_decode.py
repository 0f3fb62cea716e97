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

from lmdb_reid import codec
from lmdb_reid.crops import Encoded, agrees_with_read
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._batch import BatchResult, Damaged, Timings
from lmdb_reid.loaders._job import Job
from lmdb_reid.loaders._plan import Footprint
from lmdb_reid.sampling import Task
from lmdb_reid.schema import Rows

Decoder = Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]
"""From the bytes of JPEGs, uint8 [n] each in host memory, to pixels, uint8 [3, H, W] RGB each on
the device; raises RuntimeError for bytes that it cannot decode."""


def cuda_decoder(device: torch.device) -> tuple[str, Decoder]:
    """(its name, the JPEG decoder of a GPU): the first that decodes a picture of torchcodec's (from
    0.16), nvImageCodec's and torchvision's (deprecated from 0.29). All are NVIDIA's nvJPEG, whose
    pixels differ a little from libjpeg-turbo's.

    Raises:
        UsageError: none does; says why of each.
    """
    probe = torch.frombuffer(
        bytearray(codec.encode(np.zeros((16, 16, 3), np.uint8))), dtype=torch.uint8
    )
    reasons = []
    for name, make in _DECODERS.items():
        try:
            decoder = make(device)
            (image,) = decoder([probe])
            if tuple(image.shape) != (3, 16, 16) or image.dtype != torch.uint8:
                raise RuntimeError(f"it returns {image.dtype} {list(image.shape)}")
        except (
            Exception
        ) as error:  # beside a torch or a driver that it does not fit, whatever comes
            reasons.append(f"{name} ({str(error).strip().partition(chr(10))[0]})")
            continue
        return name, decoder
    raise UsageError(
        "decode='cuda' needs a JPEG decoder for the GPU, and none can be used:"
        f' {", ".join(reasons)}. pip install "torchcodec>=0.16" of the CUDA that torch has, or'
        " nvidia-nvimgcodec-cu12[all]"
    )


def _torchcodec(device: torch.device) -> Decoder:
    from torchcodec.decoders import decode_jpeg

    return lambda jpegs: decode_jpeg(jpegs, mode="RGB", device=device)


def _nvimagecodec(device: torch.device) -> Decoder:
    from nvidia import nvimgcodec

    decoder = nvimgcodec.Decoder(device_id=device.index or 0)

    def decode(jpegs: list[torch.Tensor]) -> list[torch.Tensor]:
        images = decoder.decode([jpeg.numpy() for jpeg in jpegs])
        if any(image is None for image in images):
            raise RuntimeError("nvImageCodec cannot decode an image of this batch")
        return [torch.utils.dlpack.from_dlpack(image).permute(2, 0, 1) for image in images]

    return decode


def _torchvision(device: torch.device) -> Decoder:
    from torchvision.io import decode_jpeg

    return lambda jpegs: decode_jpeg(jpegs, "RGB", device)


_DECODERS: dict[str, Callable[[torch.device], Decoder]] = {
    "torchcodec": _torchcodec,
    "nvImageCodec": _nvimagecodec,
    "torchvision": _torchvision,
}


class DeviceDecodeEngine:
    """Reads and checks JPEG bytes in one thread, and decodes them on the device; see `Engine`.

    Images of other sizes than the crops' are resized there as `codec.resize` does it: an axis
    that shrinks is averaged, one that grows interpolated.

    Args:
        job: what to read: Crops that are Encoded; without a transform or cache, whose pixels would
            be in host memory.
        decoder: see `Decoder`.
        device: where the pixels will be.
        prefetch: batches made ahead.

    Raises:
        UsageError: the crops have no JPEG bytes.
    """

    name = "device decode"
    places = False

    def __init__(self, job: Job, decoder: Decoder, *, device: torch.device, prefetch: int) -> None:
        if not (isinstance(job.crops, Encoded) and agrees_with_read(job.crops, "jpegs")):
            raise UsageError(
                f"decode='cuda' needs JPEG bytes, and {type(job.crops).__name__} has none."
                " Use crops of a store, or remove decode="
            )
        self._crops, self._encoded = job.crops, job.crops
        self._skip = job.skip
        self._decoder = decoder
        self.device = device
        self._prefetch = prefetch
        self._waiting: deque[Future[tuple[BatchResult, Any]]] = deque()
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's

    def run(self, tasks: Sequence[Task]) -> Generator[BatchResult, None, None]:
        """One pass; see `Engine`."""
        waiting = self._waiting = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="lmdb_reid-device-decode") as pool:
            try:
                for number in range(len(tasks) + self._prefetch):
                    if number < len(tasks):
                        waiting.append(pool.submit(self._result, tasks[number]))
                    if number >= self._prefetch:
                        yield self._arrived(*waiting.popleft().result())
            finally:
                for future in waiting:
                    future.cancel()

    def footprint(self, batch_size: int) -> Footprint:
        """See `Engine`: the device's allocator keeps the memory."""
        height, width = self._crops.size
        copies = ("JPEG bytes out of the store", "stack the decoded images")
        return Footprint((batch_size, 3, height, width), "uint8", copies=copies)

    def ready(self) -> int:
        """See `Engine`."""
        return sum(future.done() for future in self._waiting)

    def buffers(self) -> None:
        """See `Engine`: torch's allocator keeps the device's."""
        return None

    def close(self) -> None:
        """Nothing outlives a pass."""

    def _result(self, task: Task) -> tuple[BatchResult, Any]:
        began = time.perf_counter()
        slots: list[int] | None = [] if self._skip else None
        with self._encoded.jpegs(task.positions, slots) as found:
            # Copies: what lies in LMDB's map is read-only, and the device reads it later.
            jpegs = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in found]
        damaged = [Damaged(slot, int(task.positions[slot])) for slot in slots or ()]
        positions = np.delete(task.positions, slots) if slots else task.positions
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            images = self._decoded(positions, jpegs)
            done = self._stream.record_event() if self._stream is not None else None
        timings = Timings(decode=time.perf_counter() - began)
        return BatchResult(images, damaged, timings), done

    def _arrived(self, result: BatchResult, done: Any) -> BatchResult:
        if done is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(done)
            result.images.record_stream(current)  # its memory belongs to the other stream's pool
        return result

    def _decoded(self, positions: Rows, jpegs: list[torch.Tensor]) -> torch.Tensor:
        """uint8 [B, 3, H, W] on the device."""
        size = self._crops.size
        if not jpegs:
            return torch.empty((0, 3, *size), dtype=torch.uint8, device=self.device)
        try:
            images = self._decoder(jpegs)
        except RuntimeError:
            pixels = np.empty((len(positions), *size, 3), np.uint8)
            self._crops.read(positions, pixels)  # names the sample, if one is damaged
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
