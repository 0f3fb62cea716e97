"""The build: frames in parallel, each read and decoded once, one writer.

    source.read() -> frames -> [threads: read, decode, cut, resize, encode] -> in frame order ->
    StoreWriter -> seal

Threads do the work, for file reading, libjpeg-turbo, the resizer and SHA-256 all release the GIL.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from builders.columns import Texts
from builders.cutting import FrameCutter, FrameResult
from builders.estimate import Estimate, cut_some
from builders.finished import check_finished, is_sealed
from builders.job import Job, job_of
from builders.media import Medium
from builders.negatives import NearbyNegatives, Negatives
from builders.report import Report, Tally, some_of_rejected
from builders.settings import MAX_SKIPPED, BuildSettings, worker_count
from builders.sources import Frame, Frames, Rejected, Source
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import ResumeError, SourceError, SourceReadError
from lmdb_reid.progress import Progress
from lmdb_reid.schema import NO_LABEL
from lmdb_reid.store import NewSample, StoreWriter

_REPORT = "report.json"
_AHEAD = 4  # frames in flight for each worker
_NEARBY = 32  # frames whose negatives are drawn together


@known_arguments()
def build(
    source: Source,
    out: str | os.PathLike[str],
    settings: BuildSettings | None = None,
    *,
    num_workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    max_skipped: float = MAX_SKIPPED,
    negatives: str | os.PathLike[str] | None = None,
    derive: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Build the store `out` from a source.

    Args:
        source: lists the frames and their boxes.
        out: the store's directory, which appears under this name when the store is complete.
        settings: what to cut, and how (default: `BuildSettings()`).
        num_workers: threads that decode and encode (default: as many as there are cores). The
            content does not depend on it.
        resume: continue an unfinished build with the same settings and inputs.
        overwrite: replace a store at `out` once this one is finished.
        strict: fail on any unusable row.
        max_skipped: fail if a larger share of rows is unusable.
        negatives: a csv to take the negatives from (default: generate them by the settings).
        derive: names of numbers to compute from each crop: "phash", "blur".
        progress: called after each frame.

    Raises:
        SourceError: the source cannot be used, a row is unusable and `strict` is set, or too many
            rows are (TooManySkippedError).
        SourceReadError: a picture could not be read this time; `resume` continues later.
        ResumeError: the unfinished build has other settings, or an input has changed.
        StoreError: the store cannot be written; see `StoreWriter`.
    """
    return build_job(
        job_of(source, settings, negatives=negatives, derive=derive),
        out,
        num_workers=num_workers,
        resume=resume,
        overwrite=overwrite,
        strict=strict,
        max_skipped=max_skipped,
        progress=progress,
    )


def build_job(
    job: Job,
    out: str | os.PathLike[str],
    *,
    num_workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    max_skipped: float = MAX_SKIPPED,
    progress: Progress | None = None,
) -> Report:
    """`build` of a source that was read already."""
    num_workers = worker_count(num_workers)
    began = time.perf_counter()
    if resume and not overwrite and is_sealed(out):
        check_finished(job, out)
        return _report_of(Path(out), began, was_complete=True)
    tally = Tally(job.listing, strict=strict, max_skipped=max_skipped)
    stamps = job.stamps()
    report = None
    with StoreWriter(
        out,
        settings=job.fingerprint,
        source=job.provenance | {"frames": stamps},
        roles=job.roles,
        resume=resume,
        overwrite=overwrite,
    ) as writer:
        if not writer.complete:
            with _advice(f"{writer.path}.partial"):
                rate = _write_frames(writer, job, tally, num_workers, progress)
                report = tally.report(
                    out=str(writer.path),
                    seconds=time.perf_counter() - began,
                    crops_per_second=rate,
                )
                _check_samples(report)
            writer.attach(_REPORT, report.to_json())
        elif writer.source.get("frames") != stamps:
            raise ResumeError(
                "cannot resume: a frame changed, or was touched, since the build was begun."
                " Use --overwrite"
            )
        path = writer.seal()
    return _report_of(path, began, report)


def _report_of(
    path: Path, began: float, report: Report | None = None, *, was_complete: bool = False
) -> Report:
    """The report of a sealed store; `report` unless an earlier run made it."""
    report = report or Report.from_json((path / _REPORT).read_bytes())
    return replace(
        report,
        out=str(path),
        seconds=time.perf_counter() - began,
        size_bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        was_complete=was_complete,
    )


@known_arguments()
def plan(
    source: Source,
    out: str | os.PathLike[str],
    settings: BuildSettings | None = None,
    *,
    num_workers: int | None = None,
    negatives: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """The report that a build would end with, from headers alone; size and time are estimates, in
    proportion to some frames that are cut for it.

    Damage behind an image's header is not seen. Nothing is written, and any number of rows may be
    skipped: `builders.report.check_skipped` says whether a build would go on.

    Raises:
        SourceError: the source as a whole cannot be used.
    """
    num_workers = worker_count(num_workers)
    job = job_of(source, settings, negatives=negatives)
    tally = Tally(job.listing, max_skipped=1)
    estimate = Estimate(job.settings)
    cutter = FrameCutter(job.listing.medium, job.settings, job.negatives)
    _go_through(
        (
            functools.partial(cutter.plan, frame, nearby)
            for frame, nearby in _with_nearby(job.listing.frames, job.negatives)
        ),
        lambda result, _note: estimate.add(result),
        tally,
        num_workers=num_workers,
        total=len(job.listing.frames),
        progress=progress,
    )
    estimate.measure(*cut_some(job, cutter, num_workers))
    report = tally.report(out=os.fspath(out), seconds=estimate.seconds(num_workers))
    return replace(report, size_bytes=estimate.size_bytes(), dry_run=True)


def _write_frames(
    writer: StoreWriter, job: Job, tally: Tally, num_workers: int, progress: Progress | None
) -> float:
    """Cut what earlier runs have not, and put it; the rate is in crops a second."""
    frames, medium = job.listing.frames, job.listing.medium
    marks = writer.marks()
    _count_earlier(frames, marks, medium, tally)
    keys = frames.keys if not marks else Texts.of(key for key in frames.keys if key not in marks)
    todo = (frame for frame in frames if frame.key not in marks)
    cutter = FrameCutter(medium, job.settings, job.negatives, job.derived)

    def put(result: FrameResult, note: Mapping[str, Any]) -> None:
        writer.put_group(result.key, _samples(result), note)

    began = time.perf_counter()
    crops = _go_through(
        (
            functools.partial(cutter.cut, frame, picture, nearby)
            for (frame, nearby), picture in zip(
                _with_nearby(todo, job.negatives), medium.run(keys), strict=True
            )
        ),
        put,
        tally,
        num_workers=num_workers,
        total=len(frames),
        done=len(frames) - len(keys),
        progress=progress,
    )
    return crops / (time.perf_counter() - began) if crops else 0.0


def _with_nearby(
    frames: Iterable[Frame], negatives: Negatives
) -> Iterator[tuple[Frame, NearbyNegatives]]:
    """Each frame with the negatives of its neighbours and its own."""
    rest = iter(frames)
    while few := list(itertools.islice(rest, _NEARBY)):
        yield from zip(few, itertools.repeat(NearbyNegatives(negatives, few)), strict=False)


def _samples(result: FrameResult) -> list[NewSample]:
    """What the writer takes."""
    derived = result.derived or [{}] * len(result.cuts)
    return [
        NewSample(one.id, image, one.record, one.order, numbers)
        for one, image, numbers in zip(result.cuts, result.images, derived, strict=True)
    ]


def _count_earlier(frames: Frames, marks: Mapping[str, Any], medium: Medium, tally: Tally) -> None:
    """Count what earlier runs noted of the frames that they finished.

    Raises:
        ResumeError: one of them is no frame any more, or is another picture.
    """
    if not marks:
        return
    gone = marks.keys() - {*frames.keys}
    if gone:
        raise ResumeError(
            f"cannot resume: {min(gone)} was cut already, but the source has no such"
            " frame any more. Restore it, or use --overwrite"
        )
    for key, note in marks.items():
        if tuple(note["stamp"]) != medium.stamp(key):
            raise ResumeError(
                f"cannot resume: {medium.name(key)} changed, or was touched, since the build"
                " was begun. Use --overwrite"
            )
        kinds = {int(kind): count for kind, count in note["kinds"]}
        skipped = [Rejected(*row) for row in note["skipped"]]
        tally.add(kinds, note["labels"], skipped, note["given_up"])


def _go_through(
    tasks: Iterable[Callable[[], FrameResult]],
    sink: Callable[[FrameResult, Mapping[str, Any]], None],
    tally: Tally,
    *,
    num_workers: int,
    total: int,
    done: int = 0,
    progress: Progress | None,
) -> int:
    """Do the work of each frame in threads; count it and hand it on in the order of the frames.

    Args:
        tasks: one for each frame.
        sink: takes each result with what to note of it.
        tally: counts it first, and may end all.
        num_workers: how many threads.
        total: frames in all, with the `done` ones that earlier runs finished.
        done: these.
        progress: called after each frame.

    Returns:
        How many samples there were.
    """
    samples = 0
    with ThreadPoolExecutor(num_workers, thread_name_prefix="cut") as pool:
        try:
            for result in _in_order(pool, tasks, _AHEAD * num_workers):
                kinds = Counter(int(one.record["kind"]) for one in result.cuts)
                labels = sorted({one.record["label"] for one in result.cuts} - {NO_LABEL})
                tally.add(kinds, labels, result.skipped, result.given_up)
                note = {
                    "stamp": result.stamp,
                    "kinds": sorted(kinds.items()),
                    "labels": labels,
                    "skipped": result.skipped,
                    "given_up": result.given_up,
                }
                sink(result, note)
                samples += len(result.cuts)
                done += 1
                if progress:
                    progress(done, total, samples)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return samples


def _in_order(
    pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], FrameResult]], ahead: int
) -> Iterator[FrameResult]:
    """Results in the order of the tasks, never more than `ahead` of them waiting in memory."""
    waiting: deque[Future[FrameResult]] = deque()
    for task in tasks:
        waiting.append(pool.submit(task))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _check_samples(report: Report) -> None:
    if not report.samples:
        why = f" ({some})" if (some := some_of_rejected(report.skipped or report.dropped)) else ""
        raise SourceError(f"no usable row (0 of {report.rows:,}), so nothing can be built{why}")


@contextlib.contextmanager
def _advice(partial: str) -> Iterator[None]:
    """Say after an error of the source what is left, and how to go on."""
    kept = f"What was cut so far stays in {partial}"
    try:
        yield
    except SourceReadError as error:
        raise SourceReadError(f"{error}. {kept}: use --resume to continue") from None
    except SourceError as error:
        raise type(error)(
            f"{error}. {kept}: fix the source and use --overwrite, which discards it"
        ) from None
