"""Processes that read a store for ever, each by another loader, and report what they see.

WAYS has our engines, and beside them torch's DataLoader and MosaicML Streaming over the same crops.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import multiprocessing
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import LmdbReidError

from ..long.gauges import descendants
from .child import Wrong

ENGINES = ("threads", "processes", "dataloader")
PEERS = ("torch", "streaming")
WAYS = (*ENGINES, *PEERS)
WORKERS, BATCH = 2, 16
_NEW_MOUNTS, _PRIVATE, _BIND = 0x20000, 0x44000, 0x1000  # of unshare(2) and mount(2)
_STEP = 0.002  # seconds that each batch is used
_PATIENCE = 60.0  # seconds, for a machine that does much else
Batches = Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
"""Rows, and the sum of the pixels of each."""


@dataclass
class Reader:
    """A child that makes passes until it is stopped; `follow` reads what it reports."""

    pid: int
    ours: bool
    reports: int
    stop: int
    read: bytes = b""

    def follow(self, *kinds: str) -> dict[str, Any]:
        """The next report of one of these kinds: begun, whole, mixed, error, closed."""
        until = time.monotonic() + _PATIENCE
        while True:
            line, found, rest = self.read.partition(b"\n")
            if time.monotonic() > until:
                raise Wrong(f"no {' or '.join(kinds)} in {_PATIENCE:.0f} s")
            if not found:
                if not select.select([self.reports], [], [], max(0, until - time.monotonic()))[0]:
                    continue
                block = os.read(self.reports, 1 << 16)
                if not block:
                    raise Wrong("the reader ended by itself")
                self.read += block
                continue
            self.read = rest
            report: dict[str, Any] = json.loads(line)
            if report["kind"] == "mixed" and (self.ours or "mixed" not in kinds):
                raise Wrong("a pass without an error gave other rows or pixels")
            if report["kind"] in kinds:
                return report

    def close(self) -> dict[str, Any]:
        """Let it end its pass and its loader."""
        os.write(self.stop, b"!")
        report = self.follow("closed")
        self._reap()
        return report

    def end(self) -> None:
        """Kill it where it still runs."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        os.waitpid(self.pid, 0)
        os.close(self.stop)
        os.close(self.reports)
        self.pid = 0

    def family(self) -> list[int]:
        """Its workers and helpers."""
        return descendants(self.pid)


def start(way: str, path: Path, sums: npt.NDArray[np.int64], method: str, shm: Path) -> Reader:
    """A process that reads `path` by `way`; `sums` are those of the pixels, by row.

    Where it may, it has the folder `shm` in place of /dev/shm, so that what it leaves is known.
    """
    import torch

    torch.set_num_threads(1)
    reports, out = os.pipe()
    stopped, stop = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reports)
            os.close(stop)
            signal.alarm(600)  # if all else fails
            _replace_shm(shm)
            _Passes(way, path, sums, method, out, stopped).run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(out)
    os.close(stopped)
    return Reader(child, way in ENGINES, reports, stop)


def has_own_shm(shm: Path) -> bool:
    """Whether a process may get another folder for /dev/shm: root alone, and none inside it."""
    return os.geteuid() == 0 and not shm.is_relative_to("/dev/shm")


def _replace_shm(shm: Path) -> None:
    if not has_own_shm(shm):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for failed in (
        libc.unshare(_NEW_MOUNTS),
        libc.mount(None, b"/", None, _PRIVATE, None),
        libc.mount(os.fsencode(shm), b"/dev/shm", None, _BIND, None),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), "cannot replace /dev/shm")


class _Passes:
    """What the child does."""

    def __init__(
        self, way: str, path: Path, sums: Any, method: str, out: int, stopped: int
    ) -> None:
        self.way, self.path, self.sums, self.method = way, path, sums, method
        self.out, self.stopped = out, stopped
        self.loader: tuple[Callable[[], Batches], Callable[[], None]] | None = None
        self.failed = self.lost = False

    def report(self, kind: str, **more: Any) -> None:
        os.write(self.out, f"{json.dumps({'kind': kind, **more})}\n".encode())

    def run(self) -> None:
        """All passes. Torch raises for a worker anywhere in this thread, also a second time."""
        while True:
            try:
                self.passes()
                return
            except RuntimeError:
                if self.way in ENGINES:
                    raise

    def passes(self) -> None:
        while True:
            try:
                if self.lost or self.loader is None:
                    self.lost = False
                    if self.loader is not None:
                        self.loader[1]()
                    self.loader = self.begin()
                if select.select([self.stopped], [], [], 0)[0]:
                    break
                self.report("whole" if self.once(self.loader[0]) else "mixed")
                self.failed = False
            except Exception as error:
                self.report_error(error)
                self.lost, self.failed = self.failed, True
        self.loader[1]()
        self.loader = None
        self.report("closed")

    def report_error(self, error: Exception) -> None:
        at, ours = time.monotonic(), isinstance(error, LmdbReidError)
        for _ in range(3):  # torch raises for a worker anywhere in this thread, here as well
            with contextlib.suppress(RuntimeError):
                self.report("error", error=type(error).__name__, ours=ours, at=at)
                return

    def once(self, passes: Callable[[], Batches]) -> bool:
        """One pass; whether it had every row with its pixels."""
        rows: list[int] = []
        right = True
        for of_batch, found in passes():
            if not rows:
                pids = [child.pid for child in multiprocessing.active_children()]
                held = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
                self.report("begun", pids=pids, descriptors=held)
            rows += of_batch.tolist()
            right &= bool((self.sums[of_batch] == found).all())
            time.sleep(_STEP)
        return right and sorted(rows) == list(range(len(self.sums)))

    def begin(self) -> tuple[Callable[[], Batches], Callable[[], None]]:
        """A new loader: what makes a pass of it, and what ends it."""
        if self.way in ENGINES:
            from lmdb_reid import ReIDDataset, make_loader

            more: Any = {"start_method": self.method} if self.way == "processes" else {}
            dataset = ReIDDataset(self.path, size=None)
            way: Any = self.way
            ours = make_loader(
                dataset, BATCH, engine=way, num_workers=WORKERS, shuffle=True, **more
            )
            return lambda: ((one.rows.numpy(), _sums(one.images)) for one in ours), ours.close
        from torch.utils.data import DataLoader

        loader: Any = DataLoader(
            _dataset(self.way, self.path),
            batch_size=BATCH,
            num_workers=WORKERS,
            persistent_workers=True,
            shuffle=self.way == "torch",
        )
        loaders = [loader]
        return lambda: ((r.numpy(), _sums(i)) for r, i in iter(loaders[0])), loaders.clear


def _sums(images: Any) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = images.numpy().sum(axis=(1, 2, 3), dtype=np.int64)
    return found


def missing(way: str) -> str:
    """Why a way cannot be tried here; "" where it can."""
    if way == "streaming" and importlib.util.find_spec("streaming") is None:
        return "pip install mosaicml-streaming==0.13.0"
    return ""


def _dataset(way: str, path: Path) -> Any:
    """(row, image) by index."""
    if way == "torch":
        from torch.utils.data import Dataset

        from lmdb_reid import ReIDDataset

        class Numbered(Dataset[Any]):
            def __init__(self) -> None:
                self.crops = ReIDDataset(path)

            def __len__(self) -> int:
                return len(self.crops)

            def __getitem__(self, row: int) -> Any:
                return row, self.crops[row][0]

        return Numbered()
    from benchmarks.peers import streaming as peer
    from lmdb_reid import codec

    class Streamed(peer.StreamingDataset):  # type: ignore[misc, name-defined]
        def __getitem__(self, at: int) -> Any:
            import torch

            found = super().__getitem__(at)
            return found["row"], torch.from_numpy(codec.read_source(found["image"]))

    return Streamed(local=str(path.with_suffix(".mds")), shuffle=True, batch_size=BATCH)


def write_shards(path: Path) -> None:
    """The JPEG files of a store as shards of MosaicML Streaming, beside it."""
    from benchmarks.peers import streaming as peer
    from lmdb_reid import Store

    columns = {"row": "int", "image": "bytes"}
    writer = peer.MDSWriter(out=str(path.with_suffix(".mds")), columns=columns, size_limit="8mb")
    with Store(path) as store, writer as out:
        for row in range(len(store)):
            out.write({"row": row, "image": store.at(row).jpeg})
