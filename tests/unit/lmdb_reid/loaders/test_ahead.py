"""A generator that a thread runs ahead of its consumer, and loaders that send so."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lmdb_reid import Loader, ReIDDataset, make_loader
from lmdb_reid.errors import LoaderClosedError, UsageError
from lmdb_reid.loaders import _device
from lmdb_reid.loaders._ahead import run_ahead
from lmdb_reid.loaders._stream import side_stream
from tests.streams import StandIn

MakeLoader = Callable[..., Loader]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert eventually(lambda: set(threading.enumerate()) <= before)


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while not holds() and time.monotonic() < until:
        time.sleep(0.001)
    return holds()


class Source:
    """Counts up to a number, then ends or raises; says what was done to it, and where."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.count = count
        self.error = error
        self.made = 0
        self.is_closed = False
        self.threads: list[str] = []

    def items(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                self.threads.append(threading.current_thread().name)
                self.made += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.is_closed = True


@pytest.mark.parametrize("count", [0, 1, 2, 50])
@pytest.mark.parametrize("ahead", [1, 3])
def test_all_come_in_their_order(count: int, ahead: int) -> None:
    source = Source(count)
    assert list(run_ahead(source.items(), ahead, name="ahead")) == list(range(count))
    assert source.is_closed
    here = threading.current_thread().name
    assert source.threads == [here, *["ahead"] * (count - 1)][:count]


def test_so_many_are_made_ahead_and_no_more() -> None:
    source = Source(50)
    running = run_ahead(source.items(), 3, name="ahead")
    for number in range(5):
        assert next(running) == number
        assert eventually(lambda wanted=number + 4: source.made == wanted)  # type: ignore[misc]
        time.sleep(0.01)
        assert source.made == number + 4
    running.close()
    assert source.is_closed


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("error", [UsageError("no"), KeyboardInterrupt(), ValueError("bad")])
def test_errors_come_in_their_place_as_they_are(count: int, error: BaseException) -> None:
    running = run_ahead(Source(count, error).items(), 2, name="ahead")
    assert [next(running) for _ in range(count)] == list(range(count))
    with pytest.raises(type(error)) as found:
        next(running)
    assert found.value is error
    with pytest.raises(StopIteration):
        next(running)


def test_one_that_is_dropped_ends_at_once_and_keeps_nothing() -> None:
    source = Source(50)
    running = run_ahead(source.items(), 2, name="ahead")
    next(running)
    gc.disable()
    try:
        del running
        assert source.is_closed
        assert "ahead" not in [thread.name for thread in threading.enumerate()]
    finally:
        gc.enable()


def test_it_may_be_dropped_in_its_own_thread() -> None:
    """As the collector of cycles does it, wherever it happens to run."""
    held: list[Any] = []
    dropped = threading.Event()

    def items() -> Generator[int, None, None]:
        yield 0
        while not held:
            time.sleep(0.001)
        held.pop()
        dropped.set()
        yield 1

    running = run_ahead(items(), 2, name="ahead")
    next(running)
    held.append(running)
    del running
    assert dropped.wait(30)
    assert eventually(lambda: "ahead" not in [thread.name for thread in threading.enumerate()])


def test_items_that_were_taken_are_let_go() -> None:
    class Big:
        pass

    made: weakref.WeakSet[Big] = weakref.WeakSet()

    def items() -> Generator[Big, None, None]:
        for _ in range(3):
            big = Big()
            made.add(big)
            yield big
            del big

    running = run_ahead(items(), 1, name="ahead")
    for _ in range(3):
        next(running)
    assert eventually(lambda: len(made) == 1)  # the one that was handed out last
    running.close()
    assert not len(made)


WAITING_IN_CXX = """
import threading, time
from lmdb_reid.loaders._ahead import run_ahead
from tests.streams import StandIn

def items():
    yield 0
    try:
        while True:
            time.sleep(0.01)
            yield 1
    finally:
        print("closed", flush=True)

running = run_ahead(items(), 2, name="ahead")
next(running)
"""


def test_the_end_of_the_interpreter_ends_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WAITING_IN_CXX],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


# -- loaders that send batches ahead, with a stand-in for the GPU's stream


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeLoader]:
    monkeypatch.setattr(_device, "side_stream", lambda _: StandIn())
    made: list[Loader] = []

    def make(*args: Any, **kw: Any) -> Loader:
        made.append(make_loader(*args, **{"num_workers": 2, "start_method": "fork"} | kw))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def test_a_state_holds_what_was_taken_not_what_was_sent(
    dataset: ReIDDataset, sending: MakeLoader
) -> None:
    loader = sending(dataset, 4, shuffle=True)
    for step, _ in enumerate(loader, 1):
        assert eventually(lambda: loader._transfer.ready() == min(2, 16 - step))  # noqa: B023
        state = loader.state_dict()
        assert state["samples"] == (4 * step if step < 16 else 0)
        if step == 6:
            break
    rest = [batch.rows for batch in _resumed(sending(dataset, 4, shuffle=True), state)]
    whole = [batch.rows for batch in sending(dataset, 4, shuffle=True)]
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[6:], strict=True))


def _resumed(loader: Loader, state: dict[str, Any]) -> Loader:
    loader.load_state_dict(state)
    return loader


def test_the_augmented_batches_are_the_same(dataset: ReIDDataset, sending: MakeLoader) -> None:
    words: dict[str, Any] = {"shuffle": True, "augment": "bot", "normalize": "imagenet"}
    with make_loader(dataset, 10, num_workers=0, **words) as here:
        for engine in ("threads", "processes"):
            there = sending(dataset, 10, engine=engine, **words)
            here.set_epoch(0)
            for _ in range(2):
                for one, other in zip(there, here, strict=True):
                    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_transform_runs_where_batches_are_sent(
    dataset: ReIDDataset, sending: MakeLoader
) -> None:
    seen: list[str] = []

    def note(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(threading.current_thread().name)
        return images.flip(0)

    batches = list(sending(dataset, 16, batch_transform=note))
    assert seen == [threading.current_thread().name, *["lmdb_reid-send"] * 3]
    assert len(batches) == 4


def wrong(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if threading.current_thread().name == "lmdb_reid-send":
        return images[1:]
    return images


def test_an_error_of_a_batch_transform_comes_out_of_next(
    dataset: ReIDDataset, sending: MakeLoader
) -> None:
    running = iter(sending(dataset, 16, batch_transform=wrong))
    next(running)
    with pytest.raises(UsageError, match="must keep the batch's images"):
        next(running)
    with pytest.raises(LoaderClosedError, match="it failed with UsageError"):
        next(running)


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
@pytest.mark.parametrize("taken", [1, 3])
def test_a_loader_that_is_closed_in_mid_pass_says_so(
    engine: str, taken: int, dataset: ReIDDataset, sending: MakeLoader
) -> None:
    loader = sending(dataset, 4, engine=engine)
    running = iter(loader)
    for _ in range(taken):
        next(running)
    loader.close()
    with pytest.raises(LoaderClosedError, match="its loader was closed"):
        next(running)


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_passes_that_are_left_early_follow_each_other(
    engine: str, dataset: ReIDDataset, sending: MakeLoader
) -> None:
    loader = sending(dataset, 4, engine=engine, shuffle=True)
    with make_loader(dataset, 4, num_workers=0, shuffle=True) as here:
        for _ in range(4):
            one, other = next(iter(loader)), next(iter(here))
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_reader_that_waits_is_ended_by_close(path64: Path, sending: MakeLoader) -> None:
    release = threading.Event()

    def slow(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        release.wait(30)
        return image

    loader = sending(ReIDDataset(path64, transform=slow), 8, engine="threads")
    found: list[BaseException] = []

    def read() -> None:
        try:
            list(loader)
        except BaseException as error:
            found.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    closer = threading.Thread(target=loader.close)
    closer.start()
    time.sleep(0.05)
    release.set()
    reader.join(30)
    closer.join(30)
    assert [type(error) for error in found] == [LoaderClosedError]


def test_a_forked_child_has_a_pass_of_its_own(dataset: ReIDDataset, sending: MakeLoader) -> None:
    loader = sending(dataset, 8)
    running = iter(loader)
    first = next(running)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 2
        try:
            with pytest.raises(LoaderClosedError, match="before a fork"):
                next(running)
            del running
            rows = [row for batch in loader for row in batch.rows.tolist()]
            status = 0 if rows == list(range(64)) else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert [*first.rows.tolist(), *[r for b in running for r in b.rows.tolist()]] == list(range(64))


def test_a_stream_is_made_again_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.device] = []

    class Stream:
        def __init__(self, device: torch.device, priority: int) -> None:
            made.append(device)
            self.device = torch.device(device.type, device.index or 0)

        def __reduce__(self) -> Any:
            raise AssertionError("a stream is its process's alone")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    pickle.loads(pickle.dumps(side_stream(torch.device("cuda:1"))))
    assert made == [torch.device("cuda:1")] * 2
    assert side_stream(torch.device("cpu")) is None


def test_batches_are_freed_by_the_thread_that_sends(
    dataset: ReIDDataset, sending: MakeLoader
) -> None:
    """To free a tensor of a GPU lets go of the interpreter's lock: no work for `next`."""
    freed: list[str] = []

    def note() -> None:
        freed.append(threading.current_thread().name)

    running = iter(sending(dataset, 4, dtype=torch.float32))
    for step in range(12):
        batch = next(running)
        weakref.finalize(batch.images, note)
        del batch
        assert eventually(lambda: len(freed) >= step - 2)  # noqa: B023
    assert set(freed) == {"lmdb_reid-send"}
    running.end("the test is over")


def test_another_stream_of_the_consumers_is_noted(
    dataset: ReIDDataset, sending: MakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    monkeypatch.setattr(
        _device.Batch, "record_stream", lambda self, stream: noted.append(str(stream))
    )
    batches = iter(sending(dataset, 32))
    next(batches)
    assert eventually(lambda: noted == ["0", "0"])
    monkeypatch.setattr(StandIn, "consumers_number", lambda self: 1)
    next(batches)
    assert noted == ["0", "0", "1"]
