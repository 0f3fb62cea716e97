"""PKSampler by cameras, with negatives, counted, and shared among ranks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from lmdb_reid.sampling import PKSampler, Schedule
from lmdb_reid.testing import SamplerContract

steady = settings(derandomize=True, deadline=None, max_examples=60)


@dataclass
class Labelled:
    """A dataset with labels and columns, and no more."""

    labels: Any
    columns: dict[str, Any] = field(default_factory=dict)


def sampler(labels: Any, *args: Any, **options: Any) -> PKSampler:
    return PKSampler(Labelled(np.asarray(labels)), *args, **options)


class TestByCamera(SamplerContract):
    count = 60

    def sampler(self) -> PKSampler:
        return sampler(np.arange(60) % 7 - 1, 3, 4, cameras=np.arange(60) // 7 % 3, seed=2)


class TestWithNegatives(SamplerContract):
    count = 60

    def sampler(self) -> PKSampler:
        return sampler(np.arange(60) % 7 - 1, 3, 4, negatives=0.2)


items = st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 3)), min_size=10, max_size=60)


@steady
@given(
    items,
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.1, 0.3, 0.6]),
    st.integers(0, 9),
    st.booleans(),
)
def test_laws_of_all_options(
    pairs: list[tuple[int, int]],
    p: int,
    k: int,
    share: float,
    epoch: int,
    by_camera: bool,
) -> None:
    labels, cameras = map(np.array, zip(*pairs, strict=True))
    counts = Counter(labels[labels >= 0].tolist())
    unknown = int((labels < 0).sum())
    assume(len(counts) >= p and (unknown or not share))
    options: dict[str, Any] = {"cameras": cameras} if by_camera else {}
    one = sampler(labels, p, k, seed=epoch, negatives=share, **options)
    positions = one.positions(epoch)
    extra = one.batch_size - p * k
    assert len(positions) == len(one)
    assert np.array_equal(positions, one.positions(epoch))
    if share:
        assert abs(extra - share / (1 - share) * p * k) <= max(0.5, 1 - share)
    assert set(labels[positions].tolist()) - {-1} == set(counts)
    for batch in positions.reshape(-1, one.batch_size):
        groups, negatives = batch[: p * k].reshape(p, k), batch[p * k :]
        assert (labels[negatives] < 0).all()
        assert len(set(negatives.tolist())) == min(extra, unknown)
        assert len({int(labels[group[0]]) for group in groups}) == p
        for group in groups:
            (label,) = set(labels[group].tolist())
            assert label >= 0
            assert len(set(group.tolist())) == min(k, counts[label]), "no repeat unless it must be"
    read = Counter(positions.tolist())
    assert all(read[at] for at in np.flatnonzero(labels >= 0).tolist()), "every image is read"
    found = one.coverage(epoch)
    assert (found.share, found.samples, found.images) == (1.0, len(one), sum(counts.values()))
    assert found.read == found.images
    assert found.negatives_read == len({at for at in read if labels[at] < 0})
    assert found.repeats == sum(
        len(batch) - len(set(batch)) for batch in positions.reshape(-1, one.batch_size).tolist()
    )


@steady
@given(items, st.integers(1, 6), st.integers(0, 5))
def test_groups_have_as_many_cameras_as_can_be(
    pairs: list[tuple[int, int]], k: int, epoch: int
) -> None:
    labels, cameras = map(np.array, zip(*pairs, strict=True))
    assume((labels >= 0).any())
    groups = sampler(labels, 1, k, cameras=cameras).positions(epoch).reshape(-1, k)
    for label in set(labels[labels >= 0].tolist()):
        own = groups[labels[groups[:, 0]] == label]
        seen = Counter(cameras[labels == label].tolist())
        distinct = sum(len(set(cameras[group].tolist())) for group in own)
        assert distinct >= sum(min(count, len(own)) for count in seen.values())


def test_two_cameras_are_in_every_group_where_both_suffice() -> None:
    labels, cameras = np.repeat(np.arange(5), 8), np.tile([0, 0, 0, 0, 1, 1, 1, 1], 5)
    plain = sampler(labels, 2, 2).positions(0).reshape(-1, 2)
    aware = sampler(labels, 2, 2, cameras=cameras).positions(0).reshape(-1, 2)
    assert (np.diff(cameras[aware]) != 0).all() and not (np.diff(cameras[plain]) != 0).all()


def test_cameras_may_be_a_column_of_the_dataset() -> None:
    labels, cameras = np.arange(40) % 5, np.arange(40) // 5 % 2
    dataset = Labelled(labels, {"camera": cameras})
    one, other = PKSampler(dataset, 2, 2, cameras="camera"), sampler(labels, 2, 2, cameras=cameras)
    assert np.array_equal(one.positions(1), other.positions(1))
    assert "by camera" in repr(one)


@pytest.mark.parametrize(
    ("count", "epochs", "times"), [(400, 25, {1}), (30, 1, {3, 4})], ids=["many", "few"]
)
def test_every_negative_is_read_as_often_as_any_other(
    count: int, epochs: int, times: set[int]
) -> None:
    """4 batches of 4 identities' images an epoch: 16 negatives, or 96."""
    labels = np.concatenate([np.repeat(np.arange(8), 4), np.full(count, -1)])
    one = sampler(labels, 2, 4, negatives=1 / 3 if count > 100 else 3 / 4)
    epochs_of = [one.positions(epoch) for epoch in range(epochs)]
    read = Counter(at for order in epochs_of for at in order.tolist() if labels[at] < 0)
    assert len(read) == count and set(read.values()) <= times


def test_negatives_change_nothing_of_the_identities() -> None:
    labels = np.arange(200) % 12 - 1
    plain = sampler(labels, 4, 3, seed=5)
    more = sampler(labels, 4, 3, seed=5, negatives=0.25)
    assert (plain.batch_size, more.batch_size) == (12, 16)
    for epoch in range(3):
        batches = more.positions(epoch).reshape(-1, 16)
        assert batches[:, :12].ravel().tolist() == plain.positions(epoch).tolist()


@steady
@given(st.integers(1, 4), st.integers(0, 3), st.sampled_from([0.0, 0.3]))
def test_ranks_share_whole_batches(world: int, epoch: int, share: float) -> None:
    labels = np.arange(150) % 9 - 1
    one = sampler(labels, 3, 2, cameras=np.arange(150) % 4, negatives=share)
    order, size = one.positions(epoch), one.batch_size
    wanted = Counter(map(tuple, order.reshape(-1, size).tolist()))
    steps: list[list[tuple[int, ...]]] = []
    for rank in range(world):
        plan = Schedule(batch_size=size, rank=rank, world_size=world, in_batches=True)
        tasks = plan.tasks(order, seed=0, epoch=epoch)
        steps.append([tuple(task.positions.tolist()) for task in tasks])
    assert len({len(mine) for mine in steps}) == 1, "all ranks have equally many"
    found = Counter(batch for mine in steps for batch in mine)
    assert set(found) == set(wanted)
    assert sum((found - wanted).values()) < world, "what does not divide evenly comes again"


def test_more_images_than_any_identity_has_repeat_and_are_told() -> None:
    one = sampler([0, 0, 1, 1, 1, 2], 2, 4)
    assert repr(one).endswith("no identity has more than 3 images)")
    found = one.coverage()
    assert (found.share, found.read, found.repeats > 0) == (1.0, 6, True)
    assert "no identity" not in repr(sampler([0, 0, 1, 1, 1, 2], 2, 3))


def test_one_identity_makes_batches_of_itself_alone() -> None:
    assert sorted(sampler([4, 4, 4], 1, 3).positions(0).tolist()) == [0, 1, 2]
    with pytest.raises(UsageError, match="at most the number of identities, 1, got p=2"):
        sampler([4, 4, 4], 2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negatives": 1.0}, "negatives must be a share from 0 to under 1; got 1.0"),
        ({"negatives": -0.1}, "got -0.1"),
        ({"negatives": "half"}, "got 'half'"),
        ({"negatives": True}, "got True"),
        ({"negatives": float("nan")}, "got nan"),
        ({"cameras": [0, 1]}, r"a whole number for each of 6 items; got int64 \[2\]"),
        ({"cameras": np.zeros(6)}, r"got float64 \[6\]"),
        ({"cameras": "camera"}, r"a column of the dataset, got 'camera'; it has none: ReIDDataset"),
    ],
    ids=str,
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sampler([0, 0, 1, 1, -1, -1], 2, 2, **options)


def test_a_share_of_negatives_where_there_are_none() -> None:
    with pytest.raises(UsageError, match="needs samples of label -1, got none"):
        sampler([0, 0, 1, 1], 2, 2, negatives=0.5)


@pytest.mark.parametrize("epoch", [-1, 1.5, 2.0, "x", None, True, np.False_])
def test_an_epoch_is_a_whole_number(epoch: Any) -> None:
    sampler = PKSampler(np.repeat(np.arange(3), 4), p=2, k=2)
    for draw in (sampler.positions, sampler.coverage):
        with pytest.raises(UsageError, match="epoch must be a whole number, at least 0"):
            draw(epoch)
