from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid.errors import UnknownRowError, UsageError
from lmdb_reid.sampling import Order, Sequential, Shuffled, TorchSampler


class Given:
    """A sampler that gives what it was made with, and counts how often."""

    batch_size = None

    def __init__(self, positions: Any) -> None:
        self._positions = positions
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return len(self._positions)

    def positions(self, epoch: int) -> Any:
        self.epochs.append(epoch)
        return self._positions


def drawn(count: int = 50) -> TorchSampler:
    return TorchSampler(torch.utils.data.RandomSampler(range(count)))


def test_an_epoch_is_drawn_once() -> None:
    sampler = Given([2, 0, 1])
    order = Order(sampler, 3)
    assert order.count(4) == 3
    assert sampler.epochs == [], "the sampler says how many, undrawn"
    for _ in range(3):
        assert order.positions(4).tolist() == [2, 0, 1]
    order.state(4)
    assert sampler.epochs == [4]
    order.positions(5)
    assert sampler.epochs == [4, 5]


def test_a_torch_samplers_order_is_kept_for_its_epoch() -> None:
    order = Order(drawn(), 50)
    first = order.positions(0)
    assert np.array_equal(order.positions(0), first)
    assert not np.array_equal(order.positions(1), first)


@pytest.mark.parametrize("given", [[5, 3], np.array([5, 3], np.int32), np.array([5, 3], np.uint8)])
def test_whole_numbers_of_any_kind_are_positions(given: Any) -> None:
    positions = Order(Given(given), 6).positions(0)
    assert positions.tolist() == [5, 3]
    assert positions.dtype == np.int64


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([-1, -2], UnknownRowError),
        ([1, 6], UnknownRowError),
        (np.array([0.5]), UsageError),
        (np.zeros((2, 2), np.int64), UsageError),
        ([None], UsageError),
    ],
    ids=str,
)
def test_other_positions_are_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"positions\(epoch\) of the sampler must be"):
        Order(Given(given), 6).positions(0)


# -- states


def test_a_state_tells_an_order_from_any_other() -> None:
    states = [
        Order(Sequential(9), 9).state(0),
        Order(Shuffled(9, 1), 9).state(0),
        Order(Shuffled(9, 2), 9).state(0),
        Order(Shuffled(9, 1), 9).state(1),
        Order(Shuffled(9, 1), 9, rows=np.arange(9)[::-1].copy()).state(0),
    ]
    assert len({state["order"] for state in states}) == 5
    assert all(set(state) == {"order"} for state in states)
    # The same rows in the same order, selected in another way.
    rows = np.array([4, 2, 7])
    assert Order(Sequential(3), 3, rows).state(0) == Order(Given(rows), 9).state(0)


def test_an_order_that_cannot_be_drawn_again_is_in_its_state() -> None:
    order = Order(drawn(), 50)
    wanted, state = order.positions(2), order.state(2)
    other = Order(drawn(), 50)
    other.restore(2, state)
    assert np.array_equal(other.positions(2), wanted)
    assert other.count(2) == 50


def _encoded(positions: list[int]) -> str:
    return base64.b64encode(np.array(positions, "<u4").tobytes()).decode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drawn": None}, "cut short"),
        ({"drawn": "&"}, "cut short"),
        ({"drawn": "AAA="}, "cut short"),
        ({"drawn": _encoded([0, 1])}, "another order"),
        ({"order": 3}, "another order"),
        ({"drawn": _encoded([50])}, "must be 0..49"),
    ],
)
def test_a_damaged_order_is_refused(change: dict[str, Any], said: str) -> None:
    order = Order(drawn(), 50)
    state = order.state(0) | change
    with pytest.raises((UsageError, UnknownRowError), match=said):
        Order(drawn(), 50).restore(0, state)


def test_an_order_cut_short_is_refused() -> None:
    order = Order(drawn(), 50)
    state = order.state(0)
    for keep in range(0, len(state["drawn"]), 7):
        with pytest.raises(UsageError):
            Order(drawn(), 50).restore(0, state | {"drawn": state["drawn"][:keep]})


def test_a_shared_order_has_no_checksum() -> None:
    plain = torch.utils.data.DistributedSampler(range(20), num_replicas=2, rank=1)
    order = Order(TorchSampler(plain), 20)
    assert order.is_shared
    assert order.state(0) == {"order": None}
    order.restore(0, {"order": None})


def test_orders_that_each_rank_would_draw_differently() -> None:
    assert not Order(drawn(), 50).is_the_same_on_all_ranks
    for sampler in (Shuffled(5), TorchSampler([1, 2]), Given([0])):
        assert Order(sampler, 5).is_the_same_on_all_ranks
    in_order = torch.utils.data.SequentialSampler(range(5))
    assert Order(TorchSampler(in_order), 5).is_the_same_on_all_ranks
