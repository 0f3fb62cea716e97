"""Random numbers that are a pure function of (seed, epoch, position, stream).

SplitMix64 (Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators"; the constants
are those of Vigna's splitmix64.c, which is in the public domain). With arithmetic modulo 2^64,

    mix(z):  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
             z = (z ^ (z >> 27)) * 0x94D049BB133111EB
             z ^ (z >> 31)
    key      = mix(mix(mix(seed + G) + epoch + G) + position + G)       G = 0x9E3779B97F4A7C15
    number k = mix(key + (k + 1) * G) >> 11, times 2^-53

So each position has a generator of its own, whose state is `key`, and stream k is its k-th number:
whoever asks, in whatever batch, gets the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Uniforms = npt.NDArray[np.float64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def mixed(numbers: Keys) -> Keys:
    """SplitMix64's finaliser, of each."""
    numbers = (numbers ^ (numbers >> _30)) * _FIRST
    numbers = (numbers ^ (numbers >> _27)) * _SECOND
    return numbers ^ (numbers >> _31)


def keys(seed: int, epoch: int, positions: npt.NDArray[np.int64]) -> Keys:
    """The state of each position's generator, uint64 [B].

    Args:
        seed: any whole number; its lowest 64 bits count.
        epoch: likewise.
        positions: int64 [B], places in the epoch's order.
    """
    state = np.array([(seed + _GOLDEN) & _MASK], np.uint64)
    state = mixed(state) + np.array([(epoch + _GOLDEN) & _MASK], np.uint64)
    return mixed(mixed(state) + positions.astype(np.uint64) + np.uint64(_GOLDEN))


def uniforms(of: Keys, *streams: int) -> Uniforms:
    """Numbers in [0, 1), float64 [streams, B]: row i is stream `streams[i]` of each key."""
    steps = np.array([(stream + 1) * _GOLDEN & _MASK for stream in streams], np.uint64)
    drawn: Uniforms = (mixed(of + steps[:, None]) >> _11).astype(np.float64)
    drawn *= 2.0**-53
    return drawn


def noise(count: int) -> npt.NDArray[np.uint8]:
    """`count` bytes, the same ones always: numbers 0, 1, ... of the key 0, little-endian."""
    steps = np.arange(1, -(-count // 8) + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return mixed(steps).astype("<u8").view(np.uint8)[:count]
