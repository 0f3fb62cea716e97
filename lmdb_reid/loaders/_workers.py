"""How many workers a loader has where nobody says it."""

from __future__ import annotations

from typing import NamedTuple

from lmdb_reid.loaders._job import Job
from lmdb_reid.machine import available_cores

# Threads hand the interpreter's lock to each other, and to the consumer. 26 Nov 2026, 16 cores, an
# H200, Python 3.12, crops of 256x128 (docs/benchmarks.md, "Beside a GPU"):
# - Crops/s with 2, 4, 8, 16 threads: bare 13,370, 25,768, 42,038, 41,002; with the recipe 11,685,
#   18,274, 22,664, 17,212; with it over a decoded tier 76,989, 58,726, 37,538, 29,802.
# - A training step of 37.7 ms that they feed, recipe on, takes 39.5, 46.0, 48.1 ms with 4, 8, 16.
_MOST_THREADS = 8
_MOST_AUGMENTING = 4
_MOST_OVER_A_TIER = 2  # augmenting


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
    most = _MOST_THREADS
    if job.augment is not None:
        most = _MOST_OVER_A_TIER if over_a_tier else _MOST_AUGMENTING
    if not in_threads or cores <= most:
        return Workers(cores, "")
    return Workers(
        most,
        f"{most} of them on {cores} cores, since more would wait for the interpreter's lock"
        " (engine='processes' gains from more)",
    )
