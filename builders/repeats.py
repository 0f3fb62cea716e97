"""Rows that a source has twice, as a csv that was joined with itself does.

Shapes are given in brackets: N rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from builders.columns import Ints
from builders.sources import Frames, Listing, Rejected
from lmdb_reid.schema import NO_LABEL

REPEATED = "its frame has the same box with the same label already"
DOUBLED = "its label occurs twice in its frame, in different boxes"

_Bools = npt.NDArray[np.bool_]


def without_repeats(listing: Listing) -> Listing:
    """The listing with each box of each frame and label once.

    Rows whose frame, box, label and kind an earlier row has are left out, and stand in `dropped`:
    their crops would be equal byte for byte, and might be trained on and validated on. Rows whose
    label an earlier row of their frame has in another box stay, and stand in `doubled`: one person
    cannot be in two places, but nobody knows which is right.
    """
    frames = listing.frames
    frame_N = np.repeat(np.arange(len(frames), dtype=np.int64), np.diff(frames.starts))
    repeated = _repeated(frames, frame_N)
    doubled = _doubled(frames, frame_N, repeated)
    if not (repeated.any() or doubled.any()):
        return listing
    found = replace(
        listing,
        dropped=[*listing.dropped, *_named(frames, frame_N, repeated, REPEATED)],
        doubled=[*listing.doubled, *_named(frames, frame_N, doubled, DOUBLED)],
    )
    if not repeated.any():
        return found
    kept = np.flatnonzero(~repeated)
    starts = np.searchsorted(frame_N[kept], np.arange(len(frames) + 1)).astype(np.int64)
    return replace(found, frames=replace(frames, starts=starts, rows=frames.rows.part(kept)))


def _repeated(frames: Frames, frame_N: Ints) -> _Bools:
    """Whether an earlier row of the frame is the same [N]."""
    rows = frames.rows
    kind = np.zeros(len(rows), np.uint8) if rows.kind is None else rows.kind
    # Most sources have none: a number mixed of all of them, sorted once, says so.
    mixed: Ints = frame_N * 0x9E3779B1 + rows.label * 31 + kind
    for number in range(4):
        side = rows.box[:, number] + 0.0  # no -0.0
        mixed = mixed * 0x100000001B3 + side.view(np.int64)
    found = np.zeros(len(rows), np.bool_)
    chosen = np.flatnonzero(_stands_twice(mixed))
    if len(chosen):
        numbers = (each[chosen] for each in (frame_N, rows.label, kind))
        whole = np.column_stack([*numbers, rows.box[chosen] + 0.0])
        _, first, at = np.unique(whole, axis=0, return_index=True, return_inverse=True)
        found[chosen] = first[at.ravel()] != np.arange(len(chosen))
    return found


def _doubled(frames: Frames, frame_N: Ints, repeated: _Bools) -> _Bools:
    """Whether an earlier row of the frame, itself no repeat, has the label [N]."""
    label = frames.rows.label
    found = np.zeros(len(label), np.bool_)
    chosen = np.flatnonzero((label > NO_LABEL) & ~repeated)
    if len(chosen):
        key = frame_N[chosen] * (int(label.max()) + 1) + label[chosen]
        order = np.argsort(key, kind="stable")
        found[chosen[order[1:]]] = key[order][1:] == key[order][:-1]
    return found


def _stands_twice(numbers: Ints) -> _Bools:
    """Whether another one is equal [N]."""
    ordered = np.sort(numbers)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.isin(numbers, twice) if len(twice) else np.zeros(len(numbers), np.bool_)


def _named(frames: Frames, frame_N: Ints, rows: _Bools, reason: str) -> list[Rejected]:
    """Some rows for a report."""
    at = np.flatnonzero(rows)
    return [
        Rejected(row.where or frames.keys[frame], frames.keys[frame], reason)
        for row, frame in zip(frames.rows.part(at).objects(), frame_N[at].tolist(), strict=True)
    ]
