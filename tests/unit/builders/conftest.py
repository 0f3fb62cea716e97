"""Small pictures for layouts that tests draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import codec

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draws `draw("data", "query/a.jpg", "gallery/b.png")`, each of another shade, in a folder
    below the test's own; all are JPEG, whatever their names say.
    """

    def at(folder: str, *paths: str, size: tuple[int, int] = (48, 24)) -> Path:
        root = tmp_path / folder
        for number, path in enumerate(paths):
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(codec.encode(np.full((*size, 3), 7 * number % 256, np.uint8)))
        root.mkdir(exist_ok=True)
        return root

    return at
