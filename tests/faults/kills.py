"""Kills of a loader's worker, of its main process, and of another reader of the same store.

`WAY WHO SEED`: each trial of "worker" kills ten workers of one loader, one after the other. What
has to hold for our engines: an error of ours, the same loader whole at its next pass, no process,
no descriptor and no segment of shared memory left, no lock on the store. Of peers the same is
counted.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .child import Wrong, in_child, value_of
from .readers import ENGINES, WAYS, Reader, has_own_shm, missing, start, write_shards
from .works import OUT, Fresh, Lab

WHO = ("worker", "main", "reader")
GROUPS = tuple(f"{way} {who}" for way in WAYS for who in WHO)
KILLS = 10
"""Of workers, in a trial."""
SECONDS: list[float] = []
"""Until the error came, or the last worker was gone, in the trials of this process."""
TALLY: Counter[str] = Counter()
"""What came of the kills of workers in the trials of this process."""
_GONE = 20.0  # seconds until what is still there is left
_AGAIN = {
    "whole": "the same loader whole",
    "error": "the loader lost",
    "mixed": "rows or pixels missing or other",
}


def trials(lab: Lab, group: str, count: int, seed: int) -> Iterator[str]:
    """`WAY WHO SEED`, for `count` kills."""
    count = -(-count // KILLS) if group.endswith("worker") else count
    yield from (f"{group} {seed * 1_000_000 + number}" for number in range(count))


def why_not(group: str) -> str:
    """Why a group cannot be tried; "" where it can."""
    way, who = group.split()
    if way == "threads" and who == "worker":
        return "this engine has only threads"
    return missing(way)


def trial(lab: Lab, line: str) -> str:
    """One of `trials`: what came of it, or Wrong."""
    way, who, number = line.split()
    folder, group = lab.empty("kills"), f"{way} {who}"
    path = folder / OUT
    shutil.copytree(lab.stores["new"], path)
    if way == "streaming":
        value_of(in_child(lambda: write_shards(path)))
    sums = _sums(lab)
    draw, shm = random.Random(line), lab.empty("shm")
    method = "fork" if int(number) % 2 else "forkserver"
    reader = start(way, path, sums, method, shm)
    try:
        if who == "worker":
            found = _workers(reader, draw, group)
        elif who == "main":
            found = _main(reader, draw, group)
        else:
            found = _beside(reader, start(way, path, sums, method, shm), draw, group)
    except Wrong as error:
        if way in ENGINES:
            raise
        found = str(error)
    finally:
        reader.end()
    left = sorted(path.name for path in shm.iterdir())
    if left and way in ENGINES:
        raise Wrong(f"left in shared memory: {left}")
    _unlocked(lab, folder)
    if not has_own_shm(shm):
        return f"{found} (shared memory NOT looked at: it needs root)"
    return f"{found}, names left in shared memory" if left else found


def _workers(reader: Reader, draw: random.Random, group: str) -> str:
    found: Counter[str] = Counter()
    ours = _is_ours(group)
    first = reader.follow("begun")
    begun = first
    for _ in range(KILLS):
        time.sleep(draw.random() * 0.06)
        killed = time.monotonic()
        os.kill(draw.choice(begun["pids"]), signal.SIGKILL)
        error = _error_of(reader)
        if error is None:
            found["no error, no row missing"] += 1
            begun = reader.follow("begun")
            continue
        SECONDS.append(error["at"] - killed)
        if ours and not error["ours"]:
            raise Wrong(f"{error['error']} is no error of ours")
        after = reader.follow("whole", "mixed", "error")
        if ours and after["kind"] == "error":
            raise Wrong(f"the same loader's next pass: {after['error']}")
        found[f"{error['error']}, {_AGAIN[after['kind']]}"] += 1
        begun = reader.follow("begun")
    more = begun["descriptors"] - first["descriptors"]
    if ours and more >= KILLS:  # batches that torch has under way have some
        raise Wrong(f"{more} descriptors more after {KILLS} kills")
    family = reader.family()
    reader.close()
    _gone(family, ours)
    TALLY.update(found)
    return f"{KILLS} kills"


def _error_of(reader: Reader) -> dict[str, Any] | None:
    """The error of a pass; None where its worker ended between two passes, of which the next began
    another, so that all passes since were whole.
    """
    for _ in range(4):
        report = reader.follow("error", "whole")
        if report["kind"] == "error":
            return report
    return None


def _main(reader: Reader, draw: random.Random, group: str) -> str:
    workers = reader.follow("begun")["pids"]
    time.sleep(draw.random() * 0.1)
    family, killed = reader.family(), time.monotonic()
    reader.end()
    left = _ended(family, workers, killed, group)
    return f"{left} processes left" if left else "all its processes ended"


def _beside(reader: Reader, other: Reader, draw: random.Random, group: str) -> str:
    """`other` is killed with all its workers; `reader` must not notice."""
    try:
        workers = other.follow("begun")["pids"]
        reader.follow("begun")
        time.sleep(draw.random() * 0.1)
    finally:
        family, killed = other.family(), time.monotonic()
        other.end()
    left = _ended(family, workers, killed, group)
    for _ in range(2):  # the pass under way, and the next one
        report = reader.follow("whole", "error")
        if report["kind"] == "error":
            if _is_ours(group):
                raise Wrong(f"{report['error']} in a loader beside it")
            left = -1
    family = reader.family()
    reader.close()
    _gone(family, _is_ours(group))
    words = {-1: "a loader beside it failed", 0: "the loader beside it whole"}
    return words.get(left, f"{left} processes left")


def _is_ours(group: str) -> bool:
    return group.split(maxsplit=1)[0] in ENGINES


def _ended(family: list[int], workers: list[int], killed: float, group: str) -> int:
    """Wait for the workers of a killed process, which are timed, and for all its helpers."""
    left = _gone(workers, _is_ours(group))
    SECONDS.append(time.monotonic() - killed)
    return left + _gone([pid for pid in family if pid not in workers], _is_ours(group))


def _gone(pids: list[int], must: bool) -> int:
    """How many of these are still there in the end.

    Raises:
        Wrong: any, where they must not be.
    """
    until = time.monotonic() + _GONE
    while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < until:
        time.sleep(0.005)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    if left and must:
        raise Wrong(f"{len(left)} of its processes are there {_GONE:.0f} s later")
    return len(left)


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _unlocked(lab: Lab, folder: Path) -> None:
    """The store is as it was, and another can be built in its place at once."""
    names = {path.name for path in folder.iterdir()} - {f"{Path(OUT).stem}.mds"}
    if names != {OUT}:
        raise Wrong(f"left beside the store: {sorted(names - {OUT})}")
    value_of(in_child(functools.partial(lab.build, folder / OUT, overwrite=True)))
    if value_of(in_child(functools.partial(Fresh(lab).judge, folder))) != "new":
        raise Wrong("not what an undisturbed build gives")


@functools.cache
def _sums(lab: Lab) -> npt.NDArray[np.int64]:
    """Of the pixels of each row."""
    found: npt.NDArray[Any] = lab.pixels["new"].sum(axis=(1, 2, 3), dtype=np.int64)
    return found
