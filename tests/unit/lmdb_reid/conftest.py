"""Small pictures and stores, made where a test needs them."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest

from lmdb_reid import StoreWriter, codec

Pixels = npt.NDArray[np.uint8]


def _picture(seed: int = 0, size: tuple[int, int] = (32, 16)) -> Pixels:
    """Blocks of 4x4 pixels in random colours: JPEG keeps them, and no two seeds look alike."""
    height, width = size
    blocks = (-(-height // 4), -(-width // 4), 3)
    colours = np.random.default_rng(seed).integers(0, 256, blocks, np.uint8)
    return np.ascontiguousarray(colours.repeat(4, 0).repeat(4, 1)[:height, :width])


@functools.cache
def _jpeg(seed: int = 0, size: tuple[int, int] = (32, 16)) -> bytes:
    return codec.encode(_picture(seed, size))


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """pytest's folder, but in memory where there is room: a store syncs its files some ten times
    before it is sealed, and hundreds of stores would wait for the disk for minutes.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 1 << 28:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Pixels]:
    return _picture


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    return _jpeg


class MakeStore(Protocol):
    def __call__(
        self,
        name: str = "store.lmdb",
        count: int = 8,
        *,
        first: int = 0,
        size: tuple[int, int] = (32, 16),
        fields: Mapping[str, Any] = ...,
        **arguments: Any,
    ) -> Path: ...


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Seals a store of `count` samples, four to a frame: picture i has seed first + i, label i % 3
    and field quarter "Q0" or "Q1".
    """

    def make(
        name: str = "store.lmdb",
        count: int = 8,
        *,
        first: int = 0,
        size: tuple[int, int] = (32, 16),
        fields: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Path:
        with StoreWriter(tmp_path / name, **arguments) as writer:
            for i in range(count):
                record = {"label": i % 3, "quarter": f"Q{i % 2}", **(fields or {})}
                writer.put(f"f{i // 4:03d}#{i % 4:03d}", _jpeg(first + i, size), record)
            return writer.seal()

    return make


@pytest.fixture
def store_path(make_store: MakeStore) -> Path:
    """A sealed store of eight samples."""
    return make_store()


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Runs a script in a process of its own and gives what it printed. A script that is killed by
    a signal, fails, or writes to stderr fails the test.
    """

    def run(script: str, *arguments: object, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | environment,
        )
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        assert done.stderr == ""
        return done.stdout

    return run


@pytest.fixture(scope="session")
def in_child() -> Callable[[Callable[[], object]], int]:
    """Runs a function in a forked child; returns its exit status: 0 if it returned, 1 if it raised,
    minus the number of a signal that killed it. One that hangs is killed after a minute.
    """

    def run(act: Callable[[], object]) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
            pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.alarm(60)  # of which it dies, rather than hang
                act()
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return run
