"""The order of an epoch: drawn once, checked, and told from any other."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import numpy as np

from lmdb_reid.errors import UnknownRowError, UsageError
from lmdb_reid.sampling._protocol import Sampler
from lmdb_reid.sampling._samplers import TorchSampler
from lmdb_reid.schema import Rows


class Order:
    """What a sampler gives for an epoch, kept while that epoch is read: ten million samples take
    half a second to draw.

    Args:
        sampler: the sampler.
        count: items of the dataset.
        rows: what each of them stands for, int64 [count]; None means the position itself.
    """

    def __init__(self, sampler: Sampler, count: int, rows: Rows | None = None) -> None:
        self.sampler = sampler
        self._count = count
        self._rows = rows
        torch_sampler = sampler if isinstance(sampler, TorchSampler) else None
        self.is_shared = torch_sampler is not None and torch_sampler.is_shared
        """Whether the sampler gives each rank its own part."""
        self.is_the_same_on_all_ranks = (
            torch_sampler is None or self.is_shared or torch_sampler.is_in_order
        )
        self._is_drawn = torch_sampler is not None and not self.is_shared
        self._kept: tuple[int, Rows] | None = None

    def count(self, epoch: int) -> int:
        """Samples in an epoch: what the sampler says, or what it gave where it was asked."""
        if self._kept is not None and self._kept[0] == epoch:
            return len(self._kept[1])
        return len(self.sampler)

    def positions(self, epoch: int) -> Rows:
        """Positions in the dataset, int64 [N].

        Raises:
            UsageError: the sampler gave something else than whole numbers.
            UnknownRowError: it gave positions outside the dataset.
        """
        if self._kept is None or self._kept[0] != epoch:
            self._kept = None  # the one before need not stay while the next is drawn
            self._kept = epoch, _check_positions(self.sampler.positions(epoch), self._count)
        return self._kept[1]

    def state(self, epoch: int) -> dict[str, Any]:
        """What tells this order from another, as plain data: a checksum of the rows in this order;
        of a torch sampler, whose order cannot be drawn again, also the order itself.
        """
        if self.is_shared:  # another on each rank, and one rank's state is loaded by all
            return {"order": None}
        positions = self.positions(epoch)
        state: dict[str, Any] = {"order": self._checksum(positions)}
        if self._is_drawn:
            state["drawn"] = base64.b64encode(positions.astype("<u4").tobytes()).decode()
        return state

    def restore(self, epoch: int, state: dict[str, Any]) -> None:
        """Take the order of an epoch from a state.

        Raises:
            UsageError: the state belongs to another order, or is damaged.
        """
        if self._is_drawn:
            positions = _check_positions(_decoded(state.get("drawn")), self._count)
        elif self.is_shared:
            return
        else:
            positions = self.positions(epoch)
        if state.get("order") != self._checksum(positions):
            raise UsageError(
                "this state belongs to another order of samples: the dataset, the sampler or its"
                " seed differs from the run that saved it"
            )
        self._kept = epoch, positions

    def _checksum(self, positions: Rows) -> int:
        rows = positions if self._rows is None else self._rows[positions]
        return zlib.crc32(np.ascontiguousarray(rows).data)


def _decoded(text: object) -> Rows:
    try:
        return np.frombuffer(base64.b64decode(str(text), validate=True), "<u4").astype(np.int64)
    except (binascii.Error, ValueError):
        raise UsageError(
            "this state holds no order: it was cut short, or saved by a loader without a torch"
            " sampler"
        ) from None


def _check_positions(positions: object, count: int) -> Rows:
    order = np.asarray(positions)
    if order.ndim != 1 or (len(order) and not np.issubdtype(order.dtype, np.integer)):
        raise UsageError(
            f"positions(epoch) of the sampler must be whole numbers, one for each sample; got"
            f" {order.dtype} {list(order.shape)}"
        )
    if len(order) and (order.min() < 0 or order.max() >= count):
        raise UnknownRowError(
            f"positions(epoch) of the sampler must be 0..{count - 1}, for the dataset has {count}"
            f" items; got {order.min()}..{order.max()}"
        )
    return order.astype(np.int64, copy=False)
