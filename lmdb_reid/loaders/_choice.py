"""Which engine makes the batches, and why."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace

from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._config import DeviceConfig, EngineName, LoaderConfig
from lmdb_reid.loaders._dataloader import DataLoaderEngine
from lmdb_reid.loaders._device_decode import DeviceDecodeEngine, cuda_decoder
from lmdb_reid.loaders._engine import CPU, Engine
from lmdb_reid.loaders._job import Job
from lmdb_reid.loaders._processes import ProcessesEngine
from lmdb_reid.loaders._resident import ResidentEngine
from lmdb_reid.loaders._threads import ThreadsEngine


def choose_engine(
    job: Job, config: LoaderConfig, on_device: DeviceConfig, batch_size: int
) -> tuple[Engine, str]:
    """(the engine, why it was taken)."""
    name, why = _engine_name(job, config)
    _warn_of_generators(job, name, config.num_workers)
    if on_device.decode == "cuda" or on_device.resident:
        _check_on_device(job, on_device)
    maker: Engine
    if on_device.decode == "cuda" and on_device.device is not None:
        decoder_name, decoder = cuda_decoder(on_device.device)
        why = f"decode='cuda' was asked for; {decoder_name} decodes"
        maker = DeviceDecodeEngine(job, decoder, device=on_device.device, prefetch=config.prefetch)
    else:
        maker = _MAKERS[name](replace(job, augment=None) if on_device.resident else job, config)
    if on_device.resident:
        why = f"resident=True was asked for; {maker.name} fills it once ({why})"
        there = on_device.device or CPU
        maker = ResidentEngine(job, maker, device=there, batch_size=batch_size)
    return maker, why


def runs_in_threads(engine: EngineName, job: Job) -> bool:
    """Whether workers of this engine will be threads of this process."""
    return engine == "threads" or (engine == "auto" and job.transform is None)


def _engine_name(job: Job, config: LoaderConfig) -> tuple[str, str]:
    """(engine, why) for what was asked."""
    needs_process = job.transform is not None and not job.transform.wants_generator
    if config.engine == "threads" and needs_process:
        raise UsageError(
            "engine='threads' needs a transform with a keyword `generator`, since threads"
            " share the global random generators. Add it, or use engine='processes'"
        )
    if config.engine == "dataloader":
        return "dataloader", "it was asked for"
    if config.num_workers == 0:
        return "dataloader", "num_workers=0 decodes in the caller's thread"
    if config.engine != "auto":
        return config.engine, "it was asked for"
    if runs_in_threads(config.engine, job):
        return "threads", "no transform is set, so nothing needs a separate process"
    if not hasattr(os, "memfd_create"):
        return "dataloader", "the transform needs processes, and those of our own need Linux"
    return (
        "processes",
        "a Python transform holds the interpreter's lock, so each worker needs its own",
    )


def _warn_of_generators(job: Job, engine: str, num_workers: int) -> None:
    """Say what becomes of the random generators that a transform keeps: copied into each worker as
    they are, they would give every worker the same numbers.
    """
    found = [] if job.transform is None else job.transform.own.of(job.transform.function)
    wants_generator = job.transform is not None and job.transform.wants_generator
    if not found or (wants_generator and engine != "threads"):  # its own then follow the given one
        return
    if engine == "threads":
        then = "all threads draw from them in turn, and no run repeats another"
    elif num_workers:
        then = "workers seed them for each sample, from the loader's seed, epoch and place"
    else:
        then = "num_workers=0 draws on from them as they are, so that no epoch can be repeated"
    kinds = ", ".join(sorted({f"{type(one).__module__}.{type(one).__name__}" for one in found}))
    warnings.warn(
        (
            f"the transform has its own generator ({kinds}): {then}. A transform that"
            " draws from its keyword `generator` alone is seeded by every engine"
        ),
        stacklevel=5,
    )


def _threads(job: Job, config: LoaderConfig) -> Engine:
    return ThreadsEngine(
        job,
        num_workers=config.num_workers,
        prefetch=config.prefetch,
        pin=config.pin_memory,
    )


def _processes(job: Job, config: LoaderConfig) -> Engine:
    return ProcessesEngine(
        job,
        num_workers=config.num_workers,
        prefetch=config.prefetch,
        start_method=config.start_method,
    )


def _dataloader(job: Job, config: LoaderConfig) -> Engine:
    return DataLoaderEngine(
        job,
        num_workers=config.num_workers,
        prefetch=config.prefetch,
        pin=config.pin_memory,
        persistent=config.persistent_workers,
    )


_MAKERS: dict[str, Callable[[Job, LoaderConfig], Engine]] = {
    "threads": _threads,
    "processes": _processes,
    "dataloader": _dataloader,
}


def _check_on_device(job: Job, config: DeviceConfig) -> None:
    """Refuse what cannot be done where the pixels are to be made."""
    asked = "resident=True" if config.resident else f"decode={config.decode!r}"
    if job.transform is not None:
        raise UsageError(
            f"{asked} makes whole batches on the device, and the dataset has a transform of single"
            " images: transform the batches there instead"
        )
    if config.decode == "cuda" and (config.device is None or config.device.type != "cuda"):
        raise UsageError("decode='cuda' needs device='cuda'")
