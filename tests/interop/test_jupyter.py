"""A Jupyter kernel: interrupted in mid-epoch, restarted and killed while a loader reads."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WHY = "jupyter_client and ipykernel are not installed: `make test-interop` has them"
jupyter = pytest.importorskip("jupyter_client", reason=WHY)
pytest.importorskip("ipykernel", reason=WHY)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of its sockets
]
ENGINES = ["threads", "processes", "dataloader"]
PATIENCE = 60.0  # seconds, for a cell

NEW_LOADER = """
import json, multiprocessing, os, time
from lmdb_reid import ReIDDataset, make_loader

loader = make_loader(
    ReIDDataset({path!r}), 4, shuffle=True, engine={engine!r}, num_workers=2
)
whole = [batch.rows.tolist() for batch in loader]
print(json.dumps([child.pid for child in multiprocessing.active_children()]))
"""
READ_SLOWLY = """
taken = []
loader.set_epoch(0)
for batch in loader:
    taken.append(batch.rows.tolist())
    print("taken", len(taken), flush=True)
    time.sleep(0.2)
"""
READ_AGAIN = """
loader.set_epoch(0)
again = [batch.rows.tolist() for batch in loader]
print(json.dumps([again == whole, len(again), taken == whole[:len(taken)]]))
"""


class Kernel:
    """A kernel and its client."""

    def __init__(self) -> None:
        self.manager = jupyter.KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=os.environ | {"PYTHONWARNINGS": "ignore"})
        self._connect()

    def _connect(self) -> None:
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def start(self, cell: str) -> None:
        """Run a cell, and do not wait."""
        self.client.execute(cell)

    def printed(self, until: str | None = None) -> tuple[str, str]:
        """(what the cell prints to its end, or until it has printed `until`; the error's name)."""
        text, error = "", ""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=PATIENCE)
            kind, content = message["msg_type"], message["content"]
            of_a_cell = message["parent_header"].get("msg_type") == "execute_request"
            if kind == "stream":
                text += content["text"]
                if until is not None and until in text:
                    return text, error
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle" and of_a_cell:
                return text, error
        raise AssertionError(f"the cell did not end within {PATIENCE} s; it printed {text!r}")

    def run(self, cell: str) -> str:
        """What a cell prints; it must end well."""
        self.start(cell)
        text, error = self.printed()
        assert not error, text
        return text

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self._connect()

    def kill(self) -> None:
        self.client.stop_channels()
        self.manager.signal_kernel(9)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    started = Kernel()
    yield started
    started.close()


def lives(pid: int) -> bool:
    """Whether a process is there, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def check_gone(pids: list[int]) -> None:
    ends = time.monotonic() + 30
    while any(map(lives, pids)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert [pid for pid in pids if lives(pid)] == []


def workers_of(printed: str) -> list[int]:
    pids: list[int] = json.loads(printed.splitlines()[-1])
    return pids


def test_a_stopped_cell_leaves_a_loader_that_goes_on(kernel: Kernel, store_path: Path) -> None:
    for engine in ENGINES:
        kernel.run(NEW_LOADER.format(path=str(store_path), engine=engine))
        for _ in range(2):
            kernel.start(READ_SLOWLY)
            kernel.printed(until="taken 3")
            kernel.manager.interrupt_kernel()
            _, error = kernel.printed()
            assert error == "KeyboardInterrupt", engine
            is_the_same, count, began_so = json.loads(kernel.run(READ_AGAIN))
            assert (is_the_same, count, began_so) == (True, 24, True), engine
        kernel.run("loader.close()")


@pytest.mark.parametrize("act", ["restart", "kill"])
def test_a_kernel_that_ends_takes_its_workers_along(
    act: str, kernel: Kernel, store_path: Path
) -> None:
    pids: list[int] = []
    for name, engine in (("a", "processes"), ("b", "dataloader")):
        cell = NEW_LOADER.format(path=str(store_path), engine=engine)
        pids += workers_of(kernel.run(cell + f"\n{name} = loader"))
    pids = sorted({*pids})
    assert len(pids) >= 4 and all(map(lives, pids))
    kernel.start(READ_SLOWLY)
    kernel.printed(until="taken 2")
    getattr(kernel, act)()
    check_gone(pids)
    if act == "restart":
        cell = NEW_LOADER.format(path=str(store_path), engine="processes")
        assert len(workers_of(kernel.run(cell))) == 2
