from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from lmdb_reid.sampling import Sampler, Sequential, Shuffled, TorchSampler, position_seed

steady = settings(derandomize=True, deadline=None)


def sha256(positions: np.ndarray) -> str:
    return hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()


def test_sequential_is_dataset_order_in_every_epoch() -> None:
    for epoch in (0, 7):
        positions = Sequential(5).positions(epoch)
        assert positions.dtype == np.int64
        assert positions.tolist() == [0, 1, 2, 3, 4]


@steady
@given(st.integers(0, 300), st.integers(0, 1 << 40), st.integers(0, 1000))
def test_shuffled_is_a_permutation_and_pure(count: int, seed: int, epoch: int) -> None:
    sampler = Shuffled(count, seed)
    positions = sampler.positions(epoch)
    assert positions.dtype == np.int64
    assert len(sampler) == len(positions)
    assert sorted(positions.tolist()) == list(range(count))
    assert np.array_equal(positions, Shuffled(count, seed).positions(epoch))


@pytest.mark.parametrize("epoch", [-1, 1.5, 2.0, "x", None, True, np.False_])
@pytest.mark.parametrize("sampler", [Sequential(3), Shuffled(3)])
def test_an_epoch_is_a_whole_number(sampler: Sampler, epoch: Any) -> None:
    with pytest.raises(UsageError, match="epoch must be a whole number, at least 0"):
        sampler.positions(epoch)


def test_epochs_of_numpy_are_those_of_python() -> None:
    assert np.array_equal(Shuffled(9).positions(np.int64(3)), Shuffled(9).positions(3))


def test_shuffled_differs_by_seed_and_epoch() -> None:
    orders = {
        tuple(Shuffled(50, seed).positions(epoch).tolist())
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(orders) == 25
    assert not np.array_equal(Shuffled(50, 1).positions(0), Shuffled(50, 0).positions(1))


def test_shuffled_does_not_touch_the_global_generators() -> None:
    numpy_state, torch_state = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    Shuffled(50, 3).positions(2)
    assert np.random.get_state()[1].tolist() == numpy_state
    assert torch.get_rng_state().tolist() == torch_state


def test_the_orders_of_today_are_the_orders_of_always() -> None:
    """A resumed run must find the order that its first part had, whatever release reads on."""
    assert Shuffled(10, 0).positions(0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    assert sha256(Shuffled(1000, 7).positions(3)) == (
        "71a36940f7a2003a1e178a75e6d97cc7c845dca58fabd39b794749f9dd5e75da"
    )
    assert sha256(Shuffled(100_000, 12345).positions(99)) == (
        "3f8385250a09e3714b3325958e6f9e600b6fd1735622b8400661247c2dc7912c"
    )


def test_seeds_of_positions_of_today_are_those_of_always() -> None:
    assert position_seed(0, 0, 0) == 1_574_948_166_546_198_548
    assert position_seed(1, 2, 3) == 4_313_618_806_848_978_394


@steady
@given(*[st.integers(-(1 << 63), (1 << 63) - 1)] * 3)
def test_seeds_of_positions_fit_every_generator(seed: int, epoch: int, position: int) -> None:
    drawn = position_seed(seed, epoch, position)
    assert 0 <= drawn < 1 << 63
    assert drawn == position_seed(seed, epoch, position)
    torch.Generator().manual_seed(drawn)


def test_seeds_of_positions_differ() -> None:
    seeds = {position_seed(s, e, p) for s in range(10) for e in range(10) for p in range(100)}
    assert len(seeds) == 10_000


# -- torch's samplers


def test_a_torch_sampler_gives_its_own_order() -> None:
    sampler = TorchSampler(torch.utils.data.RandomSampler(range(50)))
    first, second = sampler.positions(0), sampler.positions(1)
    assert first.dtype == np.int64
    assert len(sampler) == 50
    assert sorted(first.tolist()) == list(range(50))
    assert not np.array_equal(first, second)


def test_a_torch_sampler_is_given_the_epoch() -> None:
    plain = torch.utils.data.DistributedSampler(range(20), num_replicas=2, rank=1, seed=3)
    sampler = TorchSampler(plain)
    fifth = sampler.positions(5)
    sampler.positions(6)
    assert np.array_equal(sampler.positions(5), fifth)
    plain.set_epoch(5)
    assert fifth.tolist() == list(plain)


def test_a_sampler_without_a_length_is_drawn_and_counted() -> None:
    class Endless:
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter([3, 1, 2])

    assert len(TorchSampler(Endless())) == 3


def test_a_sampler_that_makes_batches_says_how_large() -> None:
    class PerClass(list):  # type: ignore[type-arg]  # as pytorch-metric-learning's
        batch_size = 4

    class Unset(list):  # type: ignore[type-arg]
        batch_size = None

    assert TorchSampler(PerClass([0, 1, 2, 3])).batch_size == 4
    assert TorchSampler(Unset([0])).batch_size is None
    assert TorchSampler([0]).batch_size is None


def test_what_has_positions_a_length_and_a_batch_size_is_a_sampler() -> None:
    for sampler in (Sequential(3), Shuffled(3), TorchSampler([0])):
        assert isinstance(sampler, Sampler)
        assert sampler.batch_size is None
    assert not isinstance(torch.utils.data.SequentialSampler(range(3)), Sampler)


def test_what_cannot_be_a_torch_sampler() -> None:
    with pytest.raises(UsageError, match="sampler must be an object with positions"):
        TorchSampler(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="once for each epoch"):
        TorchSampler(iter([1, 2]))
    with pytest.raises(
        UsageError, match=r"one by one.*For a batch sampler, pass its inner sampler"
    ):
        TorchSampler([[1, 2], [3, 4]]).positions(0)  # type: ignore[list-item]
