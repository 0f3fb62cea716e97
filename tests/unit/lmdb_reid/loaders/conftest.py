"""A store of 64 small pictures, and loaders that are closed at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import Loader, ReIDDataset, StoreWriter, codec, make_loader

COUNT = 64


@pytest.fixture(scope="session")
def path64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures of 32x16, four of each of 16 identities."""
    draw = np.random.default_rng(0)
    with StoreWriter(tmp_path_factory.mktemp("loaders") / "a.lmdb") as writer:
        for row in range(COUNT):
            blocks = draw.integers(0, 256, (8, 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
            record = {"label": row // 4, "camera": f"c{row % 3}"}
            writer.put(f"f{row:03d}", codec.encode(blocks), record)
        return writer.seal()


@pytest.fixture
def dataset(path64: Path) -> ReIDDataset:
    return ReIDDataset(path64)


@pytest.fixture
def loader() -> Iterator[Callable[..., Loader]]:
    """make_loader that decodes in the caller's thread, unless told otherwise."""
    with contextlib.ExitStack() as stack:

        def make(dataset: Any, batch_size: int | None = None, **kw: Any) -> Loader:
            arguments = {"num_workers": 0, "start_method": "fork", **kw}
            return stack.enter_context(make_loader(dataset, batch_size, **arguments))

        yield make
