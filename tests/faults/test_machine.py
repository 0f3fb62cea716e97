"""Any order of put, commit, kill, resume, seal, overwrite, merge, open, read, fork and verify
gives what a dict of the samples says.

FAULTS_RUNS and FAULTS_STEPS in the environment ask for more than the gate's short runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.errors import StoreChangedError, StoreExistsError, StoreNotFoundError
from lmdb_reid.store import _growing, merge
from tests.faults.child import Ended, in_child, value_of

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
Images = dict[str, bytes]
JPEGS = [codec.encode(np.full((16, 8, 3), 20 * shade, np.uint8)) for shade in range(8)]


def images_of(store: Store) -> Images:
    return {one.id: one.jpeg for one in (store.at(row) for row in range(len(store)))}


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.out, self.partial = self.folder / "s.lmdb", self.folder / "s.lmdb.partial"
        self.sealed: Images | None = None
        self.unfinished: Images | None = None  # what was committed of it
        self.held: tuple[Store, Images] | None = None
        self.turn = 0

    def teardown(self) -> None:
        if self.held:
            self.held[0].close()
        shutil.rmtree(self.folder)

    def work(self, new: Images, end: Callable[[StoreWriter], None]) -> Ended:
        """A child that goes on with the build, or begins one, and ends so."""
        resume = self.unfinished is not None
        overwrite = self.sealed is not None and not resume

        def run() -> None:
            _growing.COMMIT_SECONDS = 1e9
            with StoreWriter(self.out, resume=resume, overwrite=overwrite) as writer:
                for key, jpeg in new.items():
                    writer.put(key, jpeg, {"label": len(key)})
                end(writer)

        return in_child(run)

    def samples(self, numbers: list[int]) -> Images:
        """Under ids that the build does not have."""
        self.turn += 1
        return {f"{n:02d}-{self.turn}": JPEGS[(n + self.turn) % 8] for n in numbers}

    @rule(numbers=st.lists(st.integers(0, 30), unique=True, max_size=6), commit=st.booleans())
    def put_and_be_killed(self, numbers: list[int], commit: bool) -> None:
        def end(writer: StoreWriter) -> None:
            if commit:
                writer.commit()
            os.kill(os.getpid(), signal.SIGKILL)

        new = self.samples(numbers)
        assert self.work(new, end).how == "killed"
        self.unfinished = (self.unfinished or {}) | (new if commit else {})

    @rule(numbers=st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=6))
    def put_and_seal(self, numbers: list[int]) -> None:
        new = self.samples(numbers)
        value_of(self.work(new, lambda _: None))
        self.sealed, self.unfinished = (self.unfinished or {}) | new, None

    @rule(numbers=st.lists(st.integers(0, 30), unique=True, max_size=6))
    def put_and_close(self, numbers: list[int]) -> None:
        value_of(self.work(self.samples(numbers), lambda writer: writer.close()))
        self.unfinished = self.unfinished or {}

    @precondition(lambda self: self.unfinished is not None)
    @rule()
    def discard(self) -> None:
        with StoreWriter(self.out, overwrite=True) as writer:
            writer.put("only", JPEGS[0], {})
        self.sealed, self.unfinished = {"only": JPEGS[0]}, None

    @precondition(lambda self: self.unfinished is not None)
    @rule()
    def begin_without_resume(self) -> None:
        with pytest.raises(StoreExistsError):
            StoreWriter(self.out)

    @rule()
    def open_and_verify(self) -> None:
        if self.held:
            self.held[0].close()
            self.held = None
        if self.sealed is None:
            with pytest.raises(StoreNotFoundError):
                Store(self.out)
            return
        store = Store(self.out)
        self.held = store, self.sealed
        assert images_of(store) == dict(sorted(self.sealed.items()))
        assert store.verify(deep=True).ok
        assert self.partial.exists() == (self.unfinished is not None)

    @precondition(lambda self: self.held is not None)
    @rule(fork=st.booleans())
    def read_what_was_opened(self, fork: bool) -> None:
        assert self.held is not None
        store, wanted = self.held

        def read() -> Images | None:
            try:
                return images_of(store)
            except StoreChangedError:
                return None

        found = value_of(in_child(read)) if fork else read()
        assert found == dict(sorted(wanted.items())) or (
            found is None and wanted is not self.sealed
        )

    @precondition(lambda self: self.sealed is not None)
    @rule()
    def merged(self) -> None:
        assert self.sealed is not None
        other = self.folder / "other.lmdb"
        if not other.exists():
            with StoreWriter(other) as writer:
                writer.put("a", JPEGS[1], {"label": 5})
        path = merge([self.out, other], self.folder / "both.lmdb", overwrite=True)
        with Store(path) as both:
            wanted = {f"s/{key}": jpeg for key, jpeg in self.sealed.items()}
            assert images_of(both) == wanted | {"other/a": JPEGS[1]}


Machine.TestCase.settings = settings(
    max_examples=int(os.environ.get("FAULTS_RUNS", "20")),
    stateful_step_count=int(os.environ.get("FAULTS_STEPS", "6")),
    deadline=None,
    database=None,
    derandomize="FAULTS_RUNS" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase
