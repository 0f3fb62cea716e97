from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.splits import _near
from training.splits._near import Hashes, connected, near_pairs

BITS = 64


def flipped(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def by_hand(hashes: Hashes, distance: int) -> set[tuple[int, int]]:
    values = hashes.tolist()
    pairs = itertools.combinations(range(len(values)), 2)
    return {(i, j) for i, j in pairs if (values[i] ^ values[j]).bit_count() <= distance}


def found(hashes: Hashes, distance: int) -> set[tuple[int, int]]:
    return {
        (min(pair), max(pair))
        for ones, others in near_pairs(hashes, distance)
        for pair in zip(ones.tolist(), others.tolist(), strict=True)
    }


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2**BITS - 1), min_size=1, max_size=6),
    st.lists(st.lists(st.integers(0, BITS - 1), max_size=9, unique=True), max_size=20),
    st.integers(0, 6),
)
def test_every_near_pair_is_found_and_no_other(
    seeds: list[int], flips: list[list[int]], distance: int
) -> None:
    values = {flipped(seeds[at % len(seeds)], bits) for at, bits in enumerate(flips)} | set(seeds)
    hashes = np.array(sorted(values), np.uint64)
    assert found(hashes, distance) == by_hand(hashes, distance)


def test_hashes_that_crowd_in_a_few_bits_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_near, "_WORTH", 50)
    draw = np.random.default_rng(0)
    hashes = np.unique(draw.integers(0, 2**9, 300).astype(np.uint64) << np.uint64(20))
    pairs = by_hand(hashes, 4)
    assert found(hashes, 4) == pairs and len(pairs) > 1000


def test_bits_are_counted_alike_without_numpys_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).integers(0, 2**63, 100).astype(np.uint64)
    counts = [value.bit_count() for value in values.tolist()]
    assert _near.bit_count(values).tolist() == counts
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert _near.bit_count(values).tolist() == counts


@settings(deadline=None)
@given(
    st.integers(1, 30).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(
                st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))),
                max_size=4,
            ),
        )
    )
)
def test_what_pairs_connect(case: tuple[int, list[list[tuple[int, int]]]]) -> None:
    count, batches = case
    arrays = [np.array(batch, np.int64).reshape(-1, 2) for batch in batches]
    root = connected(count, [(batch[:, 0], batch[:, 1]) for batch in arrays]).tolist()
    sets = [{place} for place in range(count)]
    for one, other in itertools.chain.from_iterable(batches):
        merged = sets[one] | sets[other]
        for place in merged:
            sets[place] = merged
    assert root == [min(each) for each in sets]


@pytest.mark.parametrize("skew", [0.5, 0.2], ids=["random bits", "bits that are mostly 0"])
def test_planted_among_many(skew: float) -> None:
    draw = np.random.default_rng(2)
    bits = draw.random((4_000, BITS)) < skew
    hashes = np.packbits(bits, axis=1).view(np.uint64).ravel()
    planted = []
    for number in range(200):
        chosen = draw.choice(BITS, number % 5, replace=False).tolist()
        planted.append(flipped(int(hashes[number]), chosen))
    distinct = np.unique(np.concatenate([hashes, np.array(planted, np.uint64)]))
    near = found(distinct, 4)
    for one, other in zip(hashes[:200].tolist(), planted, strict=True):
        places = np.searchsorted(distinct, np.array([one, other], np.uint64)).tolist()
        assert one == other or (min(places), max(places)) in near
