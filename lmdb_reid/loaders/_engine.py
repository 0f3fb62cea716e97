"""The seam between a loader and what fills its batches: tasks in, filled batches out, in order."""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from lmdb_reid._memory import pixel_memory
from lmdb_reid.dataset import Pixels, ReIDDataset
from lmdb_reid.sampling import position_seed


class Batch(NamedTuple):
    """What a loader yields; the consumer's for as long as they hold it."""

    images: Any
    """[B, 3, H, W] uint8, RGB, or what the transform returns, stacked, or converted to the dtype
    asked for.
    """
    labels: torch.Tensor
    """int64 [B]."""
    rows: torch.Tensor
    """int64 [B]: rows of the store."""


class Task(NamedTuple):
    """One batch to be made."""

    indices: npt.NDArray[np.int64]
    """Positions in the dataset."""
    seed: int
    epoch: int
    first: int
    """Position within the epoch (of all ranks' order) of the first sample: with seed and epoch it
    decides all that is random about it. The following ones are `stride` further each."""
    stride: int = 1

    def position(self, place: int) -> tuple[int, int, int]:
        """(seed, epoch, position) of one sample: all that its randomness may depend on."""
        return self.seed, self.epoch, self.first + place * self.stride


class Corrupt(NamedTuple):
    """A damaged sample that was left out of its batch."""

    place: int
    """In the task."""
    item: int
    """In the dataset."""


class Spent(NamedTuple):
    """What a batch took: seconds of all its workers together, except for the transfer's."""

    cached: int = 0
    """Samples whose pixels came from the dataset's cache."""
    gather: float = 0.0
    """From that cache."""
    decode: float = 0.0
    """Reading, checking, decoding and resizing the others."""
    transform: float = 0.0
    transfer: float = 0.0
    """To the device, converting and normalising there."""

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(
            self.cached + other.cached,
            self.gather + other.gather,
            self.decode + other.decode,
            self.transform + other.transform,
            self.transfer + other.transfer,
        )


class Made(NamedTuple):
    """A batch, what was left out of it, and what it took."""

    batch: Batch
    corrupt: list[Corrupt]
    spent: Spent = Spent()


class Engine(Protocol):
    """Makes batches from tasks.

    Laws: batches come in the order of the tasks; a batch is never written again; `run` ends an
    earlier pass; an exception in a worker reaches the consumer with the sample's id; `close` leaves
    no thread or process behind.
    """

    def run(self, tasks: Sequence[Task]) -> Generator[Made, None, None]:
        """One pass."""
        ...

    def ready(self) -> int | None:
        """Batches that are whole and wait for the consumer; None where that is not known."""
        ...

    def buffers(self) -> tuple[int, int] | None:
        """(batch buffers made, batches that got ordinary memory since all of these were held);
        None where the engine keeps none.
        """
        ...

    def close(self) -> None:
        """Stop for good."""
        ...


def make_batch(dataset: ReIDDataset, task: Task, *, skip: bool, seed_globals: bool = False) -> Made:
    """One batch, made here and now.

    Args:
        dataset: what to read.
        task: which samples, and where in the epoch they stand.
        skip: leave damaged samples out instead of raising.
        seed_globals: for a transform that takes no generator, seed torch, random and numpy before
            each call. Only for processes of our own: it would overwrite the caller's state.

    Raises:
        CorruptSampleError: a sample's stored bytes are damaged.
    """
    pixels = pixel_memory((len(task.indices), *dataset.size, 3))
    corrupt, spent = read_span(dataset, task, pixels, skip=skip)
    if dataset.transform is None:
        return finished(dataset, task, pixels, corrupt, spent)
    made, took = transform_span(dataset, task, pixels, corrupt, seed_globals=seed_globals)
    return finished(dataset, task, made, corrupt, spent.plus(took))


def read_span(
    dataset: ReIDDataset, task: Task, pixels: Pixels, *, skip: bool, first: int = 0
) -> tuple[list[Corrupt], Spent]:
    """Decode the samples of a task from place `first` on into `pixels`; returns the damaged
    ones.
    """
    places: list[int] | None = [] if skip else None
    indices = task.indices[first : first + len(pixels)]
    began = time.perf_counter()
    samples, gather = dataset.read_into(indices, pixels, places)
    spent = Spent(samples, gather, time.perf_counter() - began - gather)
    return [Corrupt(first + place, int(indices[place])) for place in places or ()], spent


def transform_span(
    dataset: ReIDDataset,
    task: Task,
    pixels: Pixels,
    corrupt: Sequence[Corrupt],
    *,
    first: int = 0,
    seed_globals: bool = False,
) -> tuple[list[Any], Spent]:
    """What the transform makes of decoded samples, from place `first` on; None for damaged ones."""
    began = time.perf_counter()
    bad = {sample.place for sample in corrupt}
    made: list[Any] = []
    for place, image in enumerate(pixels, first):
        if place in bad:
            made.append(None)
            continue
        seed = position_seed(*task.position(place))
        if seed_globals and not dataset.wants_generator:
            _seed_globals(seed)
        made.append(dataset.transformed(torch.from_numpy(image).permute(2, 0, 1), seed))
    return made, Spent(transform=time.perf_counter() - began)


def finished(
    dataset: ReIDDataset,
    task: Task,
    images: Pixels | list[Any],
    corrupt: list[Corrupt],
    spent: Spent,
) -> Made:
    """The batch of a task's decoded pixels or transformed images, without the damaged ones."""
    if corrupt:
        bad = {sample.place for sample in corrupt}
        whole = [place for place in range(len(task.indices)) if place not in bad]
        images = images[whole] if isinstance(images, np.ndarray) else [images[at] for at in whole]
    if isinstance(images, np.ndarray):
        # Not turned by torch, which would let go of the GIL and wait for it again.
        together = torch.from_numpy(images.transpose(0, 3, 1, 2))
    else:
        together = torch.utils.data.default_collate(images) if images else torch.empty(0)
    return labelled(dataset, task, together, corrupt, spent)


def labelled(
    dataset: ReIDDataset, task: Task, images: Any, corrupt: list[Corrupt], spent: Spent
) -> Made:
    """The batch of images that stand together already, without the damaged ones."""
    indices = task.indices
    if corrupt:
        indices = np.delete(indices, [sample.place for sample in corrupt])
    labels = torch.from_numpy(dataset.labels[indices])
    rows = torch.from_numpy(dataset.store_rows(indices).copy())
    return Made(Batch(images, labels, rows), corrupt, spent)


def sample_output(dataset: ReIDDataset, item: int) -> Any:
    """What an item's image looks like: [H, W, 3] uint8, or what the transform makes of it; None
    where that fails, which whoever makes its batch will tell.

    The global random generators are left as they were.
    """
    if dataset.transform is None:
        # Not torch.zeros, whose threads would hang a forked child.
        return torch.from_numpy(np.zeros((*dataset.size, 3), np.uint8))
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    pixels = np.empty((1, *dataset.size, 3), np.uint8)
    try:
        dataset.read_into([item], pixels)
        return dataset.transformed(torch.from_numpy(pixels[0]).permute(2, 0, 1), 0)
    except Exception:  # of the sample, or whatever a user's transform raises
        return None
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def _seed_globals(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # what other people's transforms draw from
