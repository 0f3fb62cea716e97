"""The engine whose decoded pixels live in the device's memory: a batch is an index_select there."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence

import numpy as np
import torch

from lmdb_reid.errors import ResourceError
from lmdb_reid.loaders._batch import BatchResult, Damaged, Timings
from lmdb_reid.loaders._engine import Engine
from lmdb_reid.loaders._job import Job
from lmdb_reid.loaders._plan import Footprint
from lmdb_reid.machine import free_memory, size_in_words
from lmdb_reid.sampling import Task
from lmdb_reid.schema import Rows

_MOST = 0.9  # of the free memory


class ResidentEngine:
    """Decodes all crops once, at the first pass; see `Engine`.

    Args:
        job: what to read, without augmentation or transform.
        filler: the engine that decodes it; closed when that is done.
        device: whose memory holds the pixels.
        batch_size: samples decoded at once.

    Raises:
        ResourceError (at the first pass): the device has no room for all pixels.
    """

    name = "resident"
    places = False

    def __init__(self, job: Job, filler: Engine, *, device: torch.device, batch_size: int) -> None:
        self._crops = job.crops
        self._filler = filler
        self.device = device
        self._batch_size = batch_size
        self._pid = os.getpid()
        self._pixels: torch.Tensor | None = None  # [N, H, W, 3]
        self._damaged: set[int] = set()  # positions, where damaged samples are left out

    def run(self, tasks: Sequence[Task]) -> Generator[BatchResult, None, None]:
        """One pass; see `Engine`."""
        if self._pixels is None:
            self._pixels = self._filled()
        for task in tasks:
            yield self._result(task, self._pixels)

    def footprint(self, batch_size: int) -> Footprint:
        """See `Engine`: one buffer, of all pixels."""
        count, (height, width) = len(self._crops), self._crops.size
        shape = (batch_size, 3, height, width)
        copies = ("gather from the resident pixels",)
        return Footprint(shape, "uint8", 1, count * height * width * 3, copies)

    def ready(self) -> None:
        """See `Engine`: batches are made when they are asked for."""
        return None

    def buffers(self) -> None:
        """See `Engine`."""
        return None

    def close(self) -> None:
        """Let the pixels go."""
        self._filler.close()
        self._pixels = None

    def _result(self, task: Task, pixels: torch.Tensor) -> BatchResult:
        began, positions = time.perf_counter(), task.positions
        damaged: list[Damaged] = []
        if self._damaged:
            damaged = [
                Damaged(slot, position)
                for slot, position in enumerate(positions.tolist())
                if position in self._damaged
            ]
            positions = np.delete(positions, [sample.slot for sample in damaged])
        images = self._gathered(positions, pixels).permute(0, 3, 1, 2)
        timings = Timings(cached=len(positions), gather=time.perf_counter() - began)
        return BatchResult(images, damaged, timings)

    def _gathered(self, positions: Rows, pixels: torch.Tensor) -> torch.Tensor:
        if self.device.type == "cpu" and os.getpid() != self._pid:
            # A forked child has none of torch's threads, and would wait for them for ever.
            return torch.from_numpy(pixels.numpy()[positions])
        return pixels.index_select(0, self._sent(positions))

    def _sent(self, positions: Rows) -> torch.Tensor:
        # A copy first: they may be a read-only map.
        return torch.from_numpy(positions.copy()).to(self.device, non_blocking=True)

    def _filled(self) -> torch.Tensor:
        count, (height, width) = len(self._crops), self._crops.size
        _check_memory(self.device, count * height * width * 3)
        pixels = torch.empty((count, height, width, 3), dtype=torch.uint8, device=self.device)
        starts = range(0, count, self._batch_size)
        tasks = [
            Task(np.arange(first, min(first + self._batch_size, count)), 0, 0, first)
            for first in starts
        ]
        run = self._filler.run(tasks)
        try:
            for task, (images, damaged, _) in zip(tasks, run, strict=True):
                positions = np.delete(task.positions, [sample.slot for sample in damaged])
                self._damaged.update(sample.position for sample in damaged)
                pixels[self._sent(positions)] = images.permute(0, 2, 3, 1).to(self.device)
        finally:
            run.close()
        self._filler.close()
        return pixels


def _check_memory(device: torch.device, needed: int) -> None:
    on_gpu = device.type == "cuda"
    free: int | None = torch.cuda.mem_get_info(device)[0] if on_gpu else free_memory()
    if free is not None and needed > _MOST * free:
        raise ResourceError(
            f"resident=True needs {size_in_words(needed)} on {device} for all decoded pixels, and"
            f" {size_in_words(free)} are free: select fewer rows, a smaller size, or take"
            " cache=DecodedTier(store) instead"
        )
