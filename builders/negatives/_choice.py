"""The negatives of a build: drawn, or taken from a csv."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path

from builders.negatives._boxes import background_id, partial_id
from builders.negatives._csv import FIRST_LINE, load_negatives_from_csv
from builders.negatives._frames import Negative, Negatives, random_negatives
from builders.samples import FRAME_FIELDS, BoxSample, sample_id
from builders.settings import BuildSettings
from builders.sources import Frame, Listing
from lmdb_reid.errors import (
    DuplicateSampleError,
    SourceError,
    SourceNotFoundError,
    UsageError,
)
from lmdb_reid.schema import Box, Kind, iou

_DECIDED_HERE = ("num_bg_per_frame", "num_partial_per_box", "max_person_share", "seed")
_SLOT = {Kind.BACKGROUND: re.compile(r"bg\d{3,}"), Kind.PARTIAL: re.compile(r"\d{3,}p\d+")}


def negatives_of(
    listing: Listing, settings: BuildSettings, path: str | os.PathLike[str] | None = None
) -> Negatives:
    """The negatives of a build.

    Args:
        listing: frames and their boxes.
        settings: decide where there is no csv.
        path: the csv to take them from, or None: drawn as the settings say.

    Raises:
        As `csv_negatives`.
    """
    return random_negatives(settings) if path is None else csv_negatives(path, listing)


def csv_negatives(path: str | os.PathLike[str], listing: Listing) -> Negatives:
    """The negatives of a csv, for the frames of a source.

    Samples keep the csv's boxes, kinds and ids. Where the csv has no ids, the backgrounds of a
    frame are numbered in its order; a partial is numbered after the box of the frame that it
    overlaps most.

    Raises:
        SourceNotFoundError: no such file; the message has the command that makes it.
        SourceError: it is no negatives csv, or not one of these frames.
        DuplicateSampleError: two rows have one id.
        UsageError: the csv names frames as the atmaCup layout does, and the source does not.
    """
    found = _by_frame(path, listing)
    undecided = dict.fromkeys(_DECIDED_HERE)
    return Negatives(
        of=lambda frames, _sizes: [found.get(frame.key, []) for frame in frames],
        settings=undecided,
        inputs={"negatives": hashlib.sha256(Path(path).read_bytes()).hexdigest()},
        places={"negatives": str(Path(path).absolute())},
    )


def _by_frame(path: str | os.PathLike[str], listing: Listing) -> dict[str, list[Negative]]:
    """The negatives of each frame that has any, by its key."""
    places: dict[tuple[Hashable, ...], int] = {}
    found: dict[str, list[Negative]] = defaultdict(list)
    lines: dict[str, int] = {}
    inputs = {
        name: listing.places[name] for name in ("train_meta", "img_root") if name in listing.places
    }
    layout = listing.settings.get("format", "atmacup")
    if layout != "atmacup" and not Path(path).exists():
        raise SourceNotFoundError(
            f"Negatives CSV not found: {os.fspath(path)}. Make it once: lmdb-reid negatives"
            f" --format {layout} ... --output {os.fspath(path)}"
        )
    for line, sample in enumerate(load_negatives_from_csv(path, **inputs, by_id=True), FIRST_LINE):
        if sample.quarter:
            places = places or {_name(frame): at for at, frame in enumerate(listing.frames)}
            at = places.get((sample.quarter, sample.angle, sample.session, sample.frame), -1)
        else:
            at = listing.frames.keys.place(sample.id.rpartition("#")[0])
        if at < 0:
            called = f"called {sample.id.rpartition('#')[0]}"
            if sample.quarter:
                called = (
                    f"quarter {sample.quarter}, angle {sample.angle}, session {sample.session},"
                    f" frame {sample.frame}"
                )
            raise SourceError(
                f"{os.fspath(path)}, line {line}: no frame of the source is {called}; lmdb-reid"
                " negatives makes a csv that fits"
            )
        frame = listing.frames[at]
        earlier = found[frame.key]
        box = Box(*map(float, (sample.x, sample.y, sample.w, sample.h)))
        name = sample.id or _numbered(frame, sample.kind, box, earlier)
        if not _is_named(name, frame, sample):
            raise SourceError(
                f"{os.fspath(path)}, line {line}: {name or 'a part of no box'!r} cannot be a"
                f" {sample.kind.title} of the frame {frame.key}"
            )
        if lines.setdefault(name, line) != line:
            raise DuplicateSampleError(
                f"{os.fspath(path)}: lines {lines[name]} and {line} have the same id: {name}"
            )
        earlier.append(Negative(name, sample.kind, box, line))
    return dict(found)


def _name(frame: Frame) -> tuple[Hashable, ...]:
    try:
        return tuple(frame.fields[field] for field in FRAME_FIELDS)
    except KeyError as error:
        raise UsageError(
            f"--negatives needs frames with {', '.join(FRAME_FIELDS)}, as --format atmacup has"
            f" them: {frame.key} lacks {error}"
        ) from None


def _is_named(name: str, frame: Frame, sample: BoxSample) -> bool:
    """Whether an id is a negative's of this frame and kind: no other sample can then have it."""
    key, _, slot = name.rpartition("#")
    return key == frame.key and _SLOT[sample.kind].fullmatch(slot) is not None


def _numbered(frame: Frame, kind: Kind, box: Box, earlier: Sequence[Negative]) -> str:
    """The next free id of a negative that came without one; "" where it is part of no box."""
    if kind == Kind.BACKGROUND:
        return background_id(frame.key, sum(one.kind == kind for one in earlier))
    boxes = [(iou(row.box, box), sample_id(frame, row)) for row in frame.rows if row.box]
    overlap, person = max(boxes, key=lambda pair: pair[0], default=(0.0, ""))
    slot = sum(one.id.startswith(f"{person}p") for one in earlier)
    return partial_id(person, slot) if overlap > 0 else ""
