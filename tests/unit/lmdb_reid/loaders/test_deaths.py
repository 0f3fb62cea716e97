"""Workers that are killed: the error, what is left, and the next pass."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from lmdb_reid import ReIDDataset
from lmdb_reid.errors import WorkerDiedError
from lmdb_reid.loaders import _dataloader

MakeLoader = Callable[..., Any]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
LONG = 60.0  # seconds, for a machine that does much else


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def kill_a_worker() -> None:
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)


def rows_of(loader: Any) -> list[int]:
    return sorted(row for batch in loader for row in batch.rows.tolist())


def test_workers_that_died_leave_neither_descriptors_nor_memory(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    ours = loader(dataset, 8, engine="processes", num_workers=2)
    held = []
    for _ in range(4):
        passed = iter(ours)
        next(passed)
        held.append(descriptors())
        kill_a_worker()
        with pytest.raises(WorkerDiedError):
            for _ in range(2):  # it may have been at its end
                list(passed)
                passed = iter(ours)
        assert rows_of(ours) == list(range(len(dataset)))
    # The first may have more: what the end of another test left is gone by the second.
    assert max(held[1:]) <= held[0]
    assert len(set(held[1:])) == 1


# Where there is a GPU torch pins in a thread of its own, which does not survive a worker.
@pytest.mark.filterwarnings(r"ignore:Exception in thread .*_pin_memory_loop")
def test_a_death_in_the_body_of_a_loop_over_torchs_loader_is_an_error_of_ours_once(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    ours = loader(dataset, 8, engine="dataloader", num_workers=2)
    for _ in range(2):
        with pytest.raises(WorkerDiedError, match="killed by signal"):
            for _ in ours:
                kill_a_worker()
                time.sleep(LONG)
        assert rows_of(ours) == list(range(len(dataset)))


def test_what_a_killed_worker_of_torchs_loader_had_named_is_removed(
    dataset: ReIDDataset, loader: MakeLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dataloader, "_SEGMENTS", tmp_path)
    ours = loader(dataset, 8, engine="dataloader", num_workers=2)
    passed = iter(ours)
    next(passed)
    killed = multiprocessing.active_children()[0].pid or 0
    left, others = (tmp_path / f"torch_{pid}_1_2" for pid in (killed, os.getpid()))
    for path in (left, others):
        path.touch()
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        list(passed)
        list(ours)
    ours.close()
    assert [left.exists(), others.exists()] == [False, True]


def test_an_error_of_a_death_keeps_no_iterator_of_torchs(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    ours = loader(dataset, 8, engine="dataloader", num_workers=2)
    passed = iter(ours)
    next(passed)
    kill_a_worker()
    with pytest.raises(WorkerDiedError) as kept:
        list(passed)
        list(ours)
    del passed
    gc.collect()
    there = [one for one in gc.get_objects() if type(one) is _MultiProcessingDataLoaderIter]
    assert there == [], "workers that are forked next would end it"
    assert kept.value.__cause__ is not None


def test_a_death_that_is_seen_in_a_finalizer_is_an_error_all_the_same(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    class Late:
        def __del__(self) -> None:  # what is raised in here, Python ignores
            kill_a_worker()
            time.sleep(0.3)

    ours = loader(dataset, 8, engine="dataloader", num_workers=2)
    with pytest.raises(WorkerDiedError, match="killed by signal"):
        for _ in ours:
            Late()
            time.sleep(LONG)
    assert rows_of(ours) == list(range(len(dataset)))


def test_deaths_in_a_loader_of_somebody_else_stay_torchs(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    ours = loader(dataset, 8, engine="dataloader", num_workers=1)
    assert rows_of(ours)
    mine = {child.pid for child in multiprocessing.active_children()}
    theirs = iter(torch.utils.data.DataLoader(dataset, 8, num_workers=1))
    (worker,) = {child.pid for child in multiprocessing.active_children()} - mine
    with pytest.raises(RuntimeError, match="killed by signal") as caught:
        os.kill(worker or 0, signal.SIGKILL)
        time.sleep(LONG)
    assert not isinstance(caught.value, WorkerDiedError)
    del theirs
    assert rows_of(ours) == list(range(len(dataset)))


SCRIPT = """
import multiprocessing, sys, time
import torch.utils.data._utils.worker as torchs
from lmdb_reid import ReIDDataset, make_loader

torchs.MP_STATUS_CHECK_INTERVAL = 1e6  # how often torch's workers look for their parent
loader = make_loader(ReIDDataset(sys.argv[1]), 8, engine="dataloader", num_workers=2)
for batch in loader:
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(1e6)
"""


def test_workers_of_torchs_loader_end_when_its_process_is_killed(path64: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(path64)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        workers = child.stdout.readline().split()
        child.kill()
    assert len(workers) == 2
    until = time.monotonic() + LONG
    while any(running(pid) for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.01)


def running(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
