"""How a store looks in a notebook: its counts, and a strip of thumbnails."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lmdb_reid.errors import SampleError, StoreDamagedError
from lmdb_reid.store._manifest import Manifest

_STRIP = 12  # thumbnails


class _Shown(Protocol):
    """What of a store is looked at."""

    path: Path
    manifest: Manifest

    @property
    def kinds(self) -> dict[str, int]: ...
    def __len__(self) -> int: ...
    def at(self, row: int) -> Any: ...


def store_html(store: _Shown, *, closed: bool) -> str:
    """Counts and thumbnails from all over a store; without the latter where it is closed."""
    facts = {"samples": len(store), **store.kinds, "identities": store.manifest.identities}
    cells = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{count:,}</td></tr>" for name, count in facts.items()
    )
    shown = 0 if closed else min(_STRIP, len(store))
    rows = np.linspace(0, len(store) - 1, shown).astype(int).tolist()
    strip = "".join(_tile(store, row) for row in rows)
    return (
        f"<b>{html.escape(str(store.path))}</b><table>{cells}</table>"
        f'<div style="display:flex;gap:2px">{strip}</div>'
    )


def _tile(store: _Shown, row: int) -> str:
    try:
        sample = store.at(row)
    except (SampleError, StoreDamagedError) as error:
        return f"<i>{html.escape(str(error))}</i>"
    return image_tag(sample.jpeg, f"{sample.id} label {sample.label}", 96)


def image_tag(jpeg: bytes, title: str, height: int) -> str:
    """An HTML image that carries its own bytes."""
    data = base64.b64encode(jpeg).decode()
    source = f"data:image/jpeg;base64,{data}"
    return f'<img src="{source}" title="{html.escape(title)}" style="height:{height}px">'
