"""The plot of docs/reliability.md: what each engine holds after each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

from .gauges import SETTLED, Gauge

PANELS = {
    "memory": ("memory, MB", 1e6),
    "descriptors": ("descriptors", 1),
    "threads": ("threads", 1),
    "shared": ("shared memory, MB", 1e6),
}


def draw_plot(engines: Mapping[str, Sequence[Gauge]], out: Path) -> Path:
    """Write an SVG file, the same bytes for the same numbers."""
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "long", "font.size": 8, "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(PANELS), figsize=(10, 2.4), layout="constrained")
    for axis, (field, (title, unit)) in zip(axes, PANELS.items(), strict=True):
        for name, gauges in engines.items():
            values = [getattr(one, field) / unit for one in gauges]
            axis.plot(range(1, len(values) + 1), values, linewidth=1, label=name)
        axis.axvline(SETTLED, color="#bbbbbb", linewidth=0.6)
        axis.set(title=title, xlabel="epoch", ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].legend(frameon=False, loc="lower right")
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)
    return out
