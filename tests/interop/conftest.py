"""A store of coloured people for other people's tools. What a test needs of those, and why it is
skipped without it, stands in its module.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import StoreWriter, codec

PEOPLE, IMAGES = 8, 12
COUNT = PEOPLE * IMAGES


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 pictures of 32x16: 12 each of 8 people, each person of one colour, with noise. The rows of
    a person do not stand together.
    """
    draw = np.random.default_rng(0)
    colours = draw.integers(40, 216, (PEOPLE, 3))
    with StoreWriter(tmp_path_factory.mktemp("interop") / "people.lmdb") as writer:
        for row in range(COUNT):
            noise = draw.integers(-39, 40, (8, 4, 3)).repeat(4, 0).repeat(4, 1)
            pixels = (colours[row % PEOPLE] + noise).astype(np.uint8)
            record = {"label": row % PEOPLE, "camera": f"c{row % 3}"}
            writer.put(f"f{row:03d}", codec.encode(pixels), record)
        return writer.seal()
