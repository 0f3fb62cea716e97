"""A result of benchmarks.loaders as bar charts, for light and dark pages.

    python -m benchmarks.chart benchmarks/results/2026-11-25-loaders.json -o docs/img/loaders.svg

Two panels, each with a scale of its own: engines that decode in every epoch, and those that serve
pixels decoded before. Bars are medians, the thin lines run from the slowest epoch to the fastest.
A percentage is the length of a bar over that of its ceiling's, where that one is drawn.
`benchmarks.loaders` holds medians of the same round against each other, which is fairer where a
machine's speed drifts, and so its ratios differ by some percent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

_WIDTH, _LEFT, _RIGHT, _ROW = 860, 300, 130, 24  # pixels; titles stand left of the bars
_HEAD, _FOOT = 82, 18
_LEGEND = {"ours": "lmdb_reid", "ceiling": "what the machine can do", "peer": "others"}
_DARK = "-dark"
SHORT = (
    *("ceiling-accurate", "ours-threads", "ours-processes", "ffcv-jpg", "plain_lmdb-turbo"),
    *("files-pil", "spdl-accurate", "dali-accurate", "webdataset-turbo", "litdata-turbo"),
    *("streaming-turbo", "ours-lru", "ours-tier", "ffcv-raw"),
)
"""The engines of a short chart: each loader once, as it is compared in README.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """Of a chart, as CSS writes them."""

    paper: str
    ink: str
    quiet: str
    ours: str
    ceiling: str
    peer: str


LIGHT = Colours(
    paper="#ffffff",
    ink="#1f2328",
    quiet="#59636e",
    ours="#1a7f5a",
    ceiling="#b9a06a",
    peer="#9aa5b1",
)
DARK = Colours(
    paper="#0d1117",
    ink="#e6edf3",
    quiet="#9198a1",
    ours="#3fb68b",
    ceiling="#b9a06a",
    peer="#6e7f91",
)


def main() -> None:
    """Draw a kept result beside it, or where it is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chart", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("-o", "--out", type=Path, help="(default: beside it, as .svg)")
    parser.add_argument("--short", action="store_true", help="each loader once")
    args = parser.parse_args()
    out = args.out or args.result.with_suffix(".svg")
    for file in save(json.loads(args.result.read_text()), out, SHORT if args.short else None):
        print(file)


def save(result: Mapping[str, Any], file: Path, keys: Collection[str] | None = None) -> list[Path]:
    """Draw it into `file`, and for dark pages into the one beside it whose name ends in -dark.

    Args:
        result: as benchmarks.loaders keeps it.
        file: ends in .svg.
        keys: of the engines to draw; all unless given.
    """
    dark = file.with_stem(file.stem + _DARK)
    file.write_text(drawn(result, LIGHT, keys))
    dark.write_text(drawn(result, DARK, keys))
    return [file, dark]


def drawn(
    result: Mapping[str, Any], colours: Colours = LIGHT, keys: Collection[str] | None = None
) -> str:
    """The chart as the text of an SVG file."""
    engines = {key: one for key, one in result["engines"].items() if keys is None or key in keys}
    ordered = sorted(engines.values(), key=lambda engine: -engine["crops_per_s"]["median"])
    cold = [engine for engine in ordered if not engine["warm"]]
    warm = [engine for engine in ordered if engine["warm"]]
    height, width = result["size"]
    settings = result["settings"]
    num_workers = settings.get("num_workers", settings.get("workers"))  # as older results name it
    title = f"{result['crops']:,} crops of {height}x{width}: crops per second, more is better"
    small = (
        f"batches of {settings['batch_size']}, {num_workers} workers; bars: medians of"
        f" {settings['repeats']} rounds, thin lines: from the slowest epoch to the fastest",
        "in brackets: share of the bar of the decoder alone, for the same decoding;"
        " where thin lines overlap, the order may be chance",
    )
    brush = _Brush(colours)
    body = [
        brush.text(20, 30, title, size=17, weight=600),
        *(brush.text(20, 50 + 16 * n, line, fill=colours.quiet) for n, line in enumerate(small)),
    ]
    top = _HEAD
    for name, panel in (("JPEG decoded in every epoch", cold), ("pixels decoded before", warm)):
        if panel:
            body += _panel(brush, name, panel, top, engines)
            top += (len(panel) + 2) * _ROW
    body += _legend(brush, top + 4 - _ROW // 2)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + _FOOT}"'
            ' font-family="system-ui, sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="100%" height="100%" rx="8" fill="{colours.paper}"/>',
            *body,
            "</svg>\n",
        ]
    )


def _panel(
    brush: _Brush,
    name: str,
    engines: Sequence[Mapping[str, Any]],
    top: int,
    drawn: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    largest = max(engine["crops_per_s"]["max"] for engine in engines)
    scale = (_WIDTH - _LEFT - _RIGHT) / largest
    yield brush.text(20, top + 18, name, size=13, weight=600)
    for place, engine in enumerate(engines, 1):
        yield from _bar(brush, engine, top + place * _ROW, scale, drawn)


def _bar(
    brush: _Brush,
    engine: Mapping[str, Any],
    top: int,
    scale: float,
    drawn: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    rate, ours = engine["crops_per_s"], engine["group"] == "ours"
    middle = top + _ROW / 2
    low, length, high = (_LEFT + rate[name] * scale for name in ("min", "median", "max"))
    weight = 600 if ours else 400
    title = engine["title"].replace("our decoder", "lmdb_reid's decoder")  # of older results
    yield brush.text(_LEFT - 8, middle + 4, title, anchor="end", weight=weight)
    yield (
        f'<rect x="{_LEFT}" y="{top + 4}" width="{length - _LEFT:.1f}" height="{_ROW - 8}" rx="2"'
        f' fill="{brush.fill(engine["group"])}"/>'
    )
    yield (
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 3}v6M{high:.1f}'
        f' {middle - 3}v6" stroke="{brush.colours.ink}" stroke-width="1" fill="none"/>'
    )
    shown = f"{rate['median']:,.0f}{_share(engine, drawn)}"
    yield brush.text(max(length, high) + 6, middle + 4, shown, weight=weight)


def _share(engine: Mapping[str, Any], drawn: Mapping[str, Mapping[str, Any]]) -> str:
    """Of the bar of its ceiling; nothing where that is not drawn, or it is one."""
    ceiling = drawn.get(f"ceiling-{engine['decoding']}")
    if ceiling is None or engine["group"] == "ceiling":
        return ""
    share = engine["crops_per_s"]["median"] / ceiling["crops_per_s"]["median"]
    return f" ({share:.1f}x)" if engine["warm"] else f" ({share:.0%})"


def _legend(brush: _Brush, top: int) -> Iterator[str]:
    left = _LEFT
    for group, name in _LEGEND.items():
        yield (
            f'<rect x="{left}" y="{top}" width="11" height="11" rx="2" fill="{brush.fill(group)}"/>'
        )
        yield brush.text(left + 16, top + 10, name)
        left += 40 + 7 * len(name)


class _Brush:
    """Writes texts in a chart's colours."""

    def __init__(self, colours: Colours) -> None:
        self.colours = colours

    def fill(self, group: str) -> str:
        """The colour of a group's bars."""
        return {
            "ours": self.colours.ours,
            "ceiling": self.colours.ceiling,
            "peer": self.colours.peer,
        }[group]

    def text(
        self,
        left: float,
        base: float,
        text: str,
        *,
        size: int = 12,
        weight: int = 400,
        fill: str | None = None,
        anchor: str = "start",
    ) -> str:
        """A line of text."""
        return (
            f'<text x="{left:.1f}" y="{base:.1f}" font-size="{size}" font-weight="{weight}"'
            f' fill="{fill or self.colours.ink}" text-anchor="{anchor}">{escape(text)}</text>'
        )


if __name__ == "__main__":
    main()
