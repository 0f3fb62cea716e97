"""What a build would do, from the csv and image headers alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from builders.negatives import Negative, chosen_negatives
from builders.pipeline import outside
from builders.report import Report
from builders.settings import BuildSettings
from builders.sizes import frame_sizes
from builders.sources import Frame, LeftOut, Source
from builders.workers import checked_workers
from lmdb_reid.progress import Progress
from lmdb_reid.schema import NO_LABEL, Box, Kind, Size

# Of one core of a 2.x GHz server, for an estimate: full-HD frames decode at 3 ns a pixel; a crop
# is cut, resized, encoded
# and written at 8 ns a pixel and 60 us besides.
_FRAME_NS, _CROP_NS, _CROP_US = 3.0, 8.0, 60.0
_PAGE = 4096


def plan(
    source: Source,
    out: str | os.PathLike[str],
    settings: BuildSettings | None = None,
    *,
    num_workers: int | None = None,
    negatives: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """The report that a build would end with; size and time are estimates.

    Damage behind an image's header is not seen. Nothing is written.

    Raises:
        SourceError: the source as a whole cannot be used.
    """
    settings = settings or BuildSettings()
    num_workers = checked_workers(num_workers)
    listing = source.read()
    listing, negatives_of = chosen_negatives(listing, settings, negatives)
    report = Report(out=os.fspath(out), frames=len(listing.frames), rows=listing.rows, dry_run=True)
    report.skipped, report.dropped = list(listing.skipped), list(listing.dropped)
    kinds: Counter[Kind] = Counter()
    labels: set[int] = set()
    crop_pixels = frame_pixels = crops = 0.0
    sizes = frame_sizes(listing.frames, num_workers)
    for done, (frame, size) in enumerate(zip(listing.frames, sizes, strict=True), 1):
        boxes: list[tuple[Kind, int, Box]] = []
        if isinstance(size, str):
            report.skipped += [LeftOut(row.line, frame.key, size) for row in frame.rows]
        else:
            boxes, skipped = _boxes(frame, size, settings, *negatives_of([frame], [size]))
            report.skipped += skipped
            frame_pixels += size[0] * size[1]
        for kind, label, box in boxes:
            kinds[kind] += 1
            labels |= {label} - {-1}
            crop_pixels += settings.size[0] * settings.size[1] if settings.size else box.area
        crops += len(boxes)
        if progress:
            progress(done, len(listing.frames), int(crops))
    report.skipped.sort(key=lambda row: row.line)
    report.kinds = {kind.title: kinds[kind] for kind in Kind if kinds[kind]}
    report.identities = len(labels)
    report.size_bytes = int(
        crop_pixels * _bytes_per_pixel(settings.quality) + crops * (_PAGE / 2 + 250)
    )
    report.seconds = (frame_pixels * _FRAME_NS + crop_pixels * _CROP_NS) / 1e9 / num_workers
    report.seconds += crops * _CROP_US / 1e6 / num_workers
    return report


def _boxes(
    frame: Frame, size: Size, settings: BuildSettings, negatives: Sequence[Negative]
) -> tuple[list[tuple[Kind, int, Box]], list[LeftOut]]:
    """(kind, label, cut) of every sample of a frame, and the rows that lie outside it."""
    found: list[tuple[Kind, int, Box]] = []
    skipped: list[LeftOut] = []
    for row in frame.rows:
        box = row.box or Box(0, 0, size[1], size[0])
        if box.clipped(size).area <= 0:
            skipped.append(LeftOut(row.line, frame.key, outside(box, size)))
        else:
            found.append((row.kind, row.label, box.grown(settings.expand).clipped(size)))
    for negative in negatives:
        inside = negative.box.clipped(size)
        if inside.area <= 0:
            reason = f"negatives csv: {outside(negative.box, size)}"
            skipped.append(LeftOut(negative.line, frame.key, reason))
        else:
            found.append((negative.kind, NO_LABEL, inside))
    return found, skipped


def _bytes_per_pixel(quality: int) -> float:
    """About what 4:2:0 photographs take (0.30 at 95, 0.12 at 80)."""
    return 0.04 + 0.26 * (quality / 95) ** 6
