"""gt.txt of MOT Challenge: lines of numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.columns import Ints
from builders.sources._table import Floats, Reasons
from lmdb_reid._regular import MAX_TEXT, read_limited
from lmdb_reid.errors import SourceError, SourceNotFoundError

FRAME, TRACK, X, Y, W, H, CONFIDENCE, CLASS, VISIBILITY = range(9)
_NEEDED = 6
_MISSING = (1.0, -1.0, -1.0)
"""Confidence, class and visibility of files that end before them."""
_FARTHEST = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFile:
    """One gt.txt, of N lines."""

    cells: Floats
    """[N, 9]; a line that cannot be used has zeros."""
    lines: Ints
    """[N], 1-based."""
    faults: Reasons
    """[N]: why a line cannot be used; "" where it can."""
    digest: str


def read_tracks(path: Path) -> TrackFile:
    """Read `frame,id,x,y,w,h[,conf[,class[,visibility]]]`; further cells are not looked at.

    Raises:
        SourceNotFoundError: no such file.
        SourceError: it cannot be read.
    """
    try:
        data = read_limited(path, MAX_TEXT)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise SourceNotFoundError(f"no gt.txt at {path}") from None
    except (OSError, ValueError) as error:  # what is no utf-8, too
        raise SourceError(f"{path} cannot be read: {error}") from None
    numbered = [(at, line) for at, line in enumerate(text.splitlines(), 1) if line.strip()]
    cells = np.zeros((len(numbered), 9))
    faults: Reasons = np.full(len(numbered), "", object)
    for row, (_, line) in enumerate(numbered):
        found = _numbers(line)
        if isinstance(found, str):
            faults[row] = found
        else:
            cells[row] = found
    for row in np.flatnonzero(faults == "").tolist():
        faults[row] = _fault(cells[row].tolist())
    return TrackFile(
        cells=cells,
        lines=np.array([at for at, _ in numbered], np.int64),
        faults=faults,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _numbers(line: str) -> list[float] | str:
    cells = line.split(",")
    if len(cells) < _NEEDED:
        return f"it must be frame,id,x,y,w,h,..., got {line[:80]!r}"
    try:
        numbers = [float(cell) for cell in cells[:9]]
    except ValueError:
        return f"it must be frame,id,x,y,w,h,... in numbers, got {line[:80]!r}"
    return [*numbers, *_MISSING[len(numbers) - _NEEDED :]] if len(numbers) < 9 else numbers


def _fault(cells: list[float]) -> str:
    """Why numbers cannot be used; "" where they can."""
    frame, track, _, _, w, h, *_ = cells
    if not all(abs(cell) < _FARTHEST for cell in cells):  # NaN is among them
        return "its numbers must be finite and below 2^31"
    if frame < 0 or frame % 1 or track % 1:
        return f"frame and id must be whole, and the frame not below 0, got {frame:g},{track:g}"
    if w <= 0 or h <= 0:
        return f"its box must have a width and a height, got {w:g} x {h:g}"
    return ""
