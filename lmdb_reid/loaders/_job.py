"""What a worker does for each task: read crops, augment and transform them."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lmdb_reid._memory import pixel_memory
from lmdb_reid.augment import CHUNK, GATHER_CHUNK, Draws, ReIDAugment, draw, gather, landing, place
from lmdb_reid.crops import Crops, Scattered, Viewed, agrees_with_read, gathered
from lmdb_reid.dataset import SampleTransform
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._batch import BatchResult, Damaged, Timings
from lmdb_reid.loaders._ring import tensor_of
from lmdb_reid.sampling import Task, position_seed
from lmdb_reid.schema import Pixels, Rows, Size


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
            own_process: before each call of the transform seed what it draws from: torch, random
                and NumPy unless it takes a generator, and generators that it keeps. Only for
                processes of our own: it would overwrite the caller's state.

        Raises:
            CorruptSampleError: a sample's stored bytes are damaged, and `skip` is off.
            UsageError: `crops` or `transform` does what it must not.
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
            self._read_augmented(task, pixels, first, slots)
        gather = gathered.seconds - gather
        timings = Timings(gathered.samples - cached, gather, time.perf_counter() - began - gather)
        for slot in slots or ():
            if not 0 <= slot < len(pixels):
                raise UsageError(
                    f"{type(self.crops).__name__}.read must list damaged slots from 0 to"
                    f" {len(pixels) - 1}; it listed {slot}"
                )
        return [Damaged(first + slot, int(positions[slot])) for slot in slots or ()], timings

    def draws(self, task: Task) -> Draws:
        """What the recipe does to the samples of a task."""
        assert self.augment is not None
        seed, epoch, first = task.place(0)
        count = len(task.positions)
        return _draws(self.augment, self.crops.size, seed, epoch, (first, count, task.stride))

    def _read_augmented(
        self, task: Task, pixels: Pixels, first: int, damaged: list[int] | None
    ) -> None:
        """Decode and place a few pictures at a time, while they lie in the processor's cache."""
        draws, erases = self.draws(task), self.erases
        positions = task.positions[first : first + len(pixels)]
        views = self._views(positions)
        if views is not None:
            began, (pictures, rows) = time.perf_counter(), views
            for start in range(0, len(positions), GATHER_CHUNK):
                few, some = pixels[start : start + GATHER_CHUNK], rows[start : start + GATHER_CHUNK]
                is_shifted = gather(pictures, some, few, draws, first + start)
                place(few, draws, first + start, is_shifted=is_shifted, erase=erases)
            gathered.samples += len(positions)
            gathered.seconds += time.perf_counter() - began
            return
        scattered = self.crops if isinstance(self.crops, Scattered) else None
        if not agrees_with_read(self.crops, "read_each"):
            scattered = None
        for start in range(0, len(positions), CHUNK):
            few, some = pixels[start : start + CHUNK], positions[start : start + CHUNK]
            bad: list[int] | None = None if damaged is None else []
            if scattered is None:
                self.crops.read(some, few, bad)
                place(few, draws, first + start, erase=erases)
            else:
                slots, outs, is_shifted = landing(few, draws, first + start)
                scattered.read_each(some[slots], outs, bad)
                bad = sorted(slots[at] for at in bad or ())
                place(few, draws, first + start, is_shifted=is_shifted, erase=erases)
            if damaged is not None:
                damaged += [start + slot for slot in bad or ()]

    def _views(self, positions: Rows) -> tuple[Pixels, Rows] | None:
        if isinstance(self.crops, Viewed) and agrees_with_read(self.crops, "views"):
            return self.crops.views(positions)
        return None

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
            if own_process:
                self.transform.seed_all(seed)
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


@functools.lru_cache(maxsize=16)
def _draws(
    recipe: ReIDAugment, size: Size, seed: int, epoch: int, places: tuple[int, int, int]
) -> Draws:
    """Of a whole batch, made once for all threads that work on it; `places` are first, count and
    stride.
    """
    first, count, stride = places
    at = first + np.arange(count, dtype=np.int64) * stride
    return draw(recipe, size, seed, epoch, at)


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
        return BatchResult(tensor_of(images.transpose(0, 3, 1, 2)), damaged, timings)
    together = torch.utils.data.default_collate(images) if images else torch.empty(0)
    return BatchResult(together, damaged, timings)
