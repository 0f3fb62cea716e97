"""`make_loader`: arguments in, the right engine chosen, a loader out."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._dataloader import DataLoaderEngine
from lmdb_reid.loaders._device import Transfer
from lmdb_reid.loaders._device_decode import DeviceDecodeEngine, cuda_decoder
from lmdb_reid.loaders._engine import Engine
from lmdb_reid.loaders._loader import Loader
from lmdb_reid.loaders._processes import ProcessesEngine, StartMethod
from lmdb_reid.loaders._resident import ResidentEngine
from lmdb_reid.loaders._threads import ThreadsEngine
from lmdb_reid.machine import available_cores
from lmdb_reid.sampling import FromTorch, Sampler, Sequential, Shuffled
from lmdb_reid.store import Store

EngineName = Literal["auto", "threads", "processes", "dataloader"]
_ENGINES = ("auto", "threads", "processes", "dataloader")
OnError = Literal["raise", "skip"]


def make_loader(
    dataset: ReIDDataset,
    batch_size: int = 256,
    *,
    shuffle: bool = False,
    sampler: Sampler | Iterable[int] | None = None,
    engine: EngineName = "auto",
    num_workers: int | None = None,
    prefetch: int = 3,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
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
    workers. Workers live as long as the loader.

    Args:
        dataset: what to read.
        batch_size: samples in a batch; a sampler's own `batch_size` goes first.
        shuffle: draw a new order for each epoch.
        sampler: an object with `rows(epoch)` giving dataset positions, or a torch sampler; instead
            of `shuffle`.
        engine: "threads" decodes in threads of this process; "processes" in processes, for any
            Python transform; "dataloader" is torch's DataLoader; "auto" takes threads where there
            is no transform, else processes. `explain()` says what was taken, and why.
        num_workers: threads, or processes, that decode; 0 decodes in the caller's thread; as many
            as cores unless given.
        prefetch: batches made ahead (of torch's DataLoader: for each worker).
        device: where batches go ("cuda"); they stay in host memory unless given.
        dtype: a floating dtype to convert and normalise images into, on the device.
        mean: of each channel; ImageNet's unless given.
        std: likewise.
        drop_last: leave out a last batch that is not full.
        seed: of the order and of everything random about a sample.
        on_error: "raise" ends the pass at a damaged sample; "skip" leaves it out and counts it in
            `stats()`, until more than 1 % of the epoch (and more than 10) were.
        start_method: how the workers of engine="processes" begin: "forkserver", "spawn" or "fork".
            But for the last, a script's own code must stand under `if __name__ == "__main__":`.
        rank: this process among `world_size`; torch.distributed's where it is initialised, unless
            given.
        world_size: likewise.
        pin_memory: batches in page-locked memory; where there is a GPU, unless given.
        persistent_workers: torch's DataLoader keeps its processes from one epoch to the next;
            threads always stay.
        memory_format: of the images: torch.channels_last, which they are decoded in and keep unless
            told otherwise, or torch.contiguous_format.
        decode: "cuda" sends JPEG bytes to the GPU and decodes them there, by torchvision's or
            nvImageCodec's decoder; pixels differ a little from libjpeg-turbo's.
        resident: decode everything once, at the first pass, into the device's memory (this
            process's, without a device); a batch is then an index_select there.

    Raises:
        UsageError: arguments that cannot be meant together.
    """
    to = None if device is None else torch.device(device)
    num_workers = available_cores() if num_workers is None else num_workers
    ranks = _ranks(rank, world_size)
    _check_dataset(dataset)
    _check_numbers(batch_size=(batch_size, 1), prefetch=(prefetch, 1), seed=(seed, 0))
    _check_numbers(num_workers=(num_workers, 0))
    _check_choices(on_error=(on_error, "raise", "skip"), decode=(decode, "cpu", "cuda"))
    if to is not None and to.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device={str(device)!r}: this torch sees no GPU (lmdb-reid doctor tells what is there)"
        )
    batch_size = getattr(sampler, "batch_size", None) or batch_size
    pin = torch.cuda.is_available() if pin_memory is None else pin_memory
    name, why = _chosen_engine(dataset, engine, num_workers)
    if decode == "cuda" or resident:
        _check_on_device(dataset, decode, to, resident=resident)
    skip = on_error == "skip"
    made: Engine
    if decode == "cuda" and to is not None:
        decoder, why = cuda_decoder(to), "decode='cuda' was asked for"
        made = DeviceDecodeEngine(dataset, decoder, device=to, prefetch=prefetch, skip=skip)
    elif name == "threads":
        made = ThreadsEngine(
            dataset,
            num_workers=num_workers,
            prefetch=prefetch,
            pin=pin and torch.cuda.is_available(),  # page-locked memory is CUDA's to give
            skip=skip,
        )
    elif name == "processes":
        made = ProcessesEngine(
            dataset,
            num_workers=num_workers,
            prefetch=prefetch,
            skip=skip,
            start_method=start_method,
        )
    else:
        made = DataLoaderEngine(
            dataset,
            num_workers=num_workers,
            prefetch=prefetch,
            pin=pin,
            persistent=persistent_workers,
            skip=skip,
        )
    if resident:
        why = f"resident=True was asked for, filled once by {type(made).__name__} ({why})"
        there = to or torch.device("cpu")
        made = ResidentEngine(dataset, made, device=there, batch_size=batch_size)
    moves = to if decode == "cpu" and not resident else None  # else they are made there
    return Loader(
        dataset,
        made,
        _checked_sampler(dataset, sampler, shuffle=shuffle, seed=seed, ranks=ranks),
        transfer=Transfer(moves, dtype, mean, std, memory_format, made_on=to),
        batch_size=batch_size,
        drop_last=drop_last,
        seed=seed,
        ranks=ranks,
        why=why,
    )


def _check_dataset(dataset: object) -> None:
    if isinstance(dataset, Store | str | os.PathLike):
        raise UsageError("make_loader reads a dataset: give ReIDDataset(store)")


def _check_numbers(**given: tuple[int, int]) -> None:
    """Each name is a whole number, and at least so much."""
    for name, (value, least) in given.items():
        if not isinstance(value, numbers.Integral) or int(value) < least:
            raise UsageError(f"{name} {value!r}: give a whole number from {least} up")


def _check_choices(**given: tuple[str, ...]) -> None:
    """Each name is one of the words behind its value."""
    for name, (value, *words) in given.items():
        if value not in words:
            raise UsageError(f"{name}={value!r}: give {' or '.join(map(repr, words))}")


def _chosen_engine(dataset: ReIDDataset, engine: str, num_workers: int) -> tuple[str, str]:
    """(engine, why) for what was asked."""
    if engine not in _ENGINES:
        raise UsageError(f"engine={engine!r}: give one of {', '.join(map(repr, _ENGINES))}")
    shares_globals = dataset.transform is not None and not dataset.wants_generator
    if engine == "threads" and shares_globals:
        raise UsageError(
            "engine='threads': the transform takes no keyword `generator`, and threads would share"
            " the global random generators; give it one, or take engine='processes'"
        )
    if engine == "dataloader":
        return "dataloader", "it was asked for"
    if num_workers == 0:
        return "dataloader", "num_workers=0 decodes in the caller's thread"
    if engine != "auto":
        return engine, "it was asked for"
    if dataset.transform is None:
        return "threads", "there is no Python transform, so nothing needs a process of its own"
    if not hasattr(os, "memfd_create"):
        return "dataloader", "the transform needs processes, and those of our own need Linux"
    return (
        "processes",
        "a Python transform holds the interpreter's lock, so each worker needs its own",
    )


def _check_on_device(
    dataset: ReIDDataset, decode: str, device: torch.device | None, *, resident: bool
) -> None:
    """Refuse what cannot be done where the pixels are to be made."""
    asked = "resident=True" if resident else f"decode={decode!r}"
    if dataset.transform is not None:
        raise UsageError(
            f"{asked} makes whole batches on the device, and the dataset has a transform of single"
            " images: transform the batches there instead"
        )
    if decode == "cuda" and (device is None or device.type != "cuda"):
        raise UsageError("decode='cuda' needs device='cuda'")
    if decode == "cuda" and dataset.cache is not None:
        raise UsageError(
            "decode='cuda' keeps nothing in host memory: leave the dataset's cache out"
        )


def _checked_sampler(
    dataset: ReIDDataset,
    sampler: Sampler | Iterable[int] | None,
    *,
    shuffle: bool,
    seed: int,
    ranks: tuple[int, int],
) -> Sampler:
    if sampler is None:
        return Shuffled(len(dataset), seed) if shuffle else Sequential(len(dataset))
    if shuffle:
        raise UsageError("shuffle and sampler both decide the order: give one of them")
    if isinstance(sampler, Sampler):
        return sampler
    theirs = FromTorch(sampler)
    in_order = isinstance(sampler, torch.utils.data.SequentialSampler | Sequence)
    if ranks[1] > 1 and not (theirs.is_shared or in_order):
        raise UsageError(
            f"{type(sampler).__name__} draws another order on each rank: give shuffle=True, a"
            " DistributedSampler, or an object with rows(epoch)"
        )
    return theirs


def _ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise UsageError("give rank and world_size together")
    if rank is not None and world_size is not None:
        if not 0 <= rank < world_size:
            raise UsageError(
                f"rank {rank} of world size {world_size}: ranks are 0..{world_size - 1}"
            )
        return rank, world_size
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
