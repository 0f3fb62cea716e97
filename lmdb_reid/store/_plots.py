"""Charts of what a store holds, with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lmdb_reid._arguments import known_arguments
from lmdb_reid._names import Guesses, guessed
from lmdb_reid._visible import visible
from lmdb_reid.errors import MissingExtraError, UsageError
from lmdb_reid.schema import Kind, Roles, Rows
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._description import images_each, images_of_each

_BARS = 60  # identities with a bar and a name each; more are drawn as one outline
_LANES = 40  # identities of a timeline
_AXES = {"ax": "axes"}  # as pandas and seaborn have it
_BLUE, _GREY = "#4477aa", "#777777"
_CAMERAS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")  # Paul Tol's bright


class _Charted(Protocol):
    """What of a store is drawn."""

    path: Path
    columns: Columns

    @property
    def roles(self) -> Roles: ...


class Plots:
    """Charts of a store: `store.plot.identities()`, `.sizes()` and `.timeline()`.

    Each returns matplotlib's Axes, which a notebook shows; `axes.figure.savefig("a.png")` saves it.

    Raises (from each):
        MissingExtraError: matplotlib is not installed.
    """

    def __init__(self, store: _Charted) -> None:
        self._store = store

    def __call__(self) -> Any:
        """The same as `identities()`."""
        return self.identities()

    @known_arguments(works=_AXES)
    def identities(self, axes: Any = None) -> Any:
        """How many images each identity has, the most first.

        Args:
            axes: matplotlib's Axes to draw on (default: new ones).

        Raises:
            UsageError: the store has no identities.
        """
        labels, counts = self._counts()
        order = np.argsort(-counts, kind="stable")
        labels, counts = labels[order], counts[order]
        axes = _axes(axes, "identities", (9, 3.6))
        if len(labels) <= _BARS:
            axes.bar(np.arange(len(labels)), counts, color=_BLUE)
            axes.set_xticks(np.arange(len(labels)), [str(label) for label in labels.tolist()])
            axes.tick_params(axis="x", labelsize=8 if len(labels) <= 30 else 6)
            axes.set_xlabel("label")
        else:
            axes.fill_between(np.arange(len(counts)), counts, step="mid", color=_BLUE)
            axes.set_xlim(0, len(counts) - 1)
            axes.set_xlabel("identities, the one with the most images first")
        least, middle, most = images_each(counts) or (0, 0, 0)
        axes.axhline(middle, color=_GREY, linewidth=0.8, linestyle="--")
        axes.set_ylim(0, most * 1.12)
        axes.set_ylabel("images")
        spread = f"{least:,} to {most:,} images each, median {middle:,}"
        if least == most:
            spread = f"{least:,} images each"
        axes.set_title(f"{len(labels):,} identities: {spread}")
        return axes

    @known_arguments(works=_AXES)
    def sizes(self, axes: Any = None) -> Any:
        """How high the boxes of persons are in their frames, in pixels; of a store without boxes,
        its images.

        Args:
            axes: matplotlib's Axes to draw on (default: new ones).
        """
        columns = self._store.columns
        name = "h" if "h" in columns and columns.categories("h") is None else "height"
        heights = columns[name][columns["kind"] == Kind.PERSON]
        heights = heights[np.isfinite(heights)] if heights.dtype.kind == "f" else heights
        if not len(heights):
            raise UsageError(f"{self._store.path} has no persons whose sizes could be drawn.")
        axes = _axes(axes, "sizes", (9, 3.6))
        least, most = float(heights.min()), float(heights.max())
        bins = np.linspace(least, most, 41) if most > least else [least - 0.5, least + 0.5]
        axes.hist(heights, bins=bins, color=_BLUE)
        middle = float(np.median(heights))
        axes.axvline(middle, color=_GREY, linewidth=0.8, linestyle="--")
        what = "boxes" if name == "h" else "images"
        axes.set_xlabel(f"height of {what} in pixels")
        axes.set_ylabel(what)
        axes.set_title(
            f"{len(heights):,} {what} of persons: {least:,.0f} to {most:,.0f} pixels high,"
            f" median {middle:,.0f}"
        )
        return axes

    def timeline(self, *labels: int, axes: Any = None) -> Any:
        """When each identity is seen, in the order of time, with a colour for each camera.

        Args:
            *labels: the identities to draw (default: those with the most images, 40 at most).
            axes: matplotlib's Axes to draw on (default: new ones).

        Raises:
            UsageError: a label that no sample has, or no identities at all.
        """
        known, counts = self._counts()
        for label in labels:
            if label not in known:
                raise UsageError(f"label must be one that the store has, got {label!r}.")
        shown = known[np.argsort(-counts, kind="stable")][:_LANES]
        lanes = np.array(labels or np.sort(shown).tolist(), np.int64)
        columns, roles = self._store.columns, self._store.roles
        rows = np.flatnonzero(np.isin(columns["label"], lanes))
        moments, what = self._moments(rows)
        lane_of = {label: lane for lane, label in enumerate(lanes.tolist())}
        heights = np.array([lane_of[label] for label in columns["label"][rows].tolist()])
        axes = _axes(axes, "timeline", (9, 1.4 + 0.22 * max(4, len(lanes))))
        cameras = self._cameras(roles, rows)
        dots = [
            axes.scatter(
                moments[members],
                heights[members] + 0.7 * ((number + 0.5) / len(cameras) - 0.5),
                s=max(9, 64 / len(cameras)),
                marker="|",
                linewidths=1.5,
                color=_CAMERAS[number % len(_CAMERAS)],
            )
            for number, (_, members) in enumerate(cameras)
        ]
        axes.set_yticks(np.arange(len(lanes)), [str(label) for label in lanes.tolist()])
        axes.tick_params(axis="y", labelsize=8 if len(lanes) <= 20 else 6)
        axes.set_ylim(len(lanes) - 0.4, -0.6)
        axes.set_xlabel(what)
        axes.set_ylabel("label")
        of = f" of {len(known):,}" if len(lanes) < len(known) else ""
        axes.set_title(f"when {len(lanes):,}{of} identities are seen")
        if roles.camera is not None:
            _legend(axes, roles.camera, dots, [name for name, _ in cameras])
        return axes

    def _counts(self) -> tuple[Rows, Rows]:
        """(labels, images of each)."""
        known, counts = images_of_each(self._store.columns["label"])
        if not len(known):
            raise UsageError(f"{self._store.path} has no identities: no label is 0 or more.")
        return known, counts

    def _moments(self, rows: Rows) -> tuple[Rows, str]:
        """(place of each row in the order of time, words for the axis)."""
        columns, roles = self._store.columns, self._store.roles
        names = [*roles.group, *roles.time]
        names = names if roles.time else ["src_order"]
        order = np.unique(np.stack([columns[name][rows] for name in names], 1), axis=0)
        if len(names) == 1 and columns.categories(names[0]) is None:
            return columns[names[0]][rows], names[0]
        keys = {tuple(key): place for place, key in enumerate(order.tolist())}
        given = np.stack([columns[name][rows] for name in names], 1).tolist()
        places = np.array([keys[tuple(key)] for key in given], np.int64)
        return places, f"frames in the order of {', '.join(names)}"

    def _cameras(self, roles: Roles, rows: Rows) -> list[tuple[str, Rows]]:
        """(name, which of the rows) of each camera."""
        if roles.camera is None:
            return [("all", np.arange(len(rows)))]
        column, names = self._store.columns[roles.camera], None
        names = self._store.columns.categories(roles.camera)
        values = column[rows]
        return [
            (
                names[value] if names is not None and value >= 0 else str(value),
                np.flatnonzero(values == value),
            )
            for value in np.unique(values).tolist()
        ]

    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(self, name: str) -> Any:
            return guessed(self, name, _GUESSES)


_GUESSES = Guesses(
    works={},
    answers={
        "labels": "Use store.plot.identities().",
        "hist": "Use store.plot.identities() or store.plot.sizes().",
        "boxes": "Use store.plot.sizes().",
        "tracks": "Use store.plot.timeline().",
    },
)


def _legend(axes: Any, title: str, dots: list[Any], names: list[str]) -> None:
    """Beside the chart. Names are a source's texts: no formula, whatever dollars they have, and
    none is left out for its first character, as matplotlib does with "_".
    """
    legend = axes.legend(
        dots,
        [str(number) for number in range(len(dots))],
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        markerscale=2,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(visible(name))


def _axes(axes: Any, what: str, inches: tuple[float, float]) -> Any:
    """The given Axes, or new ones without a frame above and at the right."""
    if axes is not None:
        return axes
    try:
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError.of("matplotlib", "plot", f"store.plot.{what}") from None
    _, axes = pyplot.subplots(figsize=inches, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return axes
