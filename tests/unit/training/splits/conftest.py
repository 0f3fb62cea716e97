"""Small stores to be split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid.codec import encode
from lmdb_reid.schema import Roles
from lmdb_reid.store import StoreWriter

Seal = Callable[..., Path]


@pytest.fixture
def seal(tmp_path: Path) -> Seal:
    """A function that seals a store of records by id; each shows a noise of its own, those with one
    number in `pictures` the same.
    """

    def sealed(
        records: Mapping[str, Mapping[str, Any]],
        *,
        roles: Roles | None = None,
        pictures: Sequence[int] | None = None,
        name: str = "s.lmdb",
    ) -> Path:
        path = tmp_path / name
        with StoreWriter(path, roles=roles) as writer:
            for number, (sample_id, record) in enumerate(records.items()):
                seed = number if pictures is None else pictures[number]
                pixels = np.random.default_rng(seed).integers(0, 255, (16, 8, 3), np.uint8)
                writer.put(sample_id, encode(pixels), dict(record))
            writer.seal()
        return path

    return sealed
