"""A pass goes on from a state: on other ranks, in other batches, and in no other order."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler, RandomSampler, SequentialSampler

from lmdb_reid import Batch, Loader, PKSampler, ReIDDataset
from lmdb_reid.errors import LoaderClosedError, UsageError

MakeLoader = Callable[..., Loader]
COUNT = 64


def rows(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


def flat(batches: Iterable[Batch]) -> list[int]:
    return [row for batch in rows(batches) for row in batch]


def side_by_side(ranks: Sequence[Iterable[Batch]]) -> list[int]:
    """The samples of all ranks, step by step, as one rank alone would have read them."""
    found: list[int] = []
    for step in zip(*map(rows, ranks), strict=True):
        found += np.array(step).T.reshape(-1).tolist()
    return found


def by_turns(ranks: Sequence[Iterable[Batch]]) -> list[list[int]]:
    """The batches of all ranks, step by step."""
    return [batch for step in zip(*map(rows, ranks), strict=True) for batch in step]


def taken(batches: Loader, count: int) -> list[list[int]]:
    """The next batches of a new pass, which is then left."""
    running = iter(batches)
    return [next(running).rows.tolist() for _ in range(count)]


def test_a_state_says_what_was_taken_and_not_what_was_prefetched(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 10, engine="threads", num_workers=2, prefetch=6)
    running = iter(batches)
    states = [batches.state_dict()]
    for _ in range(3):
        next(running)
        states.append(batches.state_dict())
    assert [state["samples"] for state in states] == [0, 10, 20, 30]
    assert {(state["version"], state["epoch"], state["seed"]) for state in states} == {(1, 0, 0)}
    assert list(running)
    last = batches.state_dict()
    assert (last["epoch"], last["samples"]) == (1, 0)


def test_a_state_after_the_last_batch_is_the_next_epochs_start(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 32, shuffle=True)
    running = iter(batches)
    next(running), next(running)  # the loop has not ended yet
    state = batches.state_dict()
    assert (state["epoch"], state["samples"]) == (1, 0)
    other = loader(dataset, 32, shuffle=True)
    other.load_state_dict(state)
    assert list(running) == []
    assert rows(other) == rows(batches)


def test_a_state_is_small_plain_data(dataset: ReIDDataset, loader: MakeLoader) -> None:
    state = loader(dataset, shuffle=True).state_dict()
    assert set(state) == {"version", "epoch", "samples", "seed", "order"}
    assert all(type(value) is int for value in state.values())


def test_a_state_of_a_sampler_that_draws_holds_the_order(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    first = loader(dataset, 10, sampler=RandomSampler(range(COUNT)))
    running = iter(first)
    found = flat([next(running), next(running)])
    state = json.loads(json.dumps(first.state_dict()))
    drawn = np.frombuffer(base64.b64decode(state["drawn"]), "<u4")
    rest = flat(running)
    assert drawn.tolist() == found + rest
    second = loader(dataset, 10, sampler=RandomSampler(range(COUNT)))
    second.load_state_dict(state)
    assert flat(second) == rest
    assert sorted(found + rest) == list(range(COUNT))


# -- other ranks, other batches


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_state_of_four_ranks_goes_on_on_fewer(
    after: int, drop_last: bool, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    (wanted,) = [flat(loader(dataset, shuffle=True, seed=4))]
    four = [loader(dataset, 5, shuffle=True, seed=4, rank=r, world_size=4) for r in range(4)]
    begun = np.array([taken(one, 2) for one in four])  # [rank, step, slot]
    assert begun.transpose(1, 2, 0).reshape(-1).tolist() == wanted[:40]
    states = [one.state_dict() for one in four]
    assert all(state == states[0] for state in states), "any rank's state will do"
    assert states[0]["samples"] == 40
    resumed = [
        loader(dataset, 5, shuffle=True, seed=4, rank=r, world_size=after, drop_last=drop_last)
        for r in range(after)
    ]
    for one in resumed:
        one.load_state_dict(states[0])
    rest = side_by_side(resumed)
    if drop_last:
        assert rest == wanted[40:][: len(rest)]
        assert len(rest) == 24 - 24 % (5 * after)
    else:
        assert rest[:24] == wanted[40:]
    assert [one.epoch for one in resumed] == [1] * after


@pytest.mark.parametrize("after", [1, 2])
def test_a_pk_state_of_four_ranks_goes_on_on_fewer_with_the_same_batches(
    after: int, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    sampler = PKSampler(dataset, 3, 2, seed=5)
    wanted = rows(loader(dataset, sampler=sampler))
    four = [loader(dataset, sampler=sampler, rank=r, world_size=4) for r in range(4)]
    begun = [taken(one, 2) for one in four]
    assert [batch for step in zip(*begun, strict=True) for batch in step] == wanted[:8]
    state = four[2].state_dict()
    assert state["samples"] == 8 * 6
    resumed = [loader(dataset, sampler=sampler, rank=r, world_size=after) for r in range(after)]
    for one in resumed:
        one.load_state_dict(state)
    rest = by_turns(resumed)
    assert rest[: len(wanted) - 8] == wanted[8:]
    assert len(rest) - (len(wanted) - 8) < after


def test_a_state_of_one_rank_goes_on_on_four(dataset: ReIDDataset, loader: MakeLoader) -> None:
    wanted = flat(loader(dataset, shuffle=True))
    one = loader(dataset, 12, shuffle=True)
    assert np.concatenate(taken(one, 2)).tolist() == wanted[:24]
    four = [loader(dataset, 5, shuffle=True, rank=r, world_size=4) for r in range(4)]
    for rank in four:
        rank.load_state_dict(one.state_dict())
    assert side_by_side(four) == wanted[24:]


@pytest.mark.parametrize("other", [{"batch_size": 9}, {"drop_last": True}], ids=str)
def test_a_state_goes_on_in_other_batches(
    other: dict[str, Any], dataset: ReIDDataset, loader: MakeLoader
) -> None:
    first = loader(dataset, 10, shuffle=True)
    begun = np.concatenate(taken(first, 3)).tolist()
    second = loader(dataset, **{"batch_size": 10, "shuffle": True, **other})
    second.load_state_dict(first.state_dict())
    rest = flat(second)
    wanted = flat(loader(dataset, shuffle=True))
    assert begun + rest == wanted[: 30 + len(rest)]
    assert len(rest) == (30 if "drop_last" in other else 34)


def test_pk_batches_of_another_size_are_another_order(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    first = loader(dataset, sampler=PKSampler(dataset, 3, 2))
    taken(first, 1)
    with pytest.raises(UsageError, match="another order"):
        loader(dataset, sampler=PKSampler(dataset, 4, 2)).load_state_dict(first.state_dict())
    plain = loader(dataset, 5, shuffle=True)
    taken(plain, 1)
    with pytest.raises(UsageError):
        loader(dataset, sampler=PKSampler(dataset, 3, 2)).load_state_dict(plain.state_dict())


class InBatches:
    """Sequential positions that come in batches of six."""

    batch_size = 6

    def __len__(self) -> int:
        return 60

    def positions(self, epoch: int) -> Any:
        return np.arange(60)


def test_no_whole_batches_were_taken(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, sampler=InBatches())
    state = batches.state_dict()
    batches.load_state_dict(state | {"samples": 12})
    assert flat(batches) == list(range(12, 60))
    batches.set_epoch(0)
    with pytest.raises(UsageError, match="took 10 samples, which are not whole batches of 6"):
        batches.load_state_dict(state | {"samples": 10})


def test_a_distributed_sampler_goes_on_on_its_ranks(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    def on(rank: int) -> Loader:
        sampler = DistributedSampler(dataset, 2, rank, shuffle=True, seed=3)
        return loader(dataset, 5, sampler=sampler, rank=rank, world_size=2)

    whole = [flat(on(rank)) for rank in range(2)]
    assert sorted(whole[0] + whole[1]) == list(range(COUNT))
    first = on(0)
    taken(first, 3)
    assert first.state_dict()["samples"] == 30
    for rank in range(2):
        resumed = on(rank)
        resumed.load_state_dict(first.state_dict())
        assert flat(resumed) == whole[rank][15:]


# -- a place in the epoch


def test_a_position_is_not_lost_by_a_look(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, 10, shuffle=True)
    state = batches.state_dict() | {"samples": 50}
    whole = rows(batches)
    batches.load_state_dict(state)
    unused = iter(batches)
    del unused
    assert rows(batches) == whole[5:]
    batches.load_state_dict(state)
    batches.set_epoch(0)  # `for epoch in range(start, n): loader.set_epoch(epoch)`
    assert rows(batches) == whole[5:]
    batches.set_epoch(0)
    assert rows(batches) == whole


def test_a_pass_without_a_batch_begins_where_a_loaded_state_stands(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 10, shuffle=True)
    whole = rows(batches)
    batches.set_epoch(0)
    waiting = iter(batches)
    batches.load_state_dict(loader(dataset, 10, shuffle=True).state_dict() | {"samples": 30})
    assert rows(waiting) == whole[3:]


def test_a_pass_that_gave_a_batch_ends_when_a_state_is_loaded(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 10, shuffle=True)
    state, running = batches.state_dict(), iter(batches)
    next(running)
    batches.load_state_dict(state)
    with pytest.raises(LoaderClosedError, match="a state was loaded"):
        next(running)


def test_nothing_is_left_of_the_epoch(dataset: ReIDDataset, loader: MakeLoader) -> None:
    first = loader(dataset, 60, shuffle=True)
    taken(first, 1)
    rest = loader(dataset, 10, shuffle=True, drop_last=True)
    rest.load_state_dict(first.state_dict())
    assert list(rest) == [], "4 samples make no batch of 10"
    assert rest.epoch == 1
    assert len(list(rest)) == 6


# -- what is refused


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, True, 1.0])
def test_states_of_other_versions_are_refused(
    version: Any, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset)
    with pytest.raises(UsageError, match=r"has version .*; this code reads version 1"):
        batches.load_state_dict(batches.state_dict() | {"version": version})


def test_a_state_of_before_there_were_versions_is_refused(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    old = {"epoch": 0, "batches": 2, "crc32": 7, "seed": 0, "batch_size": 10}
    for none in (old, {}, [], None, "state"):
        with pytest.raises(UsageError, match=r"the state must come from loader\.state_dict"):
            loader(dataset).load_state_dict(none)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epoch": None}, "the state must come from"),
        ({"epoch": -1}, "the state must come from"),
        ({"epoch": False}, "the state must come from"),
        ({"samples": False}, "the state must come from"),
        ({"samples": "2"}, "the state must come from"),
        ({"samples": -3}, "the state must come from"),
        ({"samples": 1.5}, "the state must come from"),
        ({"samples": 65}, "took 65 samples of an epoch that has 64"),
        ({"order": 1}, "another order"),
        ({"order": None}, "another order"),
        ({"seed": 4}, "seed was 4, is 0"),
        ({"epoch": 1}, "another order"),
    ],
    ids=str,
)
def test_a_changed_state_is_refused_and_changes_nothing(
    change: dict[str, Any], said: str, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 10, shuffle=True)
    wanted = rows(loader(dataset, 10, shuffle=True))
    running = iter(batches)
    found = [next(running).rows.tolist()]
    with pytest.raises(UsageError, match=said):
        batches.load_state_dict(batches.state_dict() | change)
    assert found + rows(running) == wanted, "the pass goes on"


@pytest.mark.parametrize("missing", ["epoch", "samples", "seed", "order"])
def test_a_state_cut_short_is_refused(
    missing: str, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, shuffle=True)
    state = batches.state_dict()
    del state[missing]
    with pytest.raises(UsageError):
        batches.load_state_dict(state)


def test_a_state_belongs_to_its_samples_and_their_order(path64: Path, loader: MakeLoader) -> None:
    dataset, backwards = ReIDDataset(path64), ReIDDataset(path64, range(COUNT)[::-1])
    drawn = loader(dataset, sampler=RandomSampler(dataset)).state_dict()
    state = loader(dataset, shuffle=True).state_dict()
    others = [
        loader(dataset),
        loader(backwards, shuffle=True),
        loader(ReIDDataset(path64, range(63)), shuffle=True),
        loader(dataset, sampler=PKSampler(dataset, 2, 2)),
    ]
    for other in others:
        with pytest.raises(UsageError, match="another order"):
            other.load_state_dict(state)
    with pytest.raises(UsageError, match="seed was 0, is 4"):
        loader(dataset, shuffle=True, seed=4).load_state_dict(state)
    with pytest.raises(UsageError, match="another order"):
        loader(dataset, shuffle=True).load_state_dict(drawn)
    with pytest.raises(UsageError, match="this state holds no order"):
        loader(dataset, sampler=RandomSampler(dataset)).load_state_dict(state)


def test_a_damaged_drawn_order_is_refused(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, sampler=RandomSampler(dataset))
    state = batches.state_dict()
    for drawn in (state["drawn"][:-4], state["drawn"][4:], state["drawn"][::-1], "?", None, 5):
        with pytest.raises(UsageError):
            batches.load_state_dict(state | {"drawn": drawn})


# -- ranks


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_read_as_many_batches_and_all_of_the_data(
    ranks: int, drop_last: bool, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    shares = [
        loader(dataset, 7, shuffle=True, rank=rank, world_size=ranks, drop_last=drop_last)
        for rank in range(ranks)
    ]
    found = [flat(share) for share in shares]
    assert len({len(share) for share in shares}) == 1
    assert len({len(read) for read in found}) == 1
    together = [row for read in found for row in read]
    if drop_last:
        assert len(set(together)) == len(together)
    else:
        assert set(together) == set(range(COUNT))


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_whole_batches_of_a_sampler_that_makes_them(
    ranks: int, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    sampler = PKSampler(dataset, 3, 2)
    alone = rows(loader(dataset, sampler=sampler))
    shares = [loader(dataset, sampler=sampler, rank=r, world_size=ranks) for r in range(ranks)]
    together = by_turns(shares)
    assert together[: len(alone)] == alone
    for batch in together:
        labels = dataset.labels[batch].reshape(3, 2)
        assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 3


def noise(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(1 << 60, (2,), generator=generator)


def test_augmentation_of_shared_batches_is_that_of_one_rank(
    path64: Path, loader: MakeLoader
) -> None:
    dataset = ReIDDataset(path64, transform=noise)
    sampler = PKSampler(dataset, 3, 2)
    alone = list(loader(dataset, sampler=sampler))
    for rank in range(2):
        share = list(loader(dataset, sampler=sampler, rank=rank, world_size=2))
        for one, other in zip(share, alone[rank::2], strict=False):
            assert torch.equal(one.images, other.images)


def test_torchs_samplers_on_ranks(dataset: ReIDDataset, loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match="draws another order on each rank"):
        loader(dataset, sampler=RandomSampler(dataset), rank=0, world_size=2)
    in_order = SequentialSampler(dataset)
    assert flat(loader(dataset, sampler=in_order, rank=1, world_size=2)) == list(range(1, COUNT, 2))


def test_ranks_are_asked_of_torch_when_a_pass_begins(
    dataset: ReIDDataset, loader: MakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def initialised(rank: int, world_size: int) -> None:
        monkeypatch.setattr(torch.distributed, "is_available", lambda: True)
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world_size)

    batches = loader(dataset, 8)
    told = loader(dataset, 8, rank=0, world_size=1)
    assert (len(batches), batches.plan().world_size) == (8, 1)
    running = iter(batches)
    initialised(1, 2)  # after the loader was made, as trainers do it
    assert flat(running) == list(range(1, COUNT, 2))
    assert (len(batches), batches.plan().rank, batches.plan().world_size) == (4, 1, 2)
    initialised(3, 4)
    assert flat(batches) == list(range(3, COUNT, 4))
    assert flat(told) == list(range(COUNT)), "what was given stands"


def test_a_state_follows_the_ranks_of_its_pass(
    dataset: ReIDDataset, loader: MakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    batches = loader(dataset, 4)
    taken(batches, 2)
    assert batches.state_dict()["samples"] == 32
