"""How a store and its samples look in a notebook: counts, and thumbnails that carry their bytes.

Colours of texts are the notebook's own, so that they can be read in a dark one too. No text of a
source is markup, or turns what stands beside it round.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lmdb_reid._visible import visible
from lmdb_reid.errors import LmdbReidError
from lmdb_reid.pictures import Colour
from lmdb_reid.schema import Kind, Roles, Rows
from lmdb_reid.store import _captions
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._description import images_each, images_of_each
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._manifest import Manifest

_STRIP = 12  # thumbnails of a store
_HEIGHT = 96  # of a thumbnail, pixels
_BARS = 80  # of a histogram, at most
_CHART = 240, 48  # (width, height) of a histogram, pixels
_LONGEST = 1000  # characters of a text
_NUMBER = "text-align:right"
_BLUE = "#4477aa"  # of bars; to be seen on white and on black
_BREAKS = re.compile(r"(?<=[/#\\])|(?<=__)")  # where a long id may go to the next line


class _Read(Protocol):
    """What of a store samples are shown from."""

    columns: Columns
    ids: Ids

    @property
    def roles(self) -> Roles: ...
    def at(self, row: int) -> Any: ...


class _Shown(_Read, Protocol):
    """What of a store is shown."""

    path: Path
    manifest: Manifest

    @property
    def kinds(self) -> dict[str, int]: ...
    def __len__(self) -> int: ...


def store_html(store: _Shown, *, closed: bool) -> str:
    """Counts, a histogram of the identities, and persons from all over a store; without the last
    two if it is closed.

    What cannot be read, since the store was removed or damaged meanwhile, is said in their place.
    """
    rows = [_fact("samples", len(store))]
    rows += [
        _fact(kind, count, count / max(1, len(store)), _captions.COLOURS[Kind[kind.upper()]])
        for kind, count in store.kinds.items()
    ]
    rows.append(_fact("identities", store.manifest.identities))
    below = "" if closed else _whole(store)
    return (
        f"<b>{text_html(store.path)}</b>"
        '<div style="display:flex;flex-wrap:wrap;gap:2em;align-items:flex-end">'
        f'<table style="margin:0">{"".join(rows)}</table>{below}</div>'
        f'<div style="display:flex;gap:2px;margin-top:4px">{"" if closed else _strip(store)}</div>'
    )


def samples_html(store: _Read, rows: Rows, most: int, title: str) -> str:
    """Thumbnails of the first `most` of some rows, each with what is known of it and its id."""
    if not len(rows):
        return "<i>no samples</i>"
    first = f", the first {most} shown" if len(rows) > most else ""
    return (
        f"<b>{text_html(title)}{first}</b>"
        '<div style="display:flex;flex-wrap:wrap;gap:4px;align-items:flex-start">'
        f"{''.join(_tiles(store, rows[:most], captioned=True))}</div>"
    )


def image_tag(jpeg: bytes, title: str, height: int, edge: Colour | None = None) -> str:
    """An HTML image that carries its own bytes."""
    data = base64.b64encode(jpeg).decode()
    source = f"data:image/jpeg;base64,{data}"
    line = "" if edge is None else f";border:2px solid {_css(edge)}"
    size = f"height:{height}px;max-width:{2 * height}px;object-fit:contain"
    return f'<img src="{source}" title="{text_html(title)}" style="{size}{line}">'


def text_html(text: object) -> str:
    """A text of a source as HTML that shows it: no markup, no control characters, and of a very
    long one its beginning.
    """
    shown = str(text)
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
    return html.escape(visible(shown))


def _css(colour: Colour) -> str:
    return f"rgb({','.join(map(str, colour))})"


def _fact(name: str, count: int, share: float | None = None, colour: Colour | None = None) -> str:
    """A line of the table, with a bar that is as long as its share of all samples."""
    bar = ""
    if share is not None and colour is not None:
        bar = (
            f'<div style="width:{max(1, round(100 * share))}px;height:8px;'
            f'background:{_css(colour)}"></div>'
        )
    return (
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="{_NUMBER}">{count:,}</td><td>{bar}</td></tr>'
    )


def _whole(store: _Shown) -> str:
    """The histogram: a bar for each identity, the one with the most images first; of many, a bar
    for some of them, evenly spread.
    """
    try:
        counts = images_of_each(store.columns["label"])[1]
    except LmdbReidError:
        return ""  # the strip says why
    spread = images_each(counts)
    if spread is None:
        return ""
    counts = np.sort(counts)[::-1]
    shown = counts[np.linspace(0, len(counts) - 1, min(_BARS, len(counts))).astype(np.int64)]
    (width, height), most = _CHART, int(counts[0])
    step = width / len(shown)
    bars = "".join(
        f'<rect x="{at * step:.2f}" y="{height * (1 - count / most):.2f}"'
        f' width="{max(0.5, step - 1):.2f}" height="{height * count / most:.2f}"/>'
        for at, count in enumerate(shown.tolist())
    )
    least, middle, most = spread
    words = f"images of each identity: {least:,} to {most:,}, median {middle:,}"
    return (
        f'<div><svg width="{width}" height="{height}" role="img" aria-label="{words}"'
        f' fill="{_BLUE}"><title>{words}</title>{bars}</svg>'
        f'<div style="font-size:x-small">{words}</div></div>'
    )


def _strip(store: _Shown) -> str:
    try:
        rows = np.flatnonzero(store.columns["kind"] == Kind.PERSON)
        rows = rows if len(rows) else np.arange(len(store))
        shown = np.linspace(0, len(rows) - 1, min(_STRIP, len(rows))).astype(int)
        return "".join(_tiles(store, rows[shown], captioned=False))
    except LmdbReidError as error:
        return _message(error)


def _tiles(store: _Read, rows: Rows, *, captioned: bool) -> Iterator[str]:
    said = None
    try:
        whos, kinds = _captions.whos(store, rows), _captions.kinds_of(store, rows)
        captions = _captions.captions(store, rows, with_ids=False)
    except LmdbReidError as error:
        yield _message(error)
        return
    for row, who, caption, kind in zip(rows.tolist(), whos, captions, kinds, strict=True):
        try:
            sample = store.at(row)
        except LmdbReidError as error:
            if str(error) != said:  # once, where none can be read
                said = str(error)
                yield _message(error)
            continue
        tile = image_tag(sample.jpeg, f"{sample.id} {who}", _HEIGHT, _captions.COLOURS[kind])
        if captioned:
            tile = (
                f'<figure style="margin:0;max-width:9em">{tile}'
                '<figcaption style="font-size:x-small;overflow-wrap:anywhere">'
                f"{text_html(caption)}<br>{_id_html(sample.id)}</figcaption></figure>"
            )
        yield tile


def _id_html(sample_id: str) -> str:
    """An id that breaks behind its separators, not within a name such as Q1-000."""
    parts = (part for part in _BREAKS.split(sample_id) if part)
    pieces = (f'<span style="display:inline-block">{text_html(part)}</span>' for part in parts)
    return "".join(pieces)


def _message(error: LmdbReidError) -> str:
    return f"<i>{text_html(error)}</i>"
