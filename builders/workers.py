"""How many threads read and cut."""

from __future__ import annotations

from lmdb_reid.errors import UsageError
from lmdb_reid.machine import available_cores


def checked_workers(num_workers: int | None) -> int:
    """How many threads to use: as many as there are cores where none are given.

    Raises:
        UsageError: fewer than 1.
    """
    if num_workers is None:
        return available_cores()
    if not isinstance(num_workers, int) or num_workers < 1:
        raise UsageError(f"workers {num_workers!r}: give 1 or more")
    return num_workers
