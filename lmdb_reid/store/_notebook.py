"""How a store and its samples look in a notebook: counts, and thumbnails that carry their bytes."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lmdb_reid.errors import LmdbReidError
from lmdb_reid.schema import Kind
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._manifest import Manifest

_STRIP = 12  # thumbnails of a store
_HEIGHT = 96  # of a thumbnail, pixels


class _Shown(Protocol):
    """What of a store is looked at."""

    path: Path
    manifest: Manifest
    columns: Columns

    @property
    def kinds(self) -> dict[str, int]: ...
    def __len__(self) -> int: ...
    def at(self, row: int) -> Any: ...


def store_html(store: _Shown, *, closed: bool) -> str:
    """Counts, and persons from all over a store; without the latter if it is closed.

    What cannot be read, since the store was removed or damaged meanwhile, is said in their place.
    """
    facts = {"samples": len(store), **store.kinds, "identities": store.manifest.identities}
    cells = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{count:,}</td></tr>" for name, count in facts.items()
    )
    strip = "" if closed else _strip(store)
    return (
        f"<b>{html.escape(str(store.path))}</b><table>{cells}</table>"
        f'<div style="display:flex;gap:2px">{strip}</div>'
    )


def _strip(store: _Shown) -> str:
    try:
        rows = np.flatnonzero(store.columns["kind"] == Kind.PERSON)
    except LmdbReidError as error:
        return _told(error)
    rows = rows if len(rows) else np.arange(len(store))
    shown = np.linspace(0, len(rows) - 1, min(_STRIP, len(rows))).astype(int)
    return _tiles(store.at, rows[shown].tolist())


def samples_html(read: Callable[[int], Any], rows: Sequence[int], most: int) -> str:
    """Thumbnails with labels and ids, of the first `most` of some rows."""
    if not rows:
        return "<i>no samples</i>"
    count = f"{len(rows):,} samples" if len(rows) != 1 else "1 sample"
    if len(rows) > most:
        count += f", the first {most} shown"
    return (
        f"<b>{count}</b>"
        '<div style="display:flex;flex-wrap:wrap;gap:4px;align-items:flex-end">'
        f"{_tiles(read, rows[:most], captions=True)}</div>"
    )


def _tiles(read: Callable[[int], Any], rows: Sequence[int], *, captions: bool = False) -> str:
    tiles: list[str] = []
    for row in rows:
        try:
            sample = read(row)
        except LmdbReidError as error:
            if not tiles or tiles[-1] != _told(error):  # once, where none can be read
                tiles.append(_told(error))
            continue
        who = f"label {sample.label}" if sample.label >= 0 else sample.kind.title
        tile = image_tag(sample.jpeg, f"{sample.id} {who}", _HEIGHT)
        if captions:
            tile = (
                f'<figure style="margin:0;max-width:8em">{tile}'
                '<figcaption style="font-size:x-small;overflow-wrap:anywhere">'
                f"{who}<br>{html.escape(sample.id)}</figcaption></figure>"
            )
        tiles.append(tile)
    return "".join(tiles)


def _told(error: LmdbReidError) -> str:
    return f"<i>{html.escape(str(error))}</i>"


def image_tag(jpeg: bytes, title: str, height: int) -> str:
    """An HTML image that carries its own bytes."""
    data = base64.b64encode(jpeg).decode()
    source = f"data:image/jpeg;base64,{data}"
    return f'<img src="{source}" title="{html.escape(title)}" style="height:{height}px">'
