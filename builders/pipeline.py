"""The build: frames in parallel, each read and decoded once, one writer.

    source.read() -> frames -> [threads: read, decode, cut, resize, encode] -> in frame order ->
    StoreWriter -> seal

Threads do the work, for file reading, libjpeg-turbo, the resizer and SHA-256 all release the GIL.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.cropping import cut
from builders.negatives import Negative, Negatives, chosen_negatives, made_negatives
from builders.report import Report
from builders.samples import sample_id, whole
from builders.settings import BuildSettings
from builders.skipping import MAX_SKIPPED, check_skipped
from builders.sources import BoxRow, Frame, LeftOut, Listing, Source
from builders.workers import checked_workers
from lmdb_reid import codec
from lmdb_reid.errors import (
    DuplicateSampleError,
    ImageError,
    ResumeError,
    SourceError,
    UsageError,
)
from lmdb_reid.progress import Progress
from lmdb_reid.schema import NO_LABEL, Box, Kind, Size, check_id
from lmdb_reid.store import NewSample, StoreWriter

REPORT = "report.json"
_AHEAD = 4  # frames in flight for each worker


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
    progress: Progress | None = None,
) -> Report:
    """Build the store `out` from a source.

    Args:
        source: frames and their boxes.
        out: the store's directory, made by one rename when all is done.
        settings: what to cut; the defaults unless given.
        num_workers: threads that decode and encode; as many as there are cores unless given. The
            content does not depend on it.
        resume: go on with an unfinished build of the same settings and inputs.
        overwrite: replace a store that is there, once this one is finished.
        strict: a row that cannot be used is an error.
        max_skipped: so is a larger share of such rows.
        negatives: a csv to take the negatives from; they are made as the settings say unless
            given.
        progress: called after each frame.

    Raises:
        SourceError: the source cannot be used, a row cannot under `strict`, or too many
            (TooManySkippedError).
        ResumeError: the unfinished build has other settings, or an input changed since.
        StoreError: the store cannot be written; see `StoreWriter`.
    """
    if not callable(getattr(source, "read", None)):
        raise UsageError(f"build reads a source, such as AtmaCup(csv, frames), not {source!r}")
    if settings is not None and not isinstance(settings, BuildSettings):
        raise UsageError(f"settings are BuildSettings(...), not {settings!r}")
    settings = settings or BuildSettings()
    num_workers = checked_workers(num_workers)
    if not 0 <= max_skipped <= 1:
        raise UsageError(f"max_skipped {max_skipped}: give a share from 0 to 1")
    began = time.perf_counter()
    report = None
    listing = source.read()
    _check_listing(listing)
    listing, negatives_of = chosen_negatives(listing, settings, negatives)
    tally = _Tally(listing, strict=strict, max_skipped=max_skipped)
    stamps = _stamps(listing.frames)
    with StoreWriter(
        out,
        settings=settings.as_json() | dict(listing.settings) | {"inputs": dict(listing.inputs)},
        source=_provenance(source, listing) | {"frames": stamps},
        resume=resume,
        overwrite=overwrite,
    ) as writer:
        if writer.complete:
            if writer.source.get("frames") != stamps:
                raise ResumeError(
                    "cannot resume: a frame changed, or was touched, since the build was begun;"
                    " give --overwrite"
                )
        else:
            todo = list(_not_done(listing.frames, writer.marks(), tally))
            cutter = FrameCutter(settings, negatives_of)
            try:
                report = _write_frames(
                    writer, todo, cutter, tally, num_workers=num_workers, progress=progress
                )
            except SourceError as error:
                raise type(error)(
                    f"{error}. What was cut so far stays in {writer.path}.partial: mend the source"
                    " and give --overwrite, which discards it"
                ) from None
            report.out = str(writer.path)
            _finish(report, tally, began)
            writer.attach(REPORT, report.to_json())
        path = writer.seal()
    report = report or Report.from_json((path / REPORT).read_bytes())
    report.seconds = time.perf_counter() - began
    report.size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return report


@dataclass(frozen=True, slots=True)
class _Cut:
    """What came of one frame."""

    frame: Frame
    samples: list[NewSample]
    skipped: list[LeftOut]
    stamp: list[int]


class _Tally:
    """Counts over all frames, and the limits on what may be skipped."""

    def __init__(self, listing: Listing, *, strict: bool, max_skipped: float) -> None:
        self.listing = listing
        self.skipped = list(listing.skipped)
        self.kinds: Counter[int] = Counter()
        self.labels: set[int] = set()
        self._strict = strict
        self._share = max_skipped
        self._check()

    def add(self, kinds: Mapping[int, int], labels: Iterable[int], skipped: list[LeftOut]) -> None:
        """Count one frame in.

        Raises:
            SourceError: a row was skipped under strict.
            TooManySkippedError: more rows than allowed were skipped.
        """
        self.kinds.update(kinds)
        self.labels.update(labels)
        self.skipped += skipped
        self._check()

    def _check(self) -> None:
        check_skipped(self.skipped, self.listing.rows, strict=self._strict, max_skipped=self._share)


def _check_listing(listing: Listing) -> None:
    seen: dict[str, Frame] = {}
    for frame in listing.frames:
        if frame.key in seen:
            raise DuplicateSampleError(
                f"{seen[frame.key].path} and {frame.path} would give samples the same ids:"
                f" {frame.key}#..."
            )
        seen[frame.key] = frame
        check_id(f"{frame.key}#000")


def _provenance(source: Source, listing: Listing) -> dict[str, Any]:
    return {"format": source.name, "codec": codec.codec_name(), **listing.places}


def _not_done(frames: Sequence[Frame], marks: Mapping[str, Any], tally: _Tally) -> Iterator[Frame]:
    """The frames that an earlier run has not finished; what it noted of the others is counted."""
    gone = marks.keys() - {frame.key for frame in frames}
    if gone:
        raise ResumeError(
            f"cannot resume: {min(gone)} was cut already, but is no frame of the source any more;"
            " put it back, or give --overwrite"
        )
    for frame in frames:
        note = marks.get(frame.key)
        if note is None:
            yield frame
            continue
        if note["stamp"] != _stamp(frame.path):
            raise ResumeError(
                f"cannot resume: {frame.path} changed, or was touched, since the build was begun;"
                " give --overwrite"
            )
        kinds = {int(kind): count for kind, count in note["kinds"]}
        tally.add(kinds, note["labels"], [LeftOut(*row) for row in note["skipped"]])


def _write_frames(
    writer: StoreWriter,
    frames: list[Frame],
    cutter: FrameCutter,
    tally: _Tally,
    *,
    num_workers: int,
    progress: Progress | None,
) -> Report:
    report = Report(out="", frames=len(tally.listing.frames), rows=tally.listing.rows)
    began, crops = time.perf_counter(), 0
    with ThreadPoolExecutor(num_workers, thread_name_prefix="cut") as pool:
        try:
            for done, result in enumerate(
                _in_order(pool, cutter.cut, frames, _AHEAD * num_workers), 1
            ):
                kinds = Counter(int(record["kind"]) for _, _, record in result.samples)
                labels = sorted({record["label"] for _, _, record in result.samples} - {NO_LABEL})
                tally.add(kinds, labels, result.skipped)
                note = {
                    "stamp": result.stamp,
                    "kinds": sorted(kinds.items()),
                    "labels": labels,
                    "skipped": [[row.line, row.frame, row.reason] for row in result.skipped],
                }
                writer.put_group(result.frame.key, result.samples, note)
                crops += len(result.samples)
                if progress:
                    progress(
                        done + len(tally.listing.frames) - len(frames),
                        len(tally.listing.frames),
                        crops,
                    )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    report.crops_per_second = crops / (time.perf_counter() - began) if crops else 0.0
    return report


def _finish(report: Report, tally: _Tally, began: float) -> None:
    report.kinds = {kind.title: tally.kinds[kind] for kind in Kind if tally.kinds[kind]}
    report.identities = len(tally.labels)
    report.skipped = sorted(tally.skipped, key=lambda row: row.line)
    report.dropped = list(tally.listing.dropped)
    report.seconds = time.perf_counter() - began
    if not report.samples:
        raise SourceError(f"none of {report.rows:,} rows gives a sample: there is nothing to store")


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Frame], _Cut], frames: Iterable[Frame], ahead: int
) -> Iterator[_Cut]:
    """Results in the order of the frames, never more than `ahead` of them waiting in memory."""
    waiting: deque[Future[_Cut]] = deque()
    for frame in frames:
        waiting.append(pool.submit(work, frame))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class FrameCutter:
    """Cuts all samples of a frame, players and negatives, in one pass over its pixels."""

    def __init__(self, settings: BuildSettings, negatives: Negatives | None = None) -> None:
        self._settings = settings
        self._negatives = negatives or made_negatives(settings)

    def cut(self, frame: Frame) -> _Cut:
        """Read, decode and cut one frame. A frame that cannot be read gives no samples; its rows
        are skipped.
        """
        stamp = _stamp(frame.path)
        try:
            if (
                frame.path.exists() and not frame.path.is_file()
            ):  # a pipe would be waited for, for ever
                raise ImageError("no regular file")
            data = frame.path.read_bytes()
            info = codec.probe(data)
            samples, skipped = self._samples(frame, data, info)
        except ImageError as error:
            return _Cut(frame, [], _all_rows(frame, f"{frame.path.name}: {error}"), stamp)
        except OSError as error:
            return _Cut(
                frame,
                [],
                _all_rows(frame, f"{frame.path.name} cannot be read: {error.strerror}"),
                stamp,
            )
        return _Cut(frame, samples, skipped, stamp)

    def _samples(
        self, frame: Frame, data: bytes, info: codec.SourceInfo
    ) -> tuple[list[NewSample], list[LeftOut]]:
        settings, size = self._settings, (info.height, info.width)
        if (
            info.plain
            and frame.rows
            and all(row.box is None for row in frame.rows)
            and settings.size in (None, size)
        ):
            return [
                (frame.key, data, _record(frame, frame.rows[0]))
            ], []  # a crop already: kept byte for byte
        image = codec.read_source(data, info, codec.scratch(size[0] * size[1] * 3))
        samples: list[NewSample] = []
        skipped: list[LeftOut] = []
        for row in frame.rows:
            box = row.box or Box(0, 0, info.width, info.height)
            crop = cut(image, box, expand=settings.expand if row.box else 1.0, size=settings.size)
            if crop is None:
                skipped.append(LeftOut(row.line, frame.key, outside(box, size)))
                continue
            samples.append((sample_id(frame, row), self._encode(crop), _record(frame, row)))
        for negative in chain(*self._negatives([frame], [size])):
            crop = cut(image, negative.box, size=settings.size)
            if crop is None:  # it comes from a csv: those that are made lie inside
                reason = f"negatives csv: {outside(negative.box, size)}"
                skipped.append(LeftOut(negative.line, frame.key, reason))
                continue
            samples.append((negative.id, self._encode(crop), _negative(frame, negative)))
        samples.sort(key=lambda sample: sample[0].encode())  # sealing is faster for rows in order
        return samples, skipped

    def _encode(self, crop: npt.NDArray[np.uint8]) -> bytes:
        return codec.encode(crop, quality=self._settings.quality)


def _stamps(frames: Sequence[Frame]) -> str:
    """A digest of the stamps of all frames."""
    told = ((frame.key, *_stamp(frame.path)) for frame in frames)
    return hashlib.sha256(repr(sorted(told)).encode("utf-8", "backslashreplace")).hexdigest()


def _stamp(path: Path) -> list[int]:
    """Size and time of change, which tell a resumed build that a frame is still the same; zeros
    where it cannot be read.
    """
    try:
        status = path.stat()
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]


def _all_rows(frame: Frame, reason: str) -> list[LeftOut]:
    return [LeftOut(row.line, frame.key, reason) for row in frame.rows]


def outside(box: Box, size: Size) -> str:
    """Why a box that lies wholly outside its frame of (height, width) cannot be used."""
    return (
        f"the box x={box.x:g} y={box.y:g} w={box.w:g} h={box.h:g} lies outside the"
        f" {size[1]}x{size[0]} frame"
    )


def _record(frame: Frame, row: BoxRow) -> dict[str, Any]:
    box = {} if row.box is None else _box_fields(row.box)
    return {"label": row.label, "kind": int(row.kind), **frame.fields, **box, **row.fields}


def _negative(frame: Frame, negative: Negative) -> dict[str, Any]:
    kind = int(negative.kind)
    return {"label": NO_LABEL, "kind": kind, **frame.fields, **_box_fields(negative.box)}


def _box_fields(box: Box) -> dict[str, float]:
    return {name: whole(side) for name, side in box._asdict().items()}
