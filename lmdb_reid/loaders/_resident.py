"""The engine whose decoded pixels live in the device's memory: a batch is an index_select there."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

import numpy as np
import torch

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._engine import Batch, Corrupt, Engine, Made, Spent, Task
from lmdb_reid.machine import free_memory

_MOST = 0.9  # of the free memory


class ResidentEngine:
    """Decodes the whole dataset once, at the first pass; see `Engine`.

    Args:
        dataset: what to read.
        filler: the engine that decodes it; closed when that is done.
        device: whose memory holds the pixels.
        batch_size: samples decoded at once.

    Raises:
        UsageError (at the first pass): the device has no room for all pixels.
    """

    def __init__(
        self, dataset: ReIDDataset, filler: Engine, *, device: torch.device, batch_size: int
    ) -> None:
        self._dataset = dataset
        self._filler = filler
        self._device = device
        self._batch_size = batch_size
        self._pixels: torch.Tensor | None = None  # [N, H, W, 3]
        self._corrupt: set[int] = set()  # items, in a dataset whose damaged samples are left out

    def run(self, tasks: Sequence[Task]) -> Generator[Made, None, None]:
        """One pass; see `Engine`."""
        if self._pixels is None:
            self._pixels = self._filled()
        for task in tasks:
            yield self._made(task, self._pixels)

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

    def _made(self, task: Task, pixels: torch.Tensor) -> Made:
        began, items = time.perf_counter(), task.indices
        corrupt: list[Corrupt] = []
        if self._corrupt:
            corrupt = [
                Corrupt(place, item)
                for place, item in enumerate(items.tolist())
                if item in self._corrupt
            ]
            items = np.delete(items, [sample.place for sample in corrupt])
        images = pixels.index_select(0, self._sent(items)).permute(0, 3, 1, 2)
        labels = self._sent(self._dataset.labels[items])
        rows = self._sent(self._dataset.store_rows(items))
        spent = Spent(cached=len(items), gather=time.perf_counter() - began)
        return Made(Batch(images, labels, rows), corrupt, spent)

    def _sent(self, numbers: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> torch.Tensor:
        # A copy first: columns of a store are read-only maps.
        return torch.from_numpy(numbers.copy()).to(self._device, non_blocking=True)

    def _filled(self) -> torch.Tensor:
        count, (height, width) = len(self._dataset), self._dataset.size
        _check_memory(self._device, count * height * width * 3)
        pixels = torch.empty((count, height, width, 3), dtype=torch.uint8, device=self._device)
        starts = range(0, count, self._batch_size)
        tasks = [
            Task(np.arange(first, min(first + self._batch_size, count)), 0, 0, first)
            for first in starts
        ]
        run = self._filler.run(tasks)
        try:
            for task, (batch, corrupt, _) in zip(tasks, run, strict=True):
                items = np.delete(task.indices, [sample.place for sample in corrupt])
                self._corrupt.update(sample.item for sample in corrupt)
                pixels[self._sent(items)] = batch.images.permute(0, 2, 3, 1).to(self._device)
        finally:
            run.close()
        self._filler.close()
        return pixels


def _check_memory(device: torch.device, needed: int) -> None:
    on_gpu = device.type == "cuda"
    free: int | None = torch.cuda.mem_get_info(device)[0] if on_gpu else free_memory()
    if free is not None and needed > _MOST * free:
        raise UsageError(
            f"resident=True needs {needed / 1e9:.1f} GB on {device} for all decoded pixels, and"
            f" {free / 1e9:.1f} GB are free: select fewer rows, a smaller size, or take"
            " cache=DecodedTier(store) instead"
        )
