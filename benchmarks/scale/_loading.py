"""What a store's size costs a loader: opening, first batch, pause between epochs, workers' memory.

The twin of the loaders is what most scripts do: LMDB read one by one, its ids in a list, torch's
stock DataLoader.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, cast

import lmdb
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import seconds
from benchmarks.scale import _data
from lmdb_reid import ReIDDataset, Store, codec, make_loader
from lmdb_reid.sampling import Shuffled

P = ParamSpec("P")
T = TypeVar("T")
Times = dict[str, float]
EngineName = Literal["threads", "processes", "dataloader"]

BATCH = 256
WORKERS = 2
PLAIN = "a list of ids, LMDB, stock DataLoader"
_BATCHES = 40  # that workers decode before their memory is read
_SETTLED = 1.0  # seconds in which they finish what they prefetch


def apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a call in a fresh process."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawned, initializer=_as_a_script) as pool:
        return pool.submit(work, *args, **kwargs).result()


def _as_a_script() -> None:
    """Workers start by the system's default, not by the method that this process was started by."""
    multiprocessing.set_start_method(None, force=True)


# -- opening ------------------------------------------------------------------------------------


def opening(path: Path, count: int, *, cold: bool) -> Times:
    """Seconds from nothing to an open store, and on to its first answers; call `apart`."""
    name, stored = _data.sample_id(count // 2), _data.image(count // 2)
    held = _data.evict(path) if cold else 1.0
    began = time.perf_counter()
    with Store(path) as store:
        opened = time.perf_counter()
        with store.view() as view:
            assert view[name] == stored
        viewed = time.perf_counter()
        assert store[name].id == name
        asked = time.perf_counter()
    return {
        "Store(path)": opened - began,
        "then the first view[id]": viewed - opened,
        "then the first store[id]": asked - viewed,
        "share in the page cache before": held,
    }


def opening_raw(path: Path, count: int, *, cold: bool) -> Times:
    """The twin: py-lmdb alone on the same data.mdb; call `apart`."""
    name, stored = _data.sample_id(count // 2).encode(), _data.image(count // 2)
    if cold:
        _data.evict(path)
    began = time.perf_counter()
    with _raw(path) as (env, images):
        opened = time.perf_counter()
        with env.begin(buffers=True) as txn:
            assert txn.get(name, db=images) == stored
        asked = time.perf_counter()
    return {"lmdb.open": opened - began, "then the first get": asked - opened}


# -- batches ------------------------------------------------------------------------------------


def first_batch(path: Path, way: EngineName | str, *, cold: bool) -> Times:
    """Seconds from the path to the first shuffled batch; call `apart`."""
    if cold:
        _data.evict(path)
    began = time.perf_counter()
    with _loader(path, way) as loader:
        made = time.perf_counter()
        next(iter(loader))
        taken = time.perf_counter()
    return {
        "loader made": made - began,
        "then its first batch": taken - made,
        "both": taken - began,
    }


def between_epochs(path: Path, count: int, *, repeats: int) -> list[float]:
    """Seconds from the end of an epoch to the first batch of the next, on threads; call `apart`.

    The loader is put before the last two batches of an epoch, as after a resume, since a whole one
    says nothing more.
    """
    taken = []
    with make_loader(ReIDDataset(path), BATCH, shuffle=True, num_workers=WORKERS) as loader:
        assert loader.plan().engine == "threads", loader.plan()
        for _ in range(repeats + 1):
            batches = -(-count // BATCH) - 2
            loader.load_state_dict(loader.state_dict() | {"samples": batches * BATCH})
            assert sum(1 for _ in loader) == 2
            taken.append(_to_first(loader))
    return taken[1:]  # the first was paid for opening


def between_epochs_plain(path: Path, *, repeats: int) -> list[float]:
    """The twin: a new pass of a stock DataLoader with persistent workers; call `apart`."""
    with _loader(path, PLAIN) as loader:
        return [_to_first(loader) for _ in range(repeats + 1)][1:]


def _to_first(loader: Iterable[Any]) -> float:
    """Seconds to a new pass's first batch; ending that pass is not counted."""
    began = time.perf_counter()
    batches = iter(loader)
    next(batches)
    return time.perf_counter() - began


def permutation(count: int, *, repeats: int) -> list[float]:
    """Seconds that drawing an epoch's order takes by itself; call `apart`."""
    draw = Shuffled(count).positions
    return [seconds(functools.partial(draw, epoch)) for epoch in range(repeats + 1)][1:]


# -- memory -------------------------------------------------------------------------------------


def worker_memory(path: Path, way: EngineName | str) -> list[dict[str, float]]:
    """Megabytes of each worker process after it decoded some batches; call `apart`.

    uss: pages that no other process maps. Those of files (private_clean) are the page cache's,
    which gives them up without a word; private_dirty is what the process alone holds. page_tables
    are the system's, and not in the others.
    """
    with _loader(path, way) as loader:
        passes = itertools.chain.from_iterable(itertools.repeat(loader))
        for _ in itertools.islice(passes, _BATCHES):
            pass
        time.sleep(_SETTLED)
        return [_memory(child.pid) for child in multiprocessing.active_children() if child.pid]


def _memory(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text() + Path(f"/proc/{pid}/status").read_text()
    fields = (line.split() for line in lines.splitlines())
    kilobytes = {parts[0]: int(parts[1]) for parts in fields if parts[-1] == "kB"}
    clean, dirty = kilobytes["Private_Clean:"], kilobytes["Private_Dirty:"]
    found = {
        "uss": clean + dirty,
        "private_dirty": dirty,
        "private_clean": clean,
        "pss": kilobytes["Pss:"],
        "page_tables": kilobytes["VmPTE:"],
    }
    return {name: value * 1024 / 1e6 for name, value in found.items()}


# -- loaders ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _loader(path: Path, way: EngineName | str) -> Iterator[Any]:
    if way == PLAIN:
        yield DataLoader(
            Listed(path), BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
        )
        return
    engine = cast(EngineName, way)
    with make_loader(
        ReIDDataset(path), BATCH, shuffle=True, engine=engine, num_workers=WORKERS
    ) as it:
        yield it


class Listed(Dataset[tuple[torch.Tensor, int]]):
    """The usual data set over LMDB: it lists the keys once and opens the file in each worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: tuple[Any, Any] | None = None
        with _raw(path) as (env, images), env.begin() as txn, txn.cursor(images) as cursor:
            self._names = [key.decode() for key in cursor.iternext(values=False)]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        if self._open is None:
            env = _opened(self._path)
            self._open = env, env.open_db(b"images", create=False)
        env, images = self._open
        with env.begin(buffers=True) as txn:
            pixels = codec.decode(txn.get(self._names[at].encode(), db=images))
        return torch.from_numpy(pixels).permute(2, 0, 1), at % _data.LABELS


def _opened(path: Path) -> lmdb.Environment:
    return lmdb.open(str(path / "data.mdb"), subdir=False, readonly=True, lock=False, max_dbs=2)


@contextlib.contextmanager
def _raw(path: Path) -> Iterator[tuple[Any, Any]]:
    with _opened(path) as env:
        yield env, env.open_db(b"images", create=False)
