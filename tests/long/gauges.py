"""What a process and all its descendants hold: memory, descriptors, threads, shared memory."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SETTLED = 20
"""Epochs, or hundredths of a run, after which nothing may grow any more; as many at the end are
compared with as many after these."""
_SHARED = ("/dev/shm/", "/memfd:")


@dataclass(frozen=True, slots=True)
class Gauge:
    """Sums over a process and its descendants; `memory` and `shared` in bytes.

    memory: what is resident, pages of mapped files included.
    shared: segments without a file on a disk that they map, each counted once.
    """

    memory: int
    descriptors: int
    threads: int
    processes: int
    shared: int


def gauge(pid: int) -> Gauge:
    """Of that process now, and all that descend from it."""
    page = os.sysconf("SC_PAGE_SIZE")
    memory = descriptors = threads = 0
    shared: dict[str, int] = {}
    pids = [pid, *descendants(pid)]
    for one in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            at = Path(f"/proc/{one}")
            memory += int((at / "statm").read_text().split()[1]) * page
            descriptors += len(list((at / "fd").iterdir()))
            threads += len(list((at / "task").iterdir()))
            shared |= dict(_segments(at))
    return Gauge(memory, descriptors, threads, len(pids), sum(shared.values()))


def descendants(pid: int) -> list[int]:
    """Children of a process, their children, and so on; those that only wait to be reaped too."""
    children: dict[int, list[int]] = {}
    for at in Path("/proc").iterdir():
        if at.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = (at / "stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(at.name))
    found, left = [], [pid]
    while left:
        for child in children.get(left.pop(), []):
            found.append(child)
            left.append(child)
    return found


def _segments(process: Path) -> Iterator[tuple[str, int]]:
    """(inode, bytes from its begin to the end of what is mapped)."""
    for line in (process / "maps").read_text().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith(_SHARED):
            begin, end = (int(part, 16) for part in parts[0].split("-"))
            yield f"{parts[3]} {parts[4]}", int(parts[2], 16) + end - begin


def growth(values: Sequence[int]) -> float:
    """From the first `SETTLED` values after `SETTLED` to the last ones, medians of each."""
    return statistics.median(values[-SETTLED:]) - statistics.median(values[SETTLED : 2 * SETTLED])


def grown(gauges: Sequence[Gauge]) -> list[str]:
    """What is not flat, in words. Memory may grow by 1 % or 4 MB, whichever is more: the allocator
    is not still. The rest may not.
    """
    found = []
    for name in Gauge.__slots__:
        values = [getattr(one, name) for one in gauges]
        allowed = max(4e6, values[SETTLED] / 100) if name == "memory" else 0
        if growth(values) > allowed:
            found.append(f"{name} grew by {growth(values):,.0f}")
    return found
