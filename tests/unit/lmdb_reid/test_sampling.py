from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from lmdb_reid.sampling import (
    FromTorch,
    PKSampler,
    Sampler,
    Sequential,
    Shuffled,
    position_seed,
    rank_share,
)

steady = settings(derandomize=True, deadline=None)


def sha256(rows: np.ndarray) -> str:
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def test_sequential_is_dataset_order_in_every_epoch() -> None:
    for epoch in (0, 7):
        rows = Sequential(5).rows(epoch)
        assert rows.dtype == np.int64
        assert rows.tolist() == [0, 1, 2, 3, 4]


@steady
@given(st.integers(0, 300), st.integers(0, 1 << 40), st.integers(0, 1000))
def test_shuffled_is_a_permutation_and_pure(count: int, seed: int, epoch: int) -> None:
    rows = Shuffled(count, seed).rows(epoch)
    assert rows.dtype == np.int64
    assert sorted(rows.tolist()) == list(range(count))
    assert np.array_equal(rows, Shuffled(count, seed).rows(epoch))


def test_shuffled_differs_by_seed_and_epoch() -> None:
    orders = {
        tuple(Shuffled(50, seed).rows(epoch).tolist()) for seed in range(5) for epoch in range(5)
    }
    assert len(orders) == 25
    assert not np.array_equal(Shuffled(50, 1).rows(0), Shuffled(50, 0).rows(1))


def test_shuffled_does_not_touch_the_global_generators() -> None:
    numpy_state, torch_state = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    Shuffled(50, 3).rows(2)
    PKSampler(np.arange(50) % 5, 2, 2).rows(3)
    assert np.random.get_state()[1].tolist() == numpy_state
    assert torch.get_rng_state().tolist() == torch_state


def test_the_orders_of_today_are_the_orders_of_always() -> None:
    """A resumed run must find the order that its first part had, whatever release reads on."""
    assert Shuffled(10, 0).rows(0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    assert sha256(Shuffled(1000, 7).rows(3)) == (
        "71a36940f7a2003a1e178a75e6d97cc7c845dca58fabd39b794749f9dd5e75da"
    )
    assert sha256(Shuffled(100_000, 12345).rows(99)) == (
        "3f8385250a09e3714b3325958e6f9e600b6fd1735622b8400661247c2dc7912c"
    )


def test_seeds_of_positions_of_today_are_those_of_always() -> None:
    assert position_seed(0, 0, 0) == 1_574_948_166_546_198_548
    assert position_seed(1, 2, 3) == 4_313_618_806_848_978_394


@steady
@given(*[st.integers(-(1 << 63), (1 << 63) - 1)] * 3)
def test_seeds_of_positions_fit_every_generator(seed: int, epoch: int, position: int) -> None:
    made = position_seed(seed, epoch, position)
    assert 0 <= made < 1 << 63
    assert made == position_seed(seed, epoch, position)
    torch.Generator().manual_seed(made)


def test_seeds_of_positions_differ() -> None:
    seeds = {position_seed(s, e, p) for s in range(10) for e in range(10) for p in range(100)}
    assert len(seeds) == 10_000


# -- ranks


@steady
@given(st.integers(0, 200), st.integers(1, 9), st.booleans())
def test_ranks_get_equally_many_and_miss_nothing(count: int, ranks: int, drop_last: bool) -> None:
    rows = np.arange(count)[::-1].copy()
    shares = [rank_share(rows, rank, ranks, drop_last=drop_last) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    together = sorted(np.concatenate(shares).tolist())
    if drop_last:
        assert len(together) == count - count % ranks
        assert len(set(together)) == len(together)
        assert set(together) <= set(range(count))
    else:
        assert set(together) == set(range(count))
        assert len(together) - count < ranks


def test_ranks_read_side_by_side_what_one_reads_alone() -> None:
    rows = Shuffled(12, 5).rows(1)
    shares = [rank_share(rows, rank, 3, drop_last=False) for rank in range(3)]
    assert np.stack(shares, axis=1).reshape(-1).tolist() == rows.tolist()


def test_fewer_rows_than_ranks() -> None:
    shares = [rank_share(np.array([7]), rank, 4, drop_last=False) for rank in range(4)]
    assert [share.tolist() for share in shares] == [[7]] * 4
    assert all(not len(rank_share(np.array([7]), rank, 4, drop_last=True)) for rank in range(4))


@pytest.mark.parametrize(("rank", "ranks"), [(2, 2), (-1, 2), (0, 0)])
def test_ranks_that_are_not_there(rank: int, ranks: int) -> None:
    with pytest.raises(UsageError, match="world size"):
        rank_share(np.arange(4), rank, ranks, drop_last=False)


# -- torch's samplers


def test_a_torch_sampler_is_drawn_once_for_each_epoch() -> None:
    sampler = FromTorch(torch.utils.data.RandomSampler(range(50)))
    first = sampler.rows(0)
    assert np.array_equal(sampler.rows(0), first)
    assert first.dtype == np.int64
    assert sorted(first.tolist()) == list(range(50))
    assert not np.array_equal(sampler.rows(1), first)


def test_a_torch_sampler_is_told_the_epoch() -> None:
    plain = torch.utils.data.DistributedSampler(range(20), num_replicas=2, rank=1, seed=3)
    sampler = FromTorch(plain)
    fifth = sampler.rows(5)
    sampler.rows(6)
    assert np.array_equal(sampler.rows(5), fifth)
    plain.set_epoch(5)
    assert fifth.tolist() == list(plain)


def test_a_restored_order_is_taken_as_it_is() -> None:
    sampler = FromTorch(torch.utils.data.RandomSampler(range(5)))
    sampler.restore(3, np.array([4, 0, 2]))
    assert sampler.rows(3).tolist() == [4, 0, 2]


def test_what_has_rows_is_a_sampler() -> None:
    for sampler in (Sequential(3), Shuffled(3), PKSampler(np.arange(4), 2, 1), FromTorch([0])):
        assert isinstance(sampler, Sampler)
    assert not isinstance(torch.utils.data.SequentialSampler(range(3)), Sampler)


# -- p identities, k images


@steady
@given(st.lists(st.integers(-1, 6), min_size=12, max_size=60), st.integers(0, 5))
def test_batches_of_p_identities_with_k_images(labels: list[int], epoch: int) -> None:
    known = {label for label in labels if label >= 0}
    p, k = min(3, len(known)), 2
    if p < 1:
        return
    sampler = PKSampler(np.array(labels), p, k, seed=1)
    rows = sampler.rows(epoch)
    assert len(rows) == len(sampler)
    assert np.array_equal(rows, PKSampler(np.array(labels), p, k, seed=1).rows(epoch))
    for batch in rows.reshape(-1, p * k):
        found = [labels[row] for row in batch]
        assert min(found) >= 0
        assert len(set(found)) == p
        assert all(found.count(label) == k for label in set(found))
    assert set(rows.tolist()) == {row for row, label in enumerate(labels) if label >= 0}


@pytest.mark.parametrize(("p", "k"), [(0, 2), (2, 0), (4, 1)])
def test_identities_that_cannot_be_batched(p: int, k: int) -> None:
    with pytest.raises(UsageError, match="PKSampler"):
        PKSampler(np.array([0, 0, 1, 2, -1]), p, k)
