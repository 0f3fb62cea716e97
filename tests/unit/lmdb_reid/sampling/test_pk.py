from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lmdb_reid.errors import UsageError
from lmdb_reid.sampling import PKSampler, Sampler

steady = settings(derandomize=True, deadline=None)


@dataclass
class Labelled:
    """A dataset with labels, and no more."""

    labels: Any

    def __getitem__(self, position: int) -> tuple[int, int]:
        return position, int(self.labels[position])

    def __len__(self) -> int:
        return len(self.labels)


def sampler(labels: Any, *args: Any, **kw: Any) -> PKSampler:
    return PKSampler(Labelled(np.asarray(labels)), *args, **kw)


labels_of_many = st.lists(st.integers(-1, 6), min_size=12, max_size=60)


@steady
@given(labels_of_many, st.integers(1, 4), st.integers(1, 5), st.integers(0, 5), st.integers(0, 9))
def test_batches_of_p_identities_with_k_images(
    labels: list[int], p: int, k: int, epoch: int, seed: int
) -> None:
    known = {label for label in labels if label >= 0}
    p = min(p, len(known))
    if p < 1:
        return
    one = sampler(labels, p, k, seed=seed)
    positions = one.positions(epoch)
    assert positions.dtype == np.int64
    assert one.batch_size == p * k
    assert len(positions) == len(one)
    assert np.array_equal(positions, sampler(labels, p, k, seed=seed).positions(epoch))
    counts = {label: labels.count(label) for label in known}
    for batch in positions.reshape(-1, p, k).tolist():
        groups = [[labels[position] for position in group] for group in batch]
        assert all(len(set(group)) == 1 for group in groups), "an identity's k side by side"
        assert len({group[0] for group in groups}) == p
        for group, (label, *_) in zip(batch, groups, strict=True):
            most = -(-k // counts[label])
            assert max(group.count(position) for position in group) <= most, "none more than needed"
    everybody = {position for position, label in enumerate(labels) if label >= 0}
    assert set(positions.tolist()) == everybody, "every image of an identity is read"


def test_epochs_and_seeds_draw_differently() -> None:
    labels = np.arange(60) % 6
    orders = {
        tuple(sampler(labels, 3, 2, seed=seed).positions(epoch).tolist())
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


FEW = np.array([0, 0, 1, 2, -1, 2, 2, 2, 1, 5])


@pytest.mark.parametrize(
    ("labels", "p", "k", "seed", "epoch", "count", "sha256"),
    [
        (FEW, 2, 2, 0, 0, 12, "3a0ecdd5bcc5dc70a4a954a7a243a76d5dfcac460c2210a68b50ef7e65103452"),
        (FEW, 4, 3, 1, 2, 24, "f5d20df4dbac35ff4a51e729cde09e1e28ac11678e5dc1c5a8d96b9ab1a39fe1"),
        (
            np.arange(1000) % 37 - 1,
            *(16, 4, 3, 5, 1344),
            "dbf6d512c9ea96b9e8bbbba09c920a6ff56949a213ceb4c45c704a6faffa12b6",
        ),
        (
            np.where(np.arange(5000) % 11 == 0, -1, np.arange(5000) ** 2 % 301),
            *(8, 4, 7, 1, 4704),
            "adedd1b5d900f6a7bd2d1e6000c99a6ae640f4a1e21d4c91660ff5a8bff1030f",
        ),
        (
            np.repeat(np.arange(30), np.arange(1, 31)),
            *(7, 3, 2, 9, 588),
            "35b8b90351c9e7460acd7bf9d52540f3847ff7ba95291c4d2219fd2c4dcc7fea",
        ),
    ],
    ids=["few", "all of few", "even", "uneven", "from 1 to 30 images"],
)
def test_the_orders_of_today_are_the_orders_of_always(
    labels: npt.NDArray[Any], p: int, k: int, seed: int, epoch: int, count: int, sha256: str
) -> None:
    """A resumed run must find the order that its first part had, whatever release reads on."""
    positions = sampler(labels, p, k, seed=seed).positions(epoch)
    assert len(positions) == count
    assert hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest() == sha256


def test_it_leaves_the_global_generators_and_the_labels_alone() -> None:
    labels = np.arange(50) % 5
    states = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    list(sampler(labels, 2, 2))
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert labels.tolist() == (np.arange(50) % 5).tolist()


@pytest.mark.parametrize(("p", "k"), [(0, 2), (2, 0), (4, 1), (-1, 1)])
def test_identities_that_cannot_be_batched(p: int, k: int) -> None:
    with pytest.raises(UsageError, match=r"PKSampler|number of identities, 3, got p=4"):
        sampler([0, 0, 1, 2, -1], p, k)


def test_nobody_is_known() -> None:
    with pytest.raises(UsageError, match="the number of identities, 0, got"):
        sampler([-1, -1], 1, 1)


def test_a_dataset_without_labels_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a dataset with labels, such as .*, got list"):
        PKSampler([0.5, 0.5, 1, 1], 2, 2)  # type: ignore[list-item]


# -- in torch's own loader


LABELS = np.array([0, 1, -1, 2, 0, 1, 2, 0, 3, 3])


def read(loader: DataLoader[Any]) -> Iterator[tuple[list[int], list[int]]]:
    for positions, labels in loader:
        yield positions.tolist(), labels.tolist()


def test_it_is_a_sampler_of_ours_and_one_of_torchs() -> None:
    one = sampler(LABELS, 2, 2)
    assert isinstance(one, Sampler)
    dataset = Labelled(LABELS)
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=one.batch_size, sampler=one)
    for epoch in range(3):
        batches = list(read(loader))
        assert len(batches) == len(loader) == len(one) // 4
        read_positions = np.concatenate([positions for positions, _ in batches])
        assert np.array_equal(read_positions, one.positions(epoch))
        assert all(len(set(labels)) == 2 for _, labels in batches)


def test_its_batches_are_a_batch_sampler_of_torchs() -> None:
    one = sampler(LABELS, 2, 2)
    loader: DataLoader[Any] = DataLoader(Labelled(LABELS), batch_sampler=one.batches())
    for epoch in range(3):
        batches = [positions for positions, _ in read(loader)]
        assert batches == one.positions(epoch).reshape(-1, 4).tolist()
        assert len(loader) == len(batches)


def test_set_epoch_names_the_next_one_to_be_drawn() -> None:
    one = sampler(LABELS, 2, 2)
    one.set_epoch(7)
    assert list(one) == one.positions(7).tolist()
    assert list(one) == one.positions(8).tolist()
    one.set_epoch(2)
    assert list(one.batches()) == one.positions(2).reshape(-1, 4).tolist()


def test_an_iterator_that_nobody_reads_takes_no_epoch() -> None:
    one = sampler(LABELS, 2, 2)
    iter(one)
    running = iter(one)
    assert [next(running) for _ in range(3)] == one.positions(0)[:3].tolist()
    assert list(one) == one.positions(1).tolist()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"p": 2.5}, "p"), ({"p": "2"}, "p"), ({"k": 0}, "k"), ({"seed": -1}, "seed")]
    + [({name: value}, name) for name in ("p", "k", "seed") for value in (True, np.True_)],
    ids=str,
)
def test_numbers_that_are_none_are_named(arguments: dict[str, Any], name: str) -> None:
    class Labels:
        labels = np.array([0, 0, 1, 1])

    with pytest.raises(UsageError, match=f"PKSampler's {name} must be a whole number"):
        PKSampler(Labels(), **{"p": 2, "k": 2, **arguments})
