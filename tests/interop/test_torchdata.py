"""torchdata's StatefulDataLoader over our datasets and samplers, and its nodes over our loaders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmdb_reid import PKSampler, ReIDDataset, make_loader

WHY = "torchdata is not installed: `make test-interop` has it"
stateful = pytest.importorskip("torchdata.stateful_dataloader", reason=WHY)
nodes = pytest.importorskip("torchdata.nodes", reason=WHY)

# torchdata 0.11 calls what torch 2.13 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")

NewLoader = Callable[[], Any]


def labels(batch: Any) -> list[int]:
    found: list[int] = batch[1].tolist()
    return found


def sums(batch: Any) -> list[int]:
    """Something of each image that tells it from the others."""
    found: list[int] = batch[0].long().sum((1, 2, 3)).tolist()
    return found


def check_resume(new_loader: NewLoader, taken: int) -> None:
    """Another loader with the state of the first one reads what that one would have read."""
    first, other = new_loader(), new_loader()
    running = iter(first)
    for _ in range(taken):
        next(running)
    state = first.state_dict()
    rest = [(sums(batch), labels(batch)) for batch in running]
    other.load_state_dict(state)
    assert [(sums(batch), labels(batch)) for batch in other] == rest
    assert len(rest) > 1


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_dataset_is_resumed_exactly(num_workers: int, shuffle: bool, store_path: Path) -> None:
    dataset = ReIDDataset(store_path)

    def new_loader() -> Any:
        return stateful.StatefulDataLoader(
            dataset, batch_size=10, shuffle=shuffle, num_workers=num_workers
        )

    check_resume(new_loader, 4)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("as_batches", [False, True])
def test_identities_with_their_images_are_resumed_exactly(
    num_workers: int, as_batches: bool, store_path: Path
) -> None:
    dataset = ReIDDataset(store_path)

    def new_loader() -> Any:
        sampler = PKSampler(dataset, p=4, k=3)
        how = {"batch_sampler": sampler.batches()} if as_batches else {"sampler": sampler}
        size = {} if as_batches else {"batch_size": 12}
        return stateful.StatefulDataLoader(dataset, num_workers=num_workers, **how, **size)

    check_resume(new_loader, 3)
    for batch in new_loader():
        assert len(set(labels(batch))) == 4


def test_nodes_are_made_of_our_loader(store_path: Path) -> None:
    dataset = ReIDDataset(store_path)
    with make_loader(dataset, 10, shuffle=True, num_workers=1) as loader:
        wanted = [batch.rows.tolist() for batch in loader]
        loader.set_epoch(0)
        wrapped = nodes.Loader(
            nodes.Mapper(nodes.IterableWrapper(loader), lambda batch: batch.rows)
        )
        assert [rows.tolist() for rows in wrapped] == wanted
