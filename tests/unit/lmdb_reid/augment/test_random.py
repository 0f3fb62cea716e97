from __future__ import annotations

import numpy as np

from lmdb_reid.augment._random import keys, noise, uniforms

GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def mix(z: int) -> int:
    """SplitMix64's finaliser, in Python's own whole numbers."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def test_the_numbers_are_those_of_the_written_formula() -> None:
    positions = np.array([0, 1, 5, 1 << 40], np.int64)
    for seed, epoch in ((0, 0), (3, 7), (-1, 2), (1 << 70, 1)):
        given = uniforms(keys(seed, epoch, positions), 0, 9)
        for column, position in enumerate(positions.tolist()):
            key = mix(seed + GOLDEN & MASK)
            key = mix(key + epoch + GOLDEN & MASK)
            key = mix(key + position + GOLDEN & MASK)
            for row, stream in enumerate((0, 9)):
                wanted = (mix(key + (stream + 1) * GOLDEN & MASK) >> 11) / 2**53
                assert given[row, column] == wanted


def test_the_generator_gives_splitmix64s_published_numbers() -> None:
    """The first five of seed 1234567, as Rosetta Code's page on SplitMix64 lists them."""
    wanted = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    given = uniforms(np.array([1234567], np.uint64), *range(5))[:, 0]
    assert (given * 2**53).astype(np.uint64).tolist() == [number >> 11 for number in wanted]


def test_numbers_are_even_and_streams_do_not_follow_each_other() -> None:
    drawn = uniforms(keys(0, 0, np.arange(20_000, dtype=np.int64)), 0, 1, 2)
    assert ((drawn >= 0) & (drawn < 1)).all()
    counts = np.histogram(drawn[0], 20, (0, 1))[0]
    assert np.abs(counts - 1000).max() < 150  # five standard deviations
    assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 0.03
    assert np.abs(np.corrcoef(drawn[0, :-1], drawn[0, 1:])[0, 1]) < 0.03  # of neighbours


def test_seed_epoch_and_position_each_change_all() -> None:
    at = np.arange(1000, dtype=np.int64)
    base = uniforms(keys(0, 0, at), 0)[0]
    for other in (keys(1, 0, at), keys(0, 1, at), keys(0, 0, at + 1000)):
        assert not np.isin(base, uniforms(other, 0)[0]).any()


def test_noise_is_even_and_a_longer_table_begins_like_a_shorter_one() -> None:
    table = noise(100_001)
    assert table.dtype == np.uint8
    assert len(table) == 100_001
    assert np.array_equal(table[:777], noise(777))
    assert abs(float(table.mean()) - 127.5) < 1.5
    assert table[:8].tolist() == list((mix(GOLDEN)).to_bytes(8, "little"))
