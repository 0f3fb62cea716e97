"""Ranks share an order: equally, and so that the sequence is the same for any number of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from lmdb_reid.sampling import Schedule, Shuffled, Task

steady = settings(derandomize=True, deadline=None)
counts, sizes, worlds = st.integers(0, 120), st.integers(1, 9), st.integers(1, 7)


def shares(
    count: int, size: int, world: int, *, start: int = 0, **settings: bool
) -> list[list[Task]]:
    """The tasks of each rank, of the order count-1..0."""
    order = np.arange(count)[::-1].copy()
    return [
        list(
            Schedule(batch_size=size, rank=rank, world_size=world, **settings).tasks(
                order, seed=3, epoch=2, start=start
            )
        )
        for rank in range(world)
    ]


def plain_sequence(tasks: list[list[Task]]) -> list[int]:
    """The samples of all ranks, step by step, as one rank alone would have read them."""
    found: list[int] = []
    for step in zip(*tasks, strict=True):
        found += np.stack([task.positions for task in step], axis=1).reshape(-1).tolist()
    return found


def batch_sequence(tasks: list[list[Task]]) -> list[list[int]]:
    """The batches of all ranks, step by step."""
    return [task.positions.tolist() for step in zip(*tasks, strict=True) for task in step]


@steady
@given(counts, sizes, worlds, st.booleans())
def test_ranks_read_as_many_batches_and_miss_nothing(
    count: int, size: int, world: int, drop_last: bool
) -> None:
    tasks = shares(count, size, world, drop_last=drop_last)
    schedule = Schedule(batch_size=size, world_size=world, drop_last=drop_last)
    for rank in tasks:
        assert len(rank) == schedule.steps(count)
        assert sum(len(task.positions) for task in rank) == schedule.samples(count)
        lengths = [len(task.positions) for task in rank]
        assert all(length == size for length in lengths[: None if drop_last else -1])
    read = plain_sequence(tasks)
    order = list(range(count))[::-1]
    if drop_last:
        assert read == order[: len(read)]
        assert count - len(read) < size * world
    elif count:
        assert read == (order * (2 + world // count))[: len(read)]  # the first ones again
        assert 0 <= len(read) - count < world


@steady
@given(counts, sizes, worlds, worlds, st.booleans(), st.data())
def test_a_pass_that_goes_on_with_other_ranks_reads_the_same_sequence(
    count: int, size: int, before: int, after: int, drop_last: bool, data: st.DataObject
) -> None:
    step = size * before
    taken = step * data.draw(st.integers(0, count // step))
    other = data.draw(sizes)
    rest = plain_sequence(shares(count, other, after, start=taken, drop_last=drop_last))
    wanted = list(range(count))[::-1][taken:]
    if drop_last:
        assert rest == wanted[: len(rest)]
        assert len(wanted) - len(rest) < other * after
    else:
        assert rest[: len(wanted)] == wanted
        assert len(rest) - len(wanted) < after


@steady
@given(st.integers(0, 25), sizes, worlds, st.booleans())
def test_ranks_take_whole_batches_by_turns(
    batches: int, size: int, world: int, drop_last: bool
) -> None:
    count = batches * size
    tasks = shares(count, size, world, drop_last=drop_last, in_batches=True)
    assert {len(rank) for rank in tasks} == {len(tasks[0])}
    read = batch_sequence(tasks)
    wanted = np.arange(count)[::-1].reshape(-1, size).tolist()
    if drop_last:
        assert read == wanted[: batches - batches % world]
    elif batches:
        assert read == (wanted * (1 + world))[: -(-batches // world) * world]


@steady
@given(st.integers(1, 25), sizes, worlds, worlds, st.data())
def test_batches_go_on_with_other_ranks_in_the_same_sequence(
    batches: int, size: int, before: int, after: int, data: st.DataObject
) -> None:
    taken = before * data.draw(st.integers(0, batches // before))
    tasks = shares(batches * size, size, after, start=taken * size, in_batches=True)
    wanted = np.arange(batches * size)[::-1].reshape(-1, size).tolist()[taken:]
    read = batch_sequence(tasks)
    assert read[: len(wanted)] == wanted
    assert len(read) - len(wanted) < after


@steady
@given(counts, sizes, worlds, st.booleans())
def test_what_is_random_of_a_sample_is_its_place_in_the_epoch(
    count: int, size: int, world: int, in_batches: bool
) -> None:
    """So it is the same on any number of ranks."""
    if in_batches:
        count -= count % size
    order = list(range(count))[::-1]
    for rank in shares(count, size, world, in_batches=in_batches):
        for task in rank:
            for slot, position in enumerate(task.positions.tolist()):
                seed, epoch, place = task.place(slot)
                assert (seed, epoch) == (3, 2)
                assert order[place % count] == position


def test_ranks_read_side_by_side_what_one_reads_alone() -> None:
    order = Shuffled(12, 5).positions(1)
    found = [
        Schedule(batch_size=2, rank=rank, world_size=3).tasks(order, seed=0, epoch=1)[0].positions
        for rank in range(3)
    ]
    assert np.stack(found, axis=1).reshape(-1).tolist() == order[:6].tolist()


def test_fewer_samples_than_ranks() -> None:
    assert [rank[0].positions.tolist() for rank in shares(1, 5, 4)] == [[0]] * 4
    assert shares(1, 5, 4, drop_last=True) == [[]] * 4


def test_an_order_that_is_a_ranks_own_already_is_read_as_it_is() -> None:
    schedule = Schedule(batch_size=4, rank=1, world_size=2, is_shared=True)
    tasks = schedule.tasks(np.array([9, 7, 5, 3, 1, 8]), seed=0, epoch=0)
    assert [task.positions.tolist() for task in tasks] == [[9, 7, 5, 3], [1, 8]]
    rest = schedule.tasks(np.array([9, 7, 5, 3, 1, 8]), seed=0, epoch=0, start=8)
    assert [task.positions.tolist() for task in rest] == [[1, 8]]
    assert rest[0].place(1) == tasks[1].place(1)


@pytest.mark.parametrize(("rank", "ranks"), [(2, 2), (-1, 2), (0, 0)])
def test_ranks_that_are_not_there(rank: int, ranks: int) -> None:
    with pytest.raises(UsageError, match=r"rank must be 0\.\."):
        Schedule(batch_size=1, rank=rank, world_size=ranks)


@pytest.mark.parametrize("wrong", [0.5, 1.0, "1", None, True])
def test_ranks_that_are_no_whole_numbers(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"rank must be a whole number; got"):
        Schedule(batch_size=1, rank=wrong, world_size=2)
    with pytest.raises(UsageError, match=r"world_size must be a whole number; got"):
        Schedule(batch_size=1, rank=0, world_size=wrong)


def test_tasks_end() -> None:
    tasks = Schedule(batch_size=4).tasks(np.arange(10), seed=0, epoch=0)
    assert len(tasks) == len(list(tasks)) == 3
    with pytest.raises(IndexError):
        tasks[3]
