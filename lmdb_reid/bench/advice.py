"""A bench's findings, and the one thing to change first."""

from __future__ import annotations

from dataclasses import dataclass

from lmdb_reid.bench.loading import Cold, Reading
from lmdb_reid.bench.transforms import PipelineCost
from lmdb_reid.machine import size_in_words

_HIDDEN = 0.05  # share of a pass spent waiting that nobody notices
_SPARE = 1.1  # what a loader should make beyond what a step takes, so that it stays ahead
_GROWS = 1.2  # gain from the last workers added that promises more from further ones
_SLOW_DISK, _NOTICED_S = 1.5, 1.0  # cold epochs over warm ones, and by how many seconds
_ROOM = 0.8  # of the free memory that decoded pixels may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was measured of a store on this machine. Sizes in bytes."""

    store: str
    samples: int
    store_bytes: int
    decoded_bytes: int
    """Of all its images at the size that was read."""
    free_bytes: int | None
    cores: int
    batch_size: int
    engine: str
    """Which one, and why."""
    cold: Cold | None
    warm: tuple[Reading, ...]
    """One for each number of workers, ascending."""
    step: Reading | None
    """With the training step's time between the batches, and the most workers."""
    pipeline: PipelineCost | None


def advise(found: Findings) -> str:
    """One line: what to change first, by the name of its setting, or that nothing is to be."""
    best = max(found.warm, key=lambda reading: reading.samples_per_s)
    if found.step is not None and found.step.wait_share <= _HIDDEN:
        return _fast_enough(found, found.step)
    pipeline = found.pipeline
    if pipeline is not None and pipeline.total_ms > pipeline.decode_ms:
        worst = max(pipeline.stages, key=lambda stage: stage.ms)
        return (
            f"{worst.name} takes {worst.ms:.2f} ms an image, decoding {pipeline.decode_ms:.2f}:"
            " drop or lighten it, or do it on whole batches on the device"
        )
    if _more_workers_help(found):
        most = found.warm[-1].num_workers
        return f"set num_workers={min(found.cores, 2 * most)}: {most} do not yet saturate"
    if found.cold is not None and _waits_for_disk(found.cold.reading.epoch_s, best.epoch_s):
        return (
            f"the first epoch waits for the disk ({found.cold.reading.epoch_s:.1f} s, later ones"
            f" {best.epoch_s:.1f}): run `lmdb-reid warm {found.store}` before training"
        )
    if found.free_bytes is not None and found.decoded_bytes < _ROOM * found.free_bytes:
        return (
            f"decoding is the limit, and all {found.samples:,} images fit into memory decoded"
            f" ({size_in_words(found.decoded_bytes)} of {size_in_words(found.free_bytes)} free):"
            f" `lmdb-reid warm {found.store} --decoded`, then ReIDDataset(...,"
            " cache=DecodedTier(store))"
        )
    return (
        "decoding is the limit: build the store at the size that training uses"
        " (--size), set fast_dct=True, or use more cores"
    )


def break_even_ms(reading: Reading, batch_size: int) -> float:
    """The training step that this loader just keeps up with, for one batch."""
    return 1e3 * batch_size / reading.samples_per_s if reading.samples_per_s else 0.0


def _fast_enough(found: Findings, step: Reading) -> str:
    needed = _SPARE * 1e3 * found.batch_size / step.step_ms
    enough = next(
        (reading.num_workers for reading in found.warm if reading.samples_per_s >= needed),
        step.num_workers,
    )
    fewer = f", and num_workers={enough} would do" if enough < step.num_workers else ""
    return (
        f"nothing to change: a step of {step.step_ms:g} ms waits {step.wait_ms_p50:.1f} ms for its"
        f" batch with num_workers={step.num_workers}{fewer}"
    )


def _more_workers_help(found: Findings) -> bool:
    """Whether the most workers tried were the fastest by far, and cores are left."""
    if len(found.warm) < 2 or found.warm[-1].num_workers >= found.cores:
        return False
    before, last = found.warm[-2:]
    return last.samples_per_s > _GROWS * before.samples_per_s


def _waits_for_disk(cold_s: float, warm_s: float) -> bool:
    return cold_s > max(_SLOW_DISK * warm_s, warm_s + _NOTICED_S)
