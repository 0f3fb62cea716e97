"""`make_loader`: arguments in, the right engine chosen, a loader out."""

from __future__ import annotations

import numbers
import os
import warnings
from collections.abc import Iterable, Sized
from typing import Any, Literal

import torch

from lmdb_reid._arguments import known_arguments
from lmdb_reid.augment import ReIDAugment, resolve
from lmdb_reid.cache import ViewedCache
from lmdb_reid.crops import Crops
from lmdb_reid.dataset import CroppedBBoxDataset, ReIDDataset, Selection, selection_of
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._batch_transform import BatchTransform
from lmdb_reid.loaders._choice import choose_engine, runs_in_threads
from lmdb_reid.loaders._config import (
    DeviceConfig,
    EngineName,
    LoaderConfig,
    Normalize,
    OnError,
    StartMethod,
    device_of,
    dtype_of,
)
from lmdb_reid.loaders._device import Transfer
from lmdb_reid.loaders._guesses import ARGUMENTS, RENAMED
from lmdb_reid.loaders._job import Job
from lmdb_reid.loaders._loader import Loader
from lmdb_reid.loaders._pinning import pins_by_default
from lmdb_reid.loaders._workers import Workers, default_workers
from lmdb_reid.sampling import Order, Sampler, Schedule, Sequential, Shuffled, TorchSampler
from lmdb_reid.schema import Size
from lmdb_reid.store import Store

_BATCH_SIZE = 256  # where neither the caller nor the sampler gives one

Readable = (
    ReIDDataset
    | CroppedBBoxDataset
    | Crops
    | Selection
    | torch.utils.data.Subset[Any]
    | torch.utils.data.ConcatDataset[Any]
    | Store
    | str
    | os.PathLike[str]
)


@known_arguments(works=RENAMED, answers=ARGUMENTS)
def make_loader(
    dataset: Readable,
    batch_size: int | None = None,
    *,
    shuffle: bool = False,
    sampler: Sampler | Iterable[int] | None = None,
    engine: EngineName = "auto",
    num_workers: int | Literal["auto"] | None = None,
    prefetch: int = 3,
    augment: ReIDAugment | str | None = None,
    batch_transform: BatchTransform | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    normalize: Normalize | None = None,
    drop_last: bool = False,
    seed: int = 0,
    on_error: OnError = "raise",
    start_method: StartMethod = "forkserver",
    rank: int | None = None,
    world_size: int | None = None,
    pin_memory: bool | None = None,
    persistent_workers: bool = True,
    memory_format: torch.memory_format | None = None,
    decode: Literal["cpu", "cuda"] = "cpu",
    resident: bool = False,
) -> Loader:
    """A loader of `Batch(images, labels, rows)` over a dataset.

    The order is a pure function of seed and epoch: the same on every engine and for any number of
    workers. Workers live as long as the loader. `print(loader.plan())` shows what it will do.

    Args:
        dataset: what to read: a ReIDDataset, a CroppedBBoxDataset, torch's Subset of one or
            ConcatDataset of several, an object that keeps the protocol `lmdb_reid.crops.Crops`, or
            a Store (or the path of one), which stands for all its samples.
        batch_size: samples in a batch (default: the sampler's own if it makes batches, else 256).
        shuffle: draw a new order for each epoch.
        sampler: an object with `positions(epoch)` (see `lmdb_reid.sampling.Sampler`), or a torch
            sampler; instead of `shuffle`.
        engine: "threads" decodes in threads of this process; "processes" in processes, for any
            Python transform; "dataloader" is torch's DataLoader; "auto" takes threads where there
            is no transform, else processes. `plan()` shows what was chosen, and why.
        num_workers: threads, or processes, that decode; 0 decodes in the caller's thread; "auto",
            the default, is one for each core, but no more threads than gain: 8; with `augment`
            4, and 2 over a DecodedTier.
        prefetch: batches made ahead, in total (processes have one more each in the making).
        augment: the training recipe, a ReIDAugment or the name of a preset ("bot", "transreid",
            "guide"); None for validation. Geometry is done by the workers, colour on the device,
            where `dtype` or `normalize` is needed for it. Every draw depends on seed, epoch and
            place in the epoch alone.
        batch_transform: called with the images of each batch, uint8 or floats in 0..1, on the
            device, and a torch.Generator seeded for it; returns as many images of the same dtype,
            and leaves its input as it is. It comes after colour, before erasing and normalising.
        device: where batches go ("cuda") (default: they stay in host memory). A thread sends them
            to a GPU, where up to three are beside the consumer's.
        dtype: a floating dtype, or its name ("float16"), to convert images into, on the device:
            pixels in 0..1.
        normalize: "imagenet", or (mean, std) of three numbers each, of pixels in 0..1; float32
            unless `dtype` is given.
        drop_last: leave out a last batch that is not full; if that leaves none, a warning is
            shown.
        seed: of the order and of everything random about a sample.
        on_error: "raise" ends the pass at a damaged sample; "skip" leaves it out and counts it in
            `stats()`, until more than 1 % of the epoch (and more than 10) were.
        start_method: how the workers of engine="processes" begin: "forkserver", "spawn" or "fork".
            With the first two, the main code of a script must be under
            `if __name__ == "__main__":`.
        rank: this process among `world_size`; torch.distributed's by default.
        world_size: how many processes there are; torch.distributed's by default.
        pin_memory: batches in page-locked memory, from which a GPU copies by itself (default:
            where there is a GPU, unless `device` is another). Worker processes of
            engine="processes" write uint8 into shared memory, which is not.
        persistent_workers: torch's DataLoader keeps its processes from one epoch to the next;
            threads always stay.
        memory_format: of the images: torch.channels_last, which they are decoded in and keep unless
            this says otherwise, or torch.contiguous_format.
        decode: "cuda" sends JPEG bytes to the GPU and decodes them there, by the decoder of
            torchcodec, nvImageCodec or torchvision, whichever works first; pixels differ a little
            from libjpeg-turbo's.
        resident: decode everything once, at the first pass, into the device's memory (this
            process's, without a device); a batch is then an index_select there.

    Raises:
        UsageError: a dataset that cannot be read or has no samples, or arguments that do not go
            together.
    """
    if isinstance(dataset, Store | str | os.PathLike):
        dataset = ReIDDataset(dataset)
    selection = selection_of(dataset)
    if not len(selection):
        raise UsageError(_nothing_in(dataset))
    on_device = DeviceConfig(
        device=device_of(device),
        dtype=None if dtype is None else dtype_of(dtype),
        normalize=normalize,
        memory_format=memory_format,
        decode=decode,
        resident=resident,
    )
    order = Order(
        _sampler(sampler, len(selection), shuffle=shuffle, seed=seed),
        len(selection),
        selection.rows,
    )
    if batch_transform is not None and not callable(batch_transform):
        raise UsageError(
            f"batch_transform must be a function of (images, generator), got {batch_transform!r}."
        )
    size = _batch_size(batch_size, order.sampler.batch_size)
    recipe = _recipe(augment, selection.crops.size, on_device)
    job = Job(
        crops=selection.crops,
        augment=recipe,
        erases=recipe is None or not (recipe.has_colour or batch_transform is not None),
        transform=selection.transform,
        skip=on_error == "skip",
    )
    workers = Workers(number=num_workers, why="")  # type: ignore[arg-type]  # checked below
    if num_workers is None or num_workers == "auto":
        over_a_tier = not resident and isinstance(selection.cache, ViewedCache)
        workers = default_workers(
            job, in_threads=runs_in_threads(engine, job), over_a_tier=over_a_tier
        )
    config = LoaderConfig(
        engine=engine,
        num_workers=workers.number,
        prefetch=prefetch,
        drop_last=drop_last,
        seed=seed,
        on_error=on_error,
        start_method=start_method,
        pin_memory=pins_by_default(on_device.device) if pin_memory is None else pin_memory,
        persistent_workers=persistent_workers,
    )
    if selection.cache is not None and decode == "cuda":
        raise UsageError(
            "decode='cuda' keeps nothing in host memory: leave the dataset's cache out"
        )
    maker, why = choose_engine(job, config, on_device, size)
    schedule = _Ranks(order, size, drop_last, rank, world_size)
    loader = Loader(
        dataset,
        selection,
        maker,
        order,
        schedule=schedule,
        transfer=Transfer(
            on_device,
            maker.device,
            places=not maker.places,
            erases=job.erases,
            pin=config.pin_memory,
            batch_transform=batch_transform,
        ),
        config=config,
        job=job,
        why=f"{why}; {workers.why}" if workers.why and maker.name == "threads" else why,
    )
    is_sized = sampler is None or isinstance(sampler, Sized)  # else an epoch is drawn to count it
    if drop_last and is_sized and not len(loader) and (count := order.count(0)):
        _warn_of_no_batch(count, schedule())
    return loader


def _warn_of_no_batch(count: int, schedule: Schedule) -> None:
    """`drop_last` leaves nothing of fewer samples than a batch: a training of nothing ends well."""
    ranks = "" if schedule.world_size == 1 else f" on each of {schedule.world_size} ranks"
    warnings.warn(
        f"the loader has no batch: drop_last=True leaves out the only one, for {count:,} samples"
        f" are fewer than a batch of {schedule.batch_size:,}{ranks}. Pass a smaller batch_size, or"
        " drop_last=False",
        stacklevel=4,  # whoever called make_loader
    )


def _nothing_in(dataset: Readable) -> str:
    """What to say of a dataset that would give no batch: a training of nothing ends well."""
    query = getattr(dataset, "query", None)
    if isinstance(dataset, ReIDDataset) and query is not None:
        return (
            f"make_loader must have samples to read; the query {query!r} finds none of the"
            f" {len(dataset.store):,} in {dataset.store.path}: store.query shows what a query finds"
        )
    return (
        f"make_loader must have samples to read; the selection is empty: {dataset!r}. If a query"
        " chose the rows, it found none"
    )


def _recipe(
    augment: ReIDAugment | str | None, size: Size, config: DeviceConfig
) -> ReIDAugment | None:
    recipe = resolve(augment)
    if recipe is None:
        return None
    recipe.check_size(size)
    if recipe.has_colour and config.dtype is None:
        raise UsageError(
            "augment has colour steps, which need floats. Pass dtype=torch.float32 or"
            " normalize=, or use a recipe without brightness, contrast, saturation, hue,"
            " grayscale and blur"
        )
    return recipe


class _Ranks:
    """Makes the schedule of a pass; torch.distributed is asked each time."""

    def __init__(
        self,
        order: Order,
        batch_size: int,
        drop_last: bool,
        rank: int | None,
        world_size: int | None,
    ) -> None:
        if (rank is None) != (world_size is None):
            raise UsageError("rank and world_size must be passed together")
        self._order = order
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._given = None if rank is None or world_size is None else (rank, world_size)

    def __call__(self) -> Schedule:
        rank, world_size = self._given or _distributed()
        if world_size > 1 and not self._order.is_the_same_on_all_ranks:
            raise UsageError(
                f"{self._order.sampler} draws another order on each rank. Use shuffle=True,"
                " a DistributedSampler, or an object with positions(epoch)"
            )
        return Schedule(
            batch_size=self._batch_size,
            rank=rank,
            world_size=world_size,
            drop_last=self._drop_last,
            in_batches=self._order.sampler.batch_size is not None,
            is_shared=self._order.is_shared,
        )


def _distributed() -> tuple[int, int]:
    """(rank, world size) of torch.distributed; (0, 1) where it is not initialised."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _batch_size(given: Any, of_sampler: Any) -> int:
    for where, value in (("", given), (" of the sampler", of_sampler)):
        if value is not None and (not isinstance(value, numbers.Integral) or value < 1):
            raise UsageError(f"batch_size{where} must be a whole number, at least 1, got {value!r}")
    if of_sampler is None:
        return _BATCH_SIZE if given is None else int(given)
    if given is not None and given != of_sampler:
        raise UsageError(
            f"batch_size={given} differs from the sampler's own {of_sampler}: leave batch_size out"
        )
    return int(of_sampler)


def _sampler(
    sampler: Sampler | Iterable[int] | None, count: int, *, shuffle: bool, seed: int
) -> Sampler:
    if sampler is None:
        return Shuffled(count, seed) if shuffle else Sequential(count)
    if shuffle:
        raise UsageError("shuffle and sampler exclude each other. Pass one of them")
    if isinstance(sampler, Sampler):
        return sampler
    if callable(getattr(sampler, "positions", None)):
        raise UsageError(
            f"{type(sampler).__name__} has positions(epoch), and must also have batch_size (None if"
            " it makes no batches) and len(): see lmdb_reid.sampling.Sampler"
        )
    return TorchSampler(sampler)
