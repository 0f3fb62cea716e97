"""Pairs of 64-bit hashes that differ in few bits, and what pairs connect."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from lmdb_reid.schema import Rows

Hashes = npt.NDArray[np.uint64]
Pairs = tuple[Rows, Rows]

_BITS, _AGREE = 64, 3
_LOOKED_AT = 1 << 17  # hashes that say how even a bit is
_WORTH = 1 << 18  # pairs that are worth a round of `connected`


def near_pairs(hashes: Hashes, distance: int) -> Iterator[Pairs]:
    """All pairs of distinct hashes that differ in at most `distance` bits, some at a time.

    The bits are dealt to distance + 3 bands. Two hashes that differ in no more than `distance` bits
    agree in three bands or more, so for each choice of three the hashes are sorted by these, and
    neighbours that agree there are compared: the pigeonhole principle, with long keys, so that few
    pairs are compared in vain. (G. S. Manku, A. Jain, A. Das Sarma, "Detecting near-duplicates for
    web crawling", WWW 2007, section 3.) Bits that are mostly 0, or mostly 1, tell little; they are
    dealt evenly.

    Args:
        hashes: uint64 [N], distinct.
        distance: 0 or more.

    Yields:
        (places, places), int64 [M] each; a pair may come several times, in either order.
    """
    bands = _bands(hashes, distance + _AGREE)
    found: list[Pairs] = []
    waiting = 0
    for chosen in itertools.combinations(bands, _AGREE):
        keys = hashes & np.uint64(sum(chosen))
        order = np.argsort(keys)
        keys = keys[order]
        ordered = hashes[order]
        firsts = np.flatnonzero(keys[1:] == keys[:-1])
        step = 1
        while len(firsts):
            seconds = firsts + step
            near = bit_count(ordered[firsts] ^ ordered[seconds]) <= distance
            if near.any():
                found.append((order[firsts[near]], order[seconds[near]]))
                waiting += len(found[-1][0])
            if waiting > _WORTH:
                yield _joined(found)
                found, waiting = [], 0
            step += 1
            firsts = firsts[: np.searchsorted(firsts, len(keys) - step)]
            firsts = firsts[keys[firsts + step] == keys[firsts]]
    if waiting:
        yield _joined(found)


def connected(count: int, pairs: Iterable[Pairs]) -> Rows:
    """Which of `count` places are connected by pairs, directly or through others.

    Returns:
        int64 [count]: the lowest place that each is connected with.
    """
    root = np.arange(count, dtype=np.int64)
    for ones, others in pairs:
        one, other = root[ones], root[others]
        while (apart := one != other).any():
            one, other = one[apart], other[apart]
            np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
            root = _flat(root)
            one, other = root[one], root[other]
    return root


def bit_count(values: Hashes) -> npt.NDArray[np.uint8]:
    """How many bits of each are 1."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        counts: npt.NDArray[np.uint8] = np.bitwise_count(values)
        return counts
    bits = np.unpackbits(values.view(np.uint8).reshape(-1, _BITS // 8), axis=1)
    sums: npt.NDArray[np.uint8] = bits.sum(axis=1, dtype=np.uint8)
    return sums


def _joined(found: list[Pairs]) -> Pairs:
    ones, others = zip(*found, strict=True)
    return np.concatenate(ones), np.concatenate(others)


def _flat(root: Rows) -> Rows:
    while True:
        above = root[root]
        if np.array_equal(above, root):
            return root
        root = above


def _bands(hashes: Hashes, count: int) -> list[int]:
    """Masks of bits, `count` of them, that tell about equally much."""
    some = hashes[:: max(1, len(hashes) // _LOOKED_AT)]
    bits = np.unpackbits(
        some.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little"
    )
    uneven = np.abs(bits.mean(axis=0) - 0.5) if len(some) else np.zeros(_BITS)
    masks = [0] * count
    for place, bit in enumerate(np.argsort(uneven, kind="stable").tolist()):
        turn, at = divmod(place, count)
        masks[at if turn % 2 == 0 else count - 1 - at] |= 1 << bit
    return masks
