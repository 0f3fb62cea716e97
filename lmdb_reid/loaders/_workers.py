"""How many workers a loader has where nobody says it."""

from __future__ import annotations

from typing import NamedTuple

from lmdb_reid.loaders._job import Job
from lmdb_reid.machine import available_cores

# More threads than these make fewer crops/s, since they wait for the interpreter's lock. Crops/s of
# 256x128 with 2, 4, 8, 16 threads of 16 cores (Python 3.12, 26 Nov 2026; `python -m
# benchmarks.devices`, docs/benchmarks.md): decoding 13,370, 25,768, 42,038, 41,002; with the recipe
# 11,685, 18,274, 22,664, 17,212; with it over a decoded tier 76,989, 58,726, 37,538, 29,802.
_MOST_THREADS = 8
_MOST_OVER_A_TIER = 2  # with a recipe


class Workers(NamedTuple):
    """How many, and why."""

    number: int
    why: str
    """Empty where there is one for each core."""


def default_workers(job: Job, *, in_threads: bool, over_a_tier: bool) -> Workers:
    """One for each core, but no more threads than gain.

    Args:
        job: what they do.
        in_threads: whether they are threads of this process.
        over_a_tier: whether pixels lie in memory, decoded.
    """
    cores = available_cores()
    most = _MOST_OVER_A_TIER if over_a_tier and job.augment is not None else _MOST_THREADS
    if not in_threads or cores <= most:
        return Workers(cores, "")
    return Workers(
        most,
        f"{most} of them on {cores} cores, since more would wait for the interpreter's lock"
        " (engine='processes' gains from more)",
    )
