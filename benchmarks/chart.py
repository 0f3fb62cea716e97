"""A result of benchmarks.loaders as a bar chart.

    python -m benchmarks.chart benchmarks/results/2026-11-23-loaders.json

Two panels, each with a scale of its own: engines that decode in every epoch, and those that serve
pixels decoded before. Bars are medians, the thin lines run from the slowest epoch to the fastest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_WIDTH, _LEFT, _RIGHT, _ROW = 860, 300, 130, 24  # pixels; titles stand left of the bars
_HEAD, _FOOT = 66, 30
_COLOURS = {"ours": "#1a7f5a", "ceiling": "#b9a06a", "peer": "#9aa5b1"}
_LEGEND = {"ours": "lmdb_reid", "ceiling": "what the machine can do", "peer": "others"}
_INK, _QUIET = "#1f2328", "#656d76"


def main() -> None:
    """Draw a kept result beside it, or where it is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chart", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("-o", "--out", type=Path, help="(default: beside it, as .svg)")
    args = parser.parse_args()
    out = args.out or args.result.with_suffix(".svg")
    out.write_text(drawn(json.loads(args.result.read_text())))
    print(out)


def drawn(result: Mapping[str, Any]) -> str:
    """The chart as the text of an SVG file."""
    engines = sorted(
        result["engines"].values(), key=lambda engine: -engine["crops_per_s"]["median"]
    )
    cold = [engine for engine in engines if not engine["warm"]]
    warm = [engine for engine in engines if engine["warm"]]
    height, width = result["size"]
    settings = result["settings"]
    num_workers = settings.get("num_workers", settings.get("workers"))  # as older results name it
    title = f"{result['crops']:,} crops of {height}x{width}, crops per second"
    small = (
        f"batches of {settings['batch_size']}, {num_workers} workers; medians of"
        f" {settings['repeats']} rounds, thin lines from the slowest epoch to the fastest;"
        " in brackets: of the decoder alone"
    )
    body = [
        _text(20, 30, title, size=17, weight=600),
        *_legend(),
        _text(20, 50, small, fill=_QUIET),
    ]
    top = _HEAD
    for name, panel in (("JPEG decoded in every epoch", cold), ("pixels decoded before", warm)):
        if panel:
            body += _panel(name, panel, top)
            top += (len(panel) + 2) * _ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + _FOOT - _ROW}"'
            ' font-family="system-ui, sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            '<rect width="100%" height="100%" rx="8" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _panel(name: str, engines: Sequence[Mapping[str, Any]], top: int) -> Iterator[str]:
    largest = max(engine["crops_per_s"]["max"] for engine in engines)
    scale = (_WIDTH - _LEFT - _RIGHT) / largest
    yield _text(20, top + 18, name, size=13, weight=600)
    for place, engine in enumerate(engines, 1):
        yield from _bar(engine, top + place * _ROW, scale)


def _bar(engine: Mapping[str, Any], top: int, scale: float) -> Iterator[str]:
    rate, ratio = engine["crops_per_s"], engine["of_ceiling"]
    ours = engine["group"] == "ours"
    middle = top + _ROW / 2
    low, length, high = (_LEFT + rate[name] * scale for name in ("min", "median", "max"))
    shown = f"{rate['median']:,.0f}"
    if ratio and engine["group"] != "ceiling":
        shown += f" ({ratio['median']:.0%})" if not engine["warm"] else f" ({ratio['median']:.1f}x)"
    yield _text(_LEFT - 8, middle + 4, engine["title"], anchor="end", weight=600 if ours else 400)
    yield (
        f'<rect x="{_LEFT}" y="{top + 4}" width="{length - _LEFT:.1f}" height="{_ROW - 8}" rx="2"'
        f' fill="{_COLOURS[engine["group"]]}"/>'
    )
    yield (
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 3}v6M{high:.1f}'
        f' {middle - 3}v6" stroke="{_INK}" stroke-width="1" fill="none"/>'
    )
    yield _text(max(length, high) + 6, middle + 4, shown, weight=600 if ours else 400)


def _legend() -> Iterator[str]:
    for place, (group, name) in enumerate(_LEGEND.items()):
        left = _WIDTH - 330 + place * 90 + (90 if group == "peer" else 0)
        yield f'<rect x="{left}" y="20" width="11" height="11" rx="2" fill="{_COLOURS[group]}"/>'
        yield _text(left + 16, 30, name)


def _text(
    left: float,
    base: float,
    text: str,
    *,
    size: int = 12,
    weight: int = 400,
    fill: str = _INK,
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{left:.1f}" y="{base:.1f}" font-size="{size}" font-weight="{weight}"'
        f' fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'
    )


if __name__ == "__main__":
    main()
