"""What a sampler is."""

from __future__ import annotations

import hashlib
import struct
from typing import Protocol, runtime_checkable

import numpy as np

from lmdb_reid._protocols import Delegating
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows


@runtime_checkable
class Sampler(Protocol, metaclass=Delegating):
    """Gives the order of an epoch.

    Laws: `positions` is pure, so that a resumed run, and every rank, sees the same order; it has
    `len` entries; where `batch_size` is set, each run of so many is one batch. `lmdb_reid.testing`
    has these laws as a test.
    """

    @property
    def batch_size(self) -> int | None:
        """Samples in a batch of a sampler that makes batches; None for one that does not."""
        ...

    def __len__(self) -> int:
        """Samples in an epoch; known without drawing it."""
        ...

    def positions(self, epoch: int) -> Rows:
        """Positions in the dataset, int64 [len], in the order they are to be read."""
        ...


def is_whole(value: object, least: int) -> bool:
    """Whether it is a whole number from `least` up, of Python or NumPy; booleans are none."""
    is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_number and int(value) >= least  # type: ignore[call-overload]


def check_epoch(epoch: object) -> None:
    """Refuse the number of an epoch that there cannot be.

    Raises:
        UsageError: it is no whole number from 0 up.
    """
    if not is_whole(epoch, 0):
        raise UsageError(f"epoch must be a whole number, at least 0, got {epoch!r}")


def position_seed(seed: int, epoch: int, position: int) -> int:
    """The 63-bit seed of everything random about one position of one epoch (BLAKE2b of the three
    numbers).
    """
    text = struct.pack("<qqq", seed, epoch, position)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
