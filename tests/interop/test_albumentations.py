"""albumentations, whose pipelines keep random generators, in our worker processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lmdb_reid import ReIDDataset, make_loader

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # read when it is imported: it asks the network else
A = pytest.importorskip(
    "albumentations", reason="albumentations is not installed: `make test-interop` has it"
)

pytestmark = pytest.mark.filterwarnings("ignore:the transform has its own generator")


class Pipeline:
    """Without a keyword `generator`, as most people write it."""

    def __init__(self, seed: int | None) -> None:
        steps = [A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=1.0), A.CoarseDropout(p=0.5)]
        self.compose = A.Compose(steps, seed=seed)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        pixels = self.compose(image=image.permute(1, 2, 0).numpy().copy())["image"]
        return torch.from_numpy(pixels).permute(2, 0, 1)


def epochs(store: Path, seed: int | None, **how: Any) -> list[torch.Tensor]:
    """The images of two epochs."""
    dataset = ReIDDataset(store, range(24), transform=Pipeline(seed))
    with make_loader(dataset, 4, **how) as loader:
        return [torch.cat([batch.images for batch in loader]) for _ in range(2)]


@pytest.mark.parametrize("seed", [None, 7])
def test_any_number_of_workers_draws_the_same(seed: int | None, store_path: Path) -> None:
    one, again = epochs(store_path, seed, engine="processes", num_workers=1)
    assert not torch.equal(one, again)
    for engine, num_workers in (("processes", 3), ("dataloader", 2)):
        first, second = epochs(store_path, seed, engine=engine, num_workers=num_workers)
        assert torch.equal(first, one)
        assert torch.equal(second, again)


def test_a_pipeline_is_warned_of(store_path: Path) -> None:
    dataset = ReIDDataset(store_path, transform=Pipeline(7))
    with pytest.warns(UserWarning, match="the transform has a generator of its own"):
        make_loader(dataset, 4, num_workers=1).close()
