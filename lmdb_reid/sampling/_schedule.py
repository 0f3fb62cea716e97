"""An epoch's order cut into the batches of one rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows


class Task(NamedTuple):
    """One batch to be made."""

    positions: Rows
    """In the dataset, int64 [B]."""
    seed: int
    epoch: int
    first: int
    """Place within the epoch (of all ranks' order) of the first sample: with seed and epoch it
    decides all that is random about it. The following ones are `stride` further each."""
    stride: int = 1

    def place(self, slot: int) -> tuple[int, int, int]:
        """(seed, epoch, place) of one sample: all that its randomness may depend on."""
        return self.seed, self.epoch, self.first + slot * self.stride


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How ranks share an epoch; pure arithmetic.

    Of a plain order, a step of all ranks takes world_size * batch_size neighbours, rank r every
    world_size-th of them from the r-th on. Of an order that comes in batches, batch b goes to rank
    b % world_size. All ranks get equally many: what does not divide evenly is left out under
    `drop_last`, else the epoch's first samples are repeated. So the sequence of samples (of
    batches) is the same for any number of ranks, and a run can continue with another number.

    Raises:
        UsageError: no such rank, or no whole numbers.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False
    in_batches: bool = False
    """Whether the sampler makes batches."""
    is_shared: bool = False
    """Whether the order is this rank's own already."""

    def __post_init__(self) -> None:
        for name in ("rank", "world_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise UsageError(f"{name} must be a whole number; got {value!r}")
        if not 0 <= self.rank < self.world_size:
            raise UsageError(
                f"rank must be 0..{self.world_size - 1} of world size {self.world_size}; got"
                f" {self.rank}"
            )

    @property
    def step_samples(self) -> int:
        """Samples that one step of all ranks takes."""
        return self.batch_size * self.world_size

    def steps(self, count: int, start: int = 0) -> int:
        """Batches of this rank in an epoch of `count` samples, when all ranks together have taken
        `start` of them.
        """
        mine = self._mine(count, start)
        return mine // self.batch_size if self.drop_last else -(-mine // self.batch_size)

    def samples(self, count: int) -> int:
        """Samples of this rank in an epoch of `count`, those of a batch that is left out aside."""
        return min(self._mine(count, 0), self.steps(count) * self.batch_size)

    def tasks(self, order: Rows, *, seed: int, epoch: int, start: int = 0) -> Tasks:
        """The batches of this rank, of an epoch's order int64 [N], from sample `start` on."""
        return Tasks(self, order, seed=seed, epoch=epoch, start=start)

    def _mine(self, count: int, start: int) -> int:
        """Samples of this rank."""
        if self.is_shared:
            return max(0, count - start // self.world_size)
        left = max(0, count - start)
        together = self.world_size * (self.batch_size if self._apart else 1)
        over = left % together
        if over:
            left += -over if self.drop_last else together - over
        return left // self.world_size

    @property
    def _apart(self) -> bool:
        """Whether ranks take whole batches by turns."""
        return self.in_batches and self.world_size > 1 and not self.is_shared


class Tasks(Sequence[Task]):
    """The tasks of a pass, each made when it is asked for: no Python object stands for a sample."""

    def __init__(
        self, schedule: Schedule, order: Rows, *, seed: int, epoch: int, start: int
    ) -> None:
        self._schedule = schedule
        self._order = order
        self._seed, self._epoch, self._start = seed, epoch, start
        self._steps = schedule.steps(len(order), start)
        self._mine = schedule._mine(len(order), start)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: Any) -> Any:
        if not 0 <= step < self._steps:
            raise IndexError(step)
        plan = self._schedule
        size = min(plan.batch_size, self._mine - step * plan.batch_size)
        if plan.is_shared:
            first = self._start // plan.world_size + step * plan.batch_size
            positions = self._order[first : first + size]
            place = plan.rank + first * plan.world_size
            return Task(positions, self._seed, self._epoch, place, plan.world_size)
        if plan._apart:
            place, stride = (
                self._start + (step * plan.world_size + plan.rank) * plan.batch_size,
                1,
            )
        else:
            place = self._start + plan.rank + step * plan.step_samples
            stride = plan.world_size
        end = place + size * stride
        if end - stride < len(self._order):
            positions = self._order[place:end:stride]
        else:  # the epoch's first samples again
            positions = self._order[np.arange(place, end, stride) % len(self._order)]
        return Task(positions, self._seed, self._epoch, place, stride)
