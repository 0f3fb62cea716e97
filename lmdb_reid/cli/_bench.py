"""What `lmdb-reid bench` measures and prints; needs torch, which the command's --help does not."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmdb_reid import _disk
from lmdb_reid.bench import loading, pages
from lmdb_reid.bench.advice import Findings, advise, break_even_ms
from lmdb_reid.bench.loading import Cold, Reading, Setup
from lmdb_reid.bench.timeline import timeline
from lmdb_reid.bench.transforms import Pipeline, PipelineCost, load_pipeline, pipeline_cost
from lmdb_reid.dataset import ReIDDataset, Transform
from lmdb_reid.errors import UsageError
from lmdb_reid.machine import free_memory, size_in_words
from lmdb_reid.progress import say
from lmdb_reid.schema import parse_size
from lmdb_reid.store import Store


def find_out(args: argparse.Namespace) -> Findings:
    """Measure what the command's arguments ask for; draw the timeline if they ask for one.

    Raises:
        UsageError: the pipeline cannot be used, or an argument is invalid.
    """
    pipeline = Pipeline(load_pipeline(args.transform), pil=args.pil) if args.transform else None
    setup = Setup(
        store=Path(args.store),
        batch_size=args.batch_size,
        engine=args.engine,
        size=parse_size(args.size),
        transform=_transform_of(pipeline),
    )
    if pipeline is not None:
        _check_pipeline(setup, pipeline)
    found = _measured(setup, pipeline, args)
    if args.plot:
        _plot(setup, found, args)
    return found


def lines(found: Findings) -> Iterator[str]:
    """The findings for people: a table for each, then the advice."""
    free = "unknown" if found.free_bytes is None else size_in_words(found.free_bytes)
    yield f"{found.store}: {found.samples:,} samples, batches of {found.batch_size}"
    disk, decoded = size_in_words(found.store_bytes), size_in_words(found.decoded_bytes)
    yield f"  on disk {disk}, decoded {decoded};"
    yield f"  memory free {free}; cores {found.cores}; {found.engine}"
    yield ""
    yield from _table(
        ("epoch", "workers", "seconds", "samples/s", "first batch ms", "wait ms p50", "p99"),
        _epochs(found),
    )
    if any(not reading.whole for _, reading in _readings(found)):
        yield "  ~ in proportion, from as much of the epoch as there was time for"
    if found.cold is not None and not found.cold.is_cold:
        yield _not_cold(found.cold)
    last = found.warm[-1]
    even = break_even_ms(last, found.batch_size)
    yield (
        f"  a step of {even:.1f} ms or more for a batch hides loading with"
        f" num_workers={last.num_workers}"
    )
    if found.step is not None:
        yield ""
        yield from _table(
            ("step ms", "workers", "wait ms p50", "p99", "waiting"), [_step(found.step)]
        )
    if found.pipeline is not None:
        yield ""
        yield from _table(("transform", "ms an image", "share"), _stages(found.pipeline))
    yield ""
    yield f"advice: {advise(found)}"


def _measured(setup: Setup, pipeline: Pipeline | None, args: argparse.Namespace) -> Findings:
    """All measurements, the cold one first, while no store is open."""
    with Store(setup.store) as store:
        samples, size = len(store), ReIDDataset(store, size=setup.size).size
    del store  # with its column files mapped, they could not leave the page cache
    counts = args.num_workers or loading.usual_workers()
    parts = len(counts) + (not args.no_cold) + bool(args.step_ms) + (pipeline is not None)
    limit_s = args.seconds / (parts + 1)  # one for starting workers and reading in
    most, cold, step, cost = counts[-1], None, None, None
    if not args.no_cold:
        say(f"measuring a cold epoch, {limit_s:.1f} s at most")
        cold = loading.cold_epoch(setup, num_workers=most, limit_s=limit_s)
    pages.read_in(setup.store, limit_s=limit_s)
    warm = []
    for num_workers in counts:
        say(f"measuring warm epochs with num_workers={num_workers}, {limit_s:.1f} s at most")
        warm.append(loading.warm_epoch(setup, num_workers=num_workers, limit_s=limit_s))
    if args.step_ms:
        say(f"measuring epochs with steps of {args.step_ms:g} ms, {limit_s:.1f} s at most")
        step = loading.warm_epoch(
            setup, num_workers=most, limit_s=limit_s, step_s=args.step_ms / 1e3
        )
    if pipeline is not None:
        say(f"measuring each transform, {limit_s:.1f} s at most")
        cost = pipeline_cost(setup.store, pipeline, size=setup.size, limit_s=limit_s)
    return Findings(
        store=str(setup.store),
        samples=samples,
        store_bytes=pages.held(setup.store).bytes,
        decoded_bytes=samples * 3 * size[0] * size[1],
        free_bytes=free_memory(),
        cores=loading.usual_workers()[-1],
        batch_size=setup.batch_size,
        engine=loading.explained(setup, num_workers=most),
        cold=cold,
        warm=tuple(warm),
        step=step,
        pipeline=cost,
    )


def _check_pipeline(setup: Setup, pipeline: Pipeline) -> None:
    """Refuse before anything is measured what would fail in the workers."""
    pipeline_cost(setup.store, pipeline, size=setup.size, limit_s=0.0)  # names a stage that raises
    if setup.engine == "threads":
        return
    try:
        pickle.dumps(setup.transform)
    except Exception as error:  # pickle raises whatever comes
        raise UsageError(
            f"the pipeline cannot be sent to worker processes ({error}): define its transforms"
            " with def or class in a module"
        ) from None


def _plot(setup: Setup, found: Findings, args: argparse.Namespace) -> None:
    """One more epoch, watched and drawn."""
    num_workers, step_s = found.warm[-1].num_workers, (args.step_ms or 0.0) / 1e3
    say("measuring an epoch for the timeline")
    moments = loading.watched_epoch(
        setup, num_workers=num_workers, limit_s=args.seconds, step_s=step_s
    )
    engine = found.engine.partition(":")[0]
    title = f"{setup.store.name}: {engine}, {num_workers} workers, batches of {setup.batch_size}"
    figure, file = timeline(moments, title), Path(args.plot)
    with _disk.whole_file(file) as out:
        figure.savefig(out, format=file.suffix[1:].lower())
    say(f"drawn: {file}")


def _transform_of(pipeline: Pipeline | None) -> Transform | None:
    """The pipeline as a dataset takes it; a single transform bare, so that its generator shows."""
    if pipeline is None:
        return None
    return pipeline if pipeline.pil or len(pipeline.stages) > 1 else pipeline.stages[0]


def _readings(found: Findings) -> list[tuple[str, Reading]]:
    cold = [] if found.cold is None else [("cold", found.cold.reading)]
    return [*cold, *(("warm", reading) for reading in found.warm)]


def _epochs(found: Findings) -> Iterator[tuple[str, ...]]:
    for name, reading in _readings(found):
        yield (
            name,
            str(reading.num_workers),
            f"{'' if reading.whole else '~'}{reading.epoch_s:,.2f}",
            f"{reading.samples_per_s:,.0f}",
            f"{reading.first_batch_ms:,.1f}",
            f"{reading.wait_ms_p50:,.1f}",
            f"{reading.wait_ms_p99:,.1f}",
        )


def _step(step: Reading) -> tuple[str, ...]:
    return (
        f"{step.step_ms:g}",
        str(step.num_workers),
        f"{step.wait_ms_p50:,.1f}",
        f"{step.wait_ms_p99:,.1f}",
        f"{step.wait_share:.0%}",
    )


def _stages(cost: PipelineCost) -> Iterator[tuple[str, ...]]:
    for stage in cost.stages:
        yield stage.name, f"{stage.ms:.3f}", f"{stage.share:.0%}"
    yield "all", f"{cost.total_ms:.3f}", "100%"
    yield "(decoding)", f"{cost.decode_ms:.3f}", ""


def _not_cold(cold: Cold) -> str:
    if cold.resident_share is None:
        return "  cold: the files were let go, but this system cannot show what stayed in memory"
    return (
        f"  not cold: {cold.resident_share:.0%} of the store stayed in memory (another process has"
        " it open, or this file system keeps it)"
    )


def _table(header: Sequence[str], rows: Iterator[tuple[str, ...]] | list[Any]) -> Iterator[str]:
    """Aligned columns: the first to the left, numbers to the right."""
    table = [tuple(header), *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(header))]
    for row in table:
        first, *rest = (
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join([first, *rest]).rstrip()
