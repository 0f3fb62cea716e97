"""Lookup latency: each way in a process of its own, interleaved, the same random ids for all."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from benchmarks.scale import _data
from lmdb_reid import Sample, Store, codec

Lookup = Callable[[str], Any]
Latency = dict[str, float]
"""p50 and p99 in microseconds, less what the clock itself takes."""

_OF_A_PAGE = 16  # samples; some twenty lie on a page of LMDB's, so each page is touched
_CHECKED = 200  # answers of a round that are compared with what was stored
_FILES_UP_TO = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of asking for a sample by id."""

    make: Callable[[Path, int], Path]
    opened: Callable[[Path], AbstractContextManager[Lookup]]
    touched: int = _OF_A_PAGE
    """Every so many samples one is asked for before it is measured."""
    up_to: int | None = None
    """Most samples it is measured with."""
    needs: str | None = None
    """A package that may be missing."""


def measure(folder: Path, count: int, *, repeats: int, lookups: int) -> dict[str, Any]:
    """Every way at one size: name -> its latency in each round, or why it was skipped."""
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        pools: dict[str, ProcessPoolExecutor] = {}
        for name, way in WAYS.items():
            if reason := _skipped(way, count):
                found[name] = reason
                continue
            path = way.make(folder, count)
            pools[name] = stack.enter_context(_process(name, path, count))
            found[name] = []
        for seed in range(repeats):
            order = list(pools) if seed % 2 == 0 else list(reversed(pools))
            for name in order:
                found[name].append(pools[name].submit(_round, count, seed, lookups).result())
    return found


@contextlib.contextmanager
def _raw(path: Path) -> Iterator[Lookup]:
    with _raw_get(path) as (get, images):
        yield lambda name: get(name.encode(), db=images)


@contextlib.contextmanager
def _raw_decoded(path: Path) -> Iterator[Lookup]:
    with _raw_get(path) as (get, images):
        yield lambda name: codec.decode(get(name.encode(), db=images))


@contextlib.contextmanager
def _raw_get(path: Path) -> Iterator[tuple[Any, Any]]:
    """py-lmdb and nothing else, as a script that knows the format would use it."""
    with lmdb.open(
        str(path / "data.mdb"), subdir=False, readonly=True, lock=False, max_dbs=2
    ) as env:
        images = env.open_db(b"images", create=False)
        with env.begin(buffers=True) as txn:
            yield txn.get, images


@contextlib.contextmanager
def _view(path: Path) -> Iterator[Lookup]:
    with Store(path) as store, store.view() as view:
        yield lambda name: view[name]


@contextlib.contextmanager
def _sample(path: Path) -> Iterator[Lookup]:
    with Store(path) as store:
        yield lambda name: store[name]


@contextlib.contextmanager
def _image(path: Path) -> Iterator[Lookup]:
    with Store(path) as store:
        yield lambda name: store[name].image


@contextlib.contextmanager
def _sqlite(path: Path) -> Iterator[Lookup]:
    base = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    base.execute(f"pragma mmap_size={path.stat().st_size}")
    ask = "select image from samples where id = ?"
    with contextlib.closing(base):
        yield lambda name: base.execute(ask, (name,)).fetchone()[0]


@contextlib.contextmanager
def _file(path: Path) -> Iterator[Lookup]:
    root = str(path)

    def read(name: str) -> bytes:
        with open(f"{root}/{name[:5]}/{name}.jpg", "rb") as file:  # noqa: PTH123 - a Path would cost more than the read
            return file.read()

    yield read


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Lookup]:
    import h5py  # an optional peer

    with h5py.File(path, "r") as file:
        yield lambda name: file[name][()]


RAW, VIEW, RAW_DECODED = "raw LMDB get", "store.view()[id]", "raw LMDB get, decoded"
WAYS = {
    RAW: Way(make=_data.store, opened=_raw),
    VIEW: Way(make=_data.store, opened=_view),
    "store[id]": Way(make=_data.store, opened=_sample),
    "SQLite": Way(make=_data.sqlite, opened=_sqlite),
    "a file each": Way(make=_data.files, opened=_file, touched=1, up_to=_FILES_UP_TO),
    "HDF5": Way(make=_data.hdf5, opened=_hdf5, touched=1, up_to=_FILES_UP_TO, needs="h5py"),
    RAW_DECODED: Way(make=_data.store, opened=_raw_decoded),
    "store[id].image": Way(make=_data.store, opened=_image),
}


def _skipped(way: Way, count: int) -> str | None:
    if way.up_to is not None and count > way.up_to:
        return f"skipped: measured up to {way.up_to:,} keys"
    if way.needs is not None and importlib.util.find_spec(way.needs) is None:
        return f"skipped: {way.needs} is not installed (pip install {way.needs})"
    return None


# -- in the process of one way ------------------------------------------------------------------

_asked: list[tuple[AbstractContextManager[Lookup], Lookup]] = []  # opened once, for all rounds


def _process(name: str, path: Path, count: int) -> ProcessPoolExecutor:
    spawned = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawned, initializer=_begin, initargs=(name, path, count))


def _begin(name: str, path: Path, count: int) -> None:
    """Open, and touch every page: the first touch of each costs a fault, whoever asks."""
    way = WAYS[name]
    opened = way.opened(path)
    lookup = opened.__enter__()
    _asked.append((opened, lookup))
    for row in range(0, count, way.touched):
        lookup(_data.sample_id(row))


def _round(count: int, seed: int, lookups: int) -> Latency:
    """Ask for random samples one by one.

    Raises:
        AssertionError: an answer is not what was stored.
    """
    _, lookup = _asked[0]
    rows = np.random.default_rng([count, seed]).integers(count, size=lookups).tolist()
    names = [_data.sample_id(row) for row in rows]
    clock = np.median(_timed(lambda name: None, names))
    taken = (_timed(lookup, names) - clock) / 1000
    for row in rows[:_CHECKED]:
        assert _same(lookup(_data.sample_id(row)), row), f"{_data.sample_id(row)}: another value"
    return {"p50": float(np.percentile(taken, 50)), "p99": float(np.percentile(taken, 99))}


def _timed(lookup: Lookup, names: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Nanoseconds of each lookup; giving the earlier answer back is counted in."""
    now = time.perf_counter_ns
    taken = []
    answer = None
    for name in names:
        began = now()
        answer = lookup(name)
        taken.append(now() - began)
    del answer
    return np.array(taken, np.float64)


def _same(answer: Any, row: int) -> bool:
    stored = _data.image(row)
    if isinstance(answer, Sample):
        return answer.jpeg == stored and answer.record["label"] == row % _data.LABELS
    if isinstance(answer, np.ndarray):
        return np.array_equal(answer, codec.decode(stored))
    return bytes(answer) == stored
