"""What `iter(loader)` gives, and what ends it."""

from __future__ import annotations

import gc
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid import Batch, Loader, ReIDDataset, make_loader
from lmdb_reid.errors import LoaderClosedError, UsageError
from lmdb_reid.sampling import Shuffled

MakeLoader = Callable[..., Loader]
COUNT = 64


def flat(batches: Iterable[Batch]) -> list[int]:
    return [row for batch in batches for row in batch.rows.tolist()]


def epoch_of(seed: int, epoch: int) -> list[int]:
    return Shuffled(COUNT, seed).positions(epoch).tolist()


# -- which epoch


def test_a_pass_that_gave_a_batch_is_followed_by_the_next_epoch(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 16, shuffle=True)
    assert next(iter(batches)).rows.tolist() == epoch_of(0, 0)[:16], "one of four batches"
    assert next(iter(batches)).rows.tolist() == epoch_of(0, 1)[:16]
    assert flat(batches) == epoch_of(0, 2), "all of them"
    assert flat(batches) == epoch_of(0, 3)


def test_a_pass_that_gave_none_does_not_count(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, 16, shuffle=True)
    for _ in range(3):
        iter(batches)
    assert batches.epoch == 0
    assert flat(batches) == epoch_of(0, 0)


def test_the_epoch_is_the_one_being_read(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, 32)
    assert batches.epoch == 0
    running = iter(batches)
    assert batches.epoch == 0
    next(running)
    assert batches.epoch == 0
    next(running)
    assert batches.epoch == 1, "that was the last batch"
    assert list(running) == []
    assert batches.epoch == 1


def test_set_epoch_says_otherwise(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, 16, shuffle=True)
    next(iter(batches))
    for epoch in (0, 0, 9, 2):
        batches.set_epoch(epoch)
        assert batches.epoch == epoch
        assert flat(batches) == epoch_of(0, epoch)
    with pytest.raises(UsageError, match="epoch must be a whole number, at least 0, got -1"):
        batches.set_epoch(-1)


def test_set_epoch_of_the_epoch_that_is_being_read_changes_nothing(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 16, shuffle=True)
    running = iter(batches)
    found = next(running).rows.tolist()
    batches.set_epoch(0)  # as a trainer says it, who begins passes before it counts them
    assert found + flat(running) == epoch_of(0, 0)


def test_a_pass_decides_at_its_first_batch_what_it_reads(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 16, shuffle=True)
    begun = iter(batches)
    batches.set_epoch(4)
    assert flat(begun) == epoch_of(0, 4)


def test_batch_sampler_is_where_lightning_sets_the_epoch(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 16, shuffle=True)
    batches.batch_sampler.sampler.set_epoch(6)
    assert flat(batches) == epoch_of(0, 6)


# -- what ends a pass


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (iter, "a newer pass of its loader began"),
        (list, "a newer pass of its loader began"),
        (lambda batches: batches.set_epoch(3), r"set_epoch\(3\) was called"),
        (lambda batches: batches.load_state_dict(batches.state_dict()), "a state was loaded"),
        (lambda batches: batches.close(), "its loader was closed"),
    ],
    ids=["iter", "a whole pass", "set_epoch", "a state", "close"],
)
@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_an_ended_pass_raises_and_never_just_stops(
    engine: str,
    act: Callable[[Loader], Any],
    why: str,
    dataset: ReIDDataset,
    loader: MakeLoader,
) -> None:
    batches = loader(dataset, 8, engine=engine, num_workers=1)
    old = iter(batches)
    next(old)
    kept = act(batches)
    for _ in range(2):
        with pytest.raises(LoaderClosedError, match=f"this pass is over: {why}"):
            next(old)
    del kept


def test_a_loop_whose_body_ends_its_pass_does_not_end_in_silence(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches, seen = loader(dataset, 8), 0
    with pytest.raises(LoaderClosedError, match="a newer pass"):
        for _ in batches:
            seen += 1
            next(iter(batches))  # a look at a batch, in the wrong place
    assert seen == 1


def test_a_pass_that_was_read_to_its_end_stays_there(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 32)
    done = iter(batches)
    assert len(list(done)) == 2
    for act in (lambda: None, lambda: list(batches), lambda: batches.set_epoch(9), batches.close):
        act()
        assert list(done) == []


def fails(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    raise ZeroDivisionError("a mistake of the caller's")


def test_a_pass_that_failed_says_so_when_it_is_asked_again(path64: Any, loader: MakeLoader) -> None:
    batches = loader(ReIDDataset(path64, transform=fails), 8)
    running = iter(batches)
    with pytest.raises(ZeroDivisionError):
        next(running)
    with pytest.raises(LoaderClosedError, match="it failed with ZeroDivisionError"):
        next(running)


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_a_pass_that_is_dropped_ends_without_the_cycle_collector(
    engine: str, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 4, engine=engine, num_workers=1)
    running = iter(batches)
    next(running)
    dropped = weakref.ref(running)
    gc.disable()
    try:
        del running
        assert dropped() is None
    finally:
        gc.enable()


def test_a_loader_is_closed_once_and_for_all(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, 16)
    unbegun = iter(batches)
    batches.close()
    batches.close()
    state = loader(dataset, 16).state_dict()
    uses: list[Callable[[Loader], Any]] = [
        iter,
        list,
        lambda closed: closed.plan(),
        lambda closed: closed.set_epoch(1),
        lambda closed: closed.load_state_dict(state),
    ]
    for use in uses:
        with pytest.raises(LoaderClosedError, match="this loader was closed"):
            use(batches)
    with pytest.raises(LoaderClosedError, match="its loader was closed"):
        next(unbegun)
    assert repr(batches).startswith("Loader(ReIDDataset(")
    assert "closed" in repr(batches)
    assert batches.stats()["batches"] == 0


# -- who reads it


class Gate:
    """Crops whose reading waits until it may go on."""

    size = (8, 4)

    def __init__(self) -> None:
        self.entered, self.may_go = threading.Event(), threading.Event()

    def __len__(self) -> int:
        return 4

    def read(self, positions: Any, out: Any, damaged: list[int] | None = None) -> None:
        self.entered.set()
        assert self.may_go.wait(30)
        out[:] = 7

    def names(self, positions: Any) -> list[str]:
        return [str(position) for position in positions]

    def column(self, name: str) -> None:
        return None


def test_a_pass_is_read_by_one_thread_at_a_time(loader: MakeLoader) -> None:
    gate = Gate()
    running = iter(loader(gate, 2))
    found: list[Batch] = []
    reader = threading.Thread(target=lambda: found.append(next(running)))
    reader.start()
    assert gate.entered.wait(30)
    with pytest.raises(UsageError, match="one pass must be read by one thread at a time"):
        next(running)
    gate.may_go.set()
    reader.join(30)
    assert [batch.rows.tolist() for batch in [*found, *running]] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("act", [iter, lambda batches: batches.set_epoch(5)], ids=["iter", "epoch"])
@pytest.mark.parametrize("engine", ["threads", "dataloader"])
def test_a_newer_pass_waits_for_the_batch_that_another_thread_asks_for(
    engine: str, act: Callable[[Loader], Any], loader: MakeLoader
) -> None:
    gate = Gate()
    kept: list[Any] = []
    batches = loader(gate, 2, engine=engine, num_workers=int(engine == "threads"))
    old = iter(batches)
    found: list[Batch] = []
    reader = threading.Thread(target=lambda: found.append(next(old)))
    reader.start()
    assert gate.entered.wait(30)
    other = threading.Thread(target=lambda: kept.append(act(batches)))
    other.start()
    other.join(0.1)
    assert other.is_alive(), "an engine has one consumer"
    gate.may_go.set()
    reader.join(30)
    other.join(30)
    assert [batch.rows.tolist() for batch in found] == [[0, 1]], "the one that was asked for"
    with pytest.raises(LoaderClosedError, match="this pass is over"):
        next(old)
    kept.clear()
    assert flat(batches) == [0, 1, 2, 3]


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_threads_that_loop_over_one_loader_end_each_others_passes(
    engine: str, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 4, engine=engine, num_workers=1)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in batches:
                pass
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert not any(reader.is_alive() for reader in readers)
    assert all(isinstance(error, LoaderClosedError) for error in failures), failures
    assert flat(batches) == list(range(COUNT)), "the loader still works"


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_a_reader_whose_loader_another_thread_closes_gets_our_error(
    engine: str, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 2, engine=engine, num_workers=1)
    failures: list[BaseException] = []
    begun = threading.Event()

    def read() -> None:
        try:
            while True:
                for _ in batches:
                    begun.set()
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert begun.wait(20)
    batches.close()
    reader.join(20)
    assert [type(error) for error in failures] == [LoaderClosedError]


def test_all_threads_work_on_the_first_batch(path64: Path, loader: MakeLoader) -> None:
    """Nothing else is of use before it is there."""
    both = threading.Barrier(2, timeout=30)

    def meets(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if int(image.long().sum()) in halves:
            both.wait()
        return image

    sums = [int(image.long().sum()) for image, _ in ReIDDataset(path64)]
    halves = {sums[0], sums[32]}  # where those of two threads begin
    assert sum(one in halves for one in sums) == 2
    batches = loader(ReIDDataset(path64, transform=meets), 64, engine="threads", num_workers=2)
    assert len(next(iter(batches)).rows) == 64


def test_one_thread_after_another_may_read_it(dataset: ReIDDataset, loader: MakeLoader) -> None:
    running = iter(loader(dataset, 16, engine="threads", num_workers=2))
    found: list[int] = []
    for _ in range(4):
        reader = threading.Thread(target=lambda: found.extend(next(running).rows.tolist()))
        reader.start()
        reader.join()
    assert found == list(range(COUNT))


@pytest.mark.parametrize("begun", [False, True])
def test_a_pass_of_the_parents_is_refused_in_a_forked_child(
    begun: bool, dataset: ReIDDataset, loader: MakeLoader, in_child: Callable[..., int]
) -> None:
    batches = loader(dataset, 16)
    running = iter(batches)
    if begun:
        next(running)

    def refused() -> None:
        with pytest.raises(LoaderClosedError, match="in another process, before a fork"):
            next(running)
        assert flat(batches) == list(range(COUNT)), "the loader works, with a pass of its own"

    parent = os.getpid()
    assert in_child(refused) == 0
    assert os.getpid() == parent
    assert flat(running) == list(range(16 if begun else 0, COUNT)), "the parent goes on"


@pytest.mark.parametrize("persistent", [True, False])
def test_a_forked_child_leaves_the_workers_of_torchs_loader_to_its_parent(
    persistent: bool, dataset: ReIDDataset, loader: MakeLoader, in_child: Callable[..., int]
) -> None:
    batches = loader(dataset, 4, engine="dataloader", num_workers=1, persistent_workers=persistent)
    running = iter(batches)
    next(running)

    def new_pass_and_close() -> None:
        assert flat(batches) == list(range(COUNT))
        batches.close()
        gc.collect()

    assert in_child(new_pass_and_close) == 0
    assert flat(running) == list(range(4, COUNT)), "the parent goes on"


def test_a_fork_server_is_not_for_forked_children(
    dataset: ReIDDataset, loader: MakeLoader, in_child: Callable[..., int]
) -> None:
    batches = loader(dataset, 16, engine="processes", num_workers=1, start_method="forkserver")
    assert flat(batches) == list(range(COUNT))

    def refused() -> None:
        with pytest.raises(UsageError, match="Use start_method='spawn' or 'fork'"):
            next(iter(batches))

    assert in_child(refused) == 0
    assert flat(batches) == list(range(COUNT))


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_a_loader_that_has_not_begun_can_be_sent_to_another_process(
    engine: str, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 16, engine=engine, num_workers=1, shuffle=True)
    with pickle.loads(pickle.dumps(batches)) as copy:
        assert flat(copy) == epoch_of(0, 0)


# -- how many


class Undrawable:
    """A sampler that knows its length, and whose order nobody may ask for."""

    batch_size = None

    def __len__(self) -> int:
        return 50

    def positions(self, epoch: int) -> Any:
        raise AssertionError("it was drawn")


def test_the_length_draws_nothing(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, 16, sampler=Undrawable())
    assert len(batches) == 4
    assert batches.plan().samples == 50
    batches.set_epoch(3)
    assert (len(batches), len(loader(dataset, 16, sampler=Undrawable(), drop_last=True))) == (4, 3)
    running = iter(batches)
    with pytest.raises(AssertionError, match="it was drawn"):
        next(running)


def test_an_epochs_order_is_drawn_once(dataset: ReIDDataset, loader: MakeLoader) -> None:
    drawn: list[int] = []

    class Counted:
        batch_size = None

        def __len__(self) -> int:
            return COUNT

        def positions(self, epoch: int) -> Any:
            drawn.append(epoch)
            return np.arange(COUNT)

    batches = loader(dataset, 8, sampler=Counted())
    assert len(batches) == 8
    batches.load_state_dict(batches.state_dict())
    assert len(list(batches)) == len(batches)
    assert drawn == [0]


def test_no_memory_for_a_batch_is_raised(
    dataset: ReIDDataset, loader: MakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError("no page-locked memory")

    monkeypatch.setattr("lmdb_reid.loaders._ring.Ring.lend", full)
    with pytest.raises(MemoryError, match="page-locked"):
        list(loader(dataset, engine="threads", num_workers=2))


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
@pytest.mark.parametrize("reads", [list, lambda batches: next(iter(batches))], ids=["all", "one"])
def test_a_loader_and_its_store_go_when_nobody_needs_them(
    engine: str, reads: Callable[[Loader], Any], path64: Path
) -> None:
    gc.collect()
    gc.disable()  # or stores stay open, and workers alive, for as long as a cycle does
    try:
        dataset = ReIDDataset(path64)
        named: Any = engine
        batches = make_loader(dataset, 10, engine=named, num_workers=1, start_method="fork")
        reads(batches)
        gone = weakref.ref(batches), weakref.ref(dataset.store)
        decoders = [t for t in threading.enumerate() if t.name.startswith("lmdb_reid-decode")]
        del batches, dataset
        for thread in decoders:  # which may be at its last samples
            thread.join(30)
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


def test_torchs_loader_begins_anew_after_an_interrupt_inside_it(
    dataset: ReIDDataset, loader: MakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here between what a new pass asks of its workers and their answer."""
    batches = loader(dataset, 4, engine="dataloader", num_workers=1)
    wanted = flat(batches)

    def cut(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        inner = torch.utils.data.dataloader._MultiProcessingDataLoaderIter
        patch.setattr(inner, "_get_data", cut)
        with pytest.raises(KeyboardInterrupt):
            flat(batches)
    for _ in range(2):
        assert flat(batches) == wanted
