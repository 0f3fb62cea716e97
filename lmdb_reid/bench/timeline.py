"""An epoch as a picture: when the consumer waited, what was ready, and what each batch took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import MissingExtraError, UsageError
from lmdb_reid.loaders import Moment
from lmdb_reid.pictures import Picture

try:
    import cv2
except ImportError:  # drawing needs it, nothing else here does
    cv2 = None  # type: ignore[assignment]  # the module's name doubles as the flag

_SIZE = 420, 1200  # (height, width) in pixels
_LEFT, _RIGHT, _TOP = 150, 40, 64
_LANES = (("consumer", 36), ("batches ready", 84), ("workers, ms", 130))
_GAP, _TICKS = 20, 8
_PAPER, _INK, _FAINT = (255, 255, 255), (40, 40, 40), (226, 226, 226)
_STEP, _WAIT, _READY = (190, 205, 220), (214, 69, 65), (120, 144, 156)
_STAGES = {"gather": (66, 133, 190), "decode": (26, 127, 90), "transform": (230, 159, 0)}

Colour = tuple[int, int, int]
Canvas = npt.NDArray[np.uint8]


def timeline(moments: Sequence[Moment], title: str) -> Picture:
    """Three lanes over the seconds of a pass.

    consumer: its waits at next() against its own steps. batches ready: whole ones when it asked
    (empty where the engine does not know). workers, ms: what a batch took of all workers together,
    gathered from a cache, decoded, transformed; drawn where the consumer got it.

    Args:
        moments: of one pass, in order; see `Loader.moments`.
        title: a line for the top.

    Raises:
        UsageError: no moments.
        MissingExtraError: OpenCV is not installed.
    """
    if not moments:
        raise UsageError("a timeline must have at least one batch, got none. Read a batch first")
    if cv2 is None:
        raise MissingExtraError.of("OpenCV", "resize", "drawing a timeline")
    canvas = np.full((*_SIZE, 3), _PAPER, np.uint8)
    _legend(canvas, title)
    start, end = moments[0].asked, moments[-1].got
    scale = (_SIZE[1] - _LEFT - _RIGHT) / max(end - start, 1e-9)
    places = [
        (m, _LEFT + (m.asked - start) * scale, _LEFT + (m.got - start) * scale) for m in moments
    ]
    tops = np.cumsum([_TOP, *(height + _GAP for _, height in _LANES)])
    for (name, height), top in zip(_LANES, tops, strict=False):
        _text(canvas, 10, int(top) + height // 2 + 4, name)
        _bar(canvas, (_LEFT, top, _SIZE[1] - _RIGHT, top + height), _FAINT)
    (_, tall), (_, ready_tall), (_, spent_tall) = _LANES
    _bar(canvas, (_LEFT, tops[0], _SIZE[1] - _RIGHT, tops[0] + tall), _STEP)
    for _, asked, got in places:
        _bar(canvas, (asked, tops[0], got, tops[0] + tall), _WAIT)
    _ready(canvas, places, int(tops[1]), ready_tall)
    _timings(canvas, places, int(tops[2]), spent_tall)
    _seconds(canvas, end - start, int(tops[3]) - _GAP)
    return Picture(canvas)


def _ready(
    canvas: Canvas, places: Sequence[tuple[Moment, float, float]], top: int, tall: int
) -> None:
    most = max((m.ready or 0 for m, *_ in places), default=0)
    if all(m.ready is None for m, *_ in places):
        _text(canvas, _LEFT + 8, top + tall // 2 + 4, "this engine does not report it")
        return
    _text(canvas, _LEFT - 30, top + 10, str(most))
    ends = [asked for _, asked, _ in places[1:]] + [places[-1][2]]
    for (moment, asked, _), end in zip(places, ends, strict=True):
        height = tall * (moment.ready or 0) / max(most, 1)
        _bar(canvas, (asked, top + tall - height, end, top + tall), _READY)


def _timings(
    canvas: Canvas, places: Sequence[tuple[Moment, float, float]], top: int, tall: int
) -> None:
    sums = [sum(getattr(m.timings, stage) for stage in _STAGES) for m, *_ in places]
    most = max(sums)
    _text(canvas, _LEFT - 50, top + 10, f"{1e3 * most:,.0f}")
    width = max(1.0, min(8.0, (_SIZE[1] - _LEFT - _RIGHT) / len(places) - 1))
    for moment, _, got in places:
        base = float(top + tall)
        for stage, colour in _STAGES.items():
            height = tall * getattr(moment.timings, stage) / max(most, 1e-9)
            _bar(canvas, (got - width, base - height, got, base), colour)
            base -= height


def _seconds(canvas: Canvas, seconds: float, top: int) -> None:
    for tick in range(_TICKS + 1):
        left = _LEFT + (_SIZE[1] - _LEFT - _RIGHT) * tick / _TICKS
        _bar(canvas, (left, top, left + 1, top + 5), _INK)
        _text(canvas, left - 14, top + 20, f"{seconds * tick / _TICKS:.2f} s")


def _legend(canvas: Canvas, title: str) -> None:
    _text(canvas, 10, 22, title, size=0.5)
    left = _LEFT
    for name, colour in {"waiting": _WAIT, "step": _STEP, **_STAGES}.items():
        _bar(canvas, (left, 36, left + 12, 48), colour)
        _text(canvas, left + 17, 47, name)
        left += 40 + 9 * len(name)


def _bar(canvas: Canvas, edges: tuple[float, float, float, float], colour: Colour) -> None:
    """A filled rectangle (left, top, right, bottom), a pixel wide at least."""
    x0, y0, x1, y1 = map(round, edges)
    canvas[y0:y1, x0 : max(x0 + 1, x1)] = colour


def _text(canvas: Canvas, left: float, base: float, text: str, *, size: float = 0.4) -> None:
    plain: Any = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, (round(left), round(base)), 0, size, _INK, 1, 16)
