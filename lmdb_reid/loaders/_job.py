"""What a worker does for each task: read crops, augment and transform them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lmdb_reid._memory import pixel_memory
from lmdb_reid.augment import CHUNK, Draws, ReIDAugment, draw, place
from lmdb_reid.crops import Crops, gathered
from lmdb_reid.dataset import SampleTransform, seed_globals
from lmdb_reid.loaders._batch import BatchResult, Damaged, Timings
from lmdb_reid.sampling import Task, position_seed
from lmdb_reid.schema import Pixels, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that workers need; pickled to those that are processes."""

    crops: Crops
    augment: ReIDAugment | None = None
    """Its geometric steps; colour comes in the loader's device step."""
    erases: bool = True
    """Whether erasing is done here; else it comes last in the device step."""
    transform: SampleTransform | None = None
    skip: bool = False
    """Leave damaged samples out instead of raising."""

    def batch(self, task: Task, *, own_process: bool = False) -> BatchResult:
        """The images of one task, made here and now.

        Args:
            task: which samples, and where in the epoch they stand.
            own_process: for a transform that takes no generator, seed torch, random and numpy
                before each call. Only for processes of our own: it would overwrite the caller's
                state.

        Raises:
            CorruptSampleError: a sample's stored bytes are damaged, and `skip` is off.
        """
        pixels = pixel_memory((len(task.positions), *self.crops.size, 3))
        damaged, timings = self.read(task, pixels)
        if self.transform is None:
            return collate(pixels, damaged, timings)
        images, seconds = self.transformed(task, pixels, damaged, own_process=own_process)
        return collate(images, damaged, timings._replace(transform=seconds))

    def read(self, task: Task, pixels: Pixels, first: int = 0) -> tuple[list[Damaged], Timings]:
        """Decode the samples of a task from slot `first` on into `pixels` [B, H, W, 3], augmented;
        returns the damaged ones.
        """
        slots: list[int] | None = [] if self.skip else None
        positions = task.positions[first : first + len(pixels)]
        began, cached, gather = time.perf_counter(), gathered.samples, gathered.seconds
        if self.augment is None:
            self.crops.read(positions, pixels, slots)
        else:
            self._read_augmented(self.draws(task, first, len(pixels)), positions, pixels, slots)
        gather = gathered.seconds - gather
        timings = Timings(gathered.samples - cached, gather, time.perf_counter() - began - gather)
        return [Damaged(first + slot, int(positions[slot])) for slot in slots or ()], timings

    def draws(self, task: Task, first: int, count: int) -> Draws:
        """What the recipe does to `count` samples of a task from slot `first` on."""
        assert self.augment is not None
        seed, epoch, start = task.place(first)
        places = start + np.arange(count, dtype=np.int64) * task.stride
        return draw(self.augment, self.crops.size, seed, epoch, places)

    def _read_augmented(
        self, draws: Draws, positions: Rows, pixels: Pixels, damaged: list[int] | None
    ) -> None:
        """Decode and place a few pictures at a time, while they lie in the processor's cache."""
        for first in range(0, len(positions), CHUNK):
            few = pixels[first : first + CHUNK]
            bad: list[int] | None = None if damaged is None else []
            self.crops.read(positions[first : first + CHUNK], few, bad)
            if damaged is not None:
                damaged += [first + slot for slot in bad or ()]
            place(few, draws, first, erase=self.erases)

    def transformed(
        self,
        task: Task,
        pixels: Pixels,
        damaged: Sequence[Damaged],
        *,
        first: int = 0,
        own_process: bool = False,
    ) -> tuple[list[Any], float]:
        """(what the transform makes of decoded samples from slot `first` on, None for damaged
        ones; seconds).
        """
        assert self.transform is not None
        began = time.perf_counter()
        bad = {sample.slot for sample in damaged}
        images: list[Any] = []
        for slot, image in enumerate(pixels, first):
            if slot in bad:
                images.append(None)
                continue
            seed = position_seed(*task.place(slot))
            if own_process and not self.transform.wants_generator:
                seed_globals(seed)
            images.append(self.transform(torch.from_numpy(image).permute(2, 0, 1), seed))
        return images, time.perf_counter() - began

    def batch_layout(self, batch_size: int) -> tuple[tuple[int, ...] | None, str, int]:
        """(shape, dtype, bytes) of a batch's images; (None, what the transform gives, 0) where it
        gives no single tensor.
        """
        if self.transform is None:
            height, width = self.crops.size
            return (batch_size, 3, height, width), "uint8", batch_size * height * width * 3
        example = self.example(0) if len(self.crops) else None
        if not isinstance(example, torch.Tensor):
            return None, type(example).__name__, 0
        dtype = str(example.dtype).removeprefix("torch.")
        return (batch_size, *example.shape), dtype, batch_size * example.nbytes

    def example(self, position: int) -> Any:
        """What a position's image looks like: [H, W, 3] uint8, or what the transform makes of it;
        None where that fails, which whoever makes its batch will report.

        The global random generators are left as they were.
        """
        if self.transform is None:
            # Not torch.zeros, whose threads would hang a forked child.
            return torch.from_numpy(np.zeros((*self.crops.size, 3), np.uint8))
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()
        pixels = np.empty((1, *self.crops.size, 3), np.uint8)
        try:
            self.crops.read(np.array([position]), pixels)
            return self.transform(torch.from_numpy(pixels[0]).permute(2, 0, 1), 0)
        except Exception:  # of the sample, or whatever a user's transform raises
            return None
        finally:
            torch.set_rng_state(states[0])
            random.setstate(states[1])
            np.random.set_state(states[2])


def collate(images: Pixels | list[Any], damaged: list[Damaged], timings: Timings) -> BatchResult:
    """The result of a task's decoded pixels [B, H, W, 3], or of its transformed images, without
    the damaged ones.
    """
    if damaged:
        bad = {sample.slot for sample in damaged}
        whole = [slot for slot in range(len(images)) if slot not in bad]
        images = images[whole] if isinstance(images, np.ndarray) else [images[at] for at in whole]
    if isinstance(images, np.ndarray):
        # Not turned by torch, which would let go of the GIL and wait for it again.
        return BatchResult(torch.from_numpy(images.transpose(0, 3, 1, 2)), damaged, timings)
    together = torch.utils.data.default_collate(images) if images else torch.empty(0)
    return BatchResult(together, damaged, timings)
