"""An epoch as a chart: when the consumer waited, what was ready, and what each batch took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmdb_reid._visible import visible
from lmdb_reid.errors import MissingExtraError, UsageError
from lmdb_reid.loaders import Moment

_STEP, _WAIT, _READY = "#bbccdd", "#d64541", "#78909c"
_STAGES = {"gather": "#4285be", "decode": "#1a7f5a", "transform": "#e69f00"}
_IDLE = 0.02  # share of a pass, below which the consumer does nothing with its batches
_INCHES = 10, 4.6


def timeline(moments: Sequence[Moment], title: str) -> Any:
    """Three charts over the seconds of a pass.

    consumer: its waits at next() against its own steps. batches ready: whole ones when it asked
    (empty where the engine does not know). workers: milliseconds that a batch took of all workers
    together, gathered from a cache, decoded, transformed; drawn where the consumer got it.

    Args:
        moments: of one pass, in order; see `Loader.moments`.
        title: a line for the top; samples per second and the share of waiting stand below it.

    Returns:
        matplotlib's Figure; `figure.savefig("epoch.svg")` saves it.

    Raises:
        UsageError: no moments.
        MissingExtraError: matplotlib is not installed.
    """
    if not moments:
        raise UsageError("a timeline must have at least one batch, got none. Read a batch first")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError.of("matplotlib", "plot", "drawing a timeline") from None
    figure = Figure(figsize=_INCHES, layout="constrained")
    figure.suptitle(visible(title), parse_math=False, x=0.01, ha="left")
    rows = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.6, 2.4))
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
    start = moments[0].asked
    asked = np.array([moment.asked - start for moment in moments])
    got = np.array([moment.got - start for moment in moments])
    _consumer(rows[0], asked, got, sum(moment.samples for moment in moments))
    _ready(rows[1], asked, got, moments)
    _workers(rows[2], got, moments)
    rows[2].set_xlim(0, max(float(got[-1]), 1e-9))
    rows[2].set_xlabel("seconds")
    return figure


def _consumer(axes: Any, asked: Any, got: Any, samples: int) -> None:
    """When it waited and when it worked; a consumer that only reads does nothing but wait."""
    seconds = max(float(got[-1]), 1e-9)
    waits = got - asked
    share = float(waits.sum()) / seconds
    idle = 1 - share < _IDLE
    name = "waiting (its step does nothing)" if idle else "waiting"
    if not idle:
        steps = np.append(asked[1:], got[-1]) - got
        axes.broken_barh(list(zip(got, steps, strict=True)), (0, 1), color=_STEP, label="step")
    colour = _READY if idle else _WAIT
    axes.broken_barh(list(zip(asked, waits, strict=True)), (0, 1), color=colour, label=name)
    axes.set_yticks([])
    axes.set_ylabel("consumer", rotation=0, ha="right", va="center")
    axes.set_title(f"{samples / seconds:,.0f} samples/s, waiting {share:.0%}", loc="left")
    _legend(axes)


def _ready(axes: Any, asked: Any, got: Any, moments: Sequence[Moment]) -> None:
    axes.set_ylabel("batches\nready", rotation=0, ha="right", va="center")
    if all(moment.ready is None for moment in moments):
        axes.set_yticks([])
        axes.text(0.01, 0.5, "not known with this engine", transform=axes.transAxes, va="center")
        return
    ready = np.array([moment.ready or 0 for moment in moments])
    axes.stairs(ready, np.append(asked, got[-1]), fill=True, color=_READY)
    axes.set_ylim(0, max(1, ready.max()) * 1.1)
    axes.yaxis.get_major_locator().set_params(integer=True)


def _workers(axes: Any, got: Any, moments: Sequence[Moment]) -> None:
    widths = 0.8 * np.maximum(np.diff(got, prepend=0.0), 1e-9)  # none reaches the bar before it
    base = np.zeros(len(moments))
    for stage, colour in _STAGES.items():
        spent = np.array([1e3 * getattr(moment.timings, stage) for moment in moments])
        if spent.any():
            axes.bar(got - widths / 2, spent, widths, bottom=base, color=colour, label=stage)
        base += spent
    axes.set_ylabel("workers,\nms a batch", rotation=0, ha="right", va="center")
    if base.any():
        _legend(axes)


def _legend(axes: Any) -> None:
    """Beside the chart, not on it."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
