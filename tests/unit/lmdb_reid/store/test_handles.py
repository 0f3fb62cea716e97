"""The traps of LMDB in Python: one environment for each file and process, and none across forks."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import pytest
import torch
from torch.utils.data import DataLoader

from lmdb_reid import ReIDDataset, Store
from lmdb_reid.errors import StoreChangedError, StoreClosedError, StoreDamagedError
from lmdb_reid.store import _handles

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]
InChild = Callable[[Callable[[], object]], int]


@pytest.fixture(autouse=True)
def all_closed_before_and_after() -> object:
    gc.collect()
    before = _handles.open_count()
    assert before == 0, "an earlier test left an environment open"
    yield
    gc.collect()
    assert _handles.open_count() == 0, "this test left an environment open"


def test_opening_a_store_leaves_lmdb_closed_until_the_first_sample(store_path: Path) -> None:
    store = Store(store_path)
    assert _handles.open_count() == 0
    _ = store.columns["label"], store.ids[3], "f000#000" in store, store.to_pandas()
    assert _handles.open_count() == 0
    store.at(0)
    assert _handles.open_count() == 1
    store.close()
    assert _handles.open_count() == 0


def test_two_stores_over_one_file_share_it(store_path: Path, jpeg: Jpegs) -> None:
    one, other = Store(store_path), Store(store_path)
    assert one.at(0).jpeg == other.at(0).jpeg == jpeg(0)
    assert _handles.open_count() == 1
    one.close()
    assert other.at(1).jpeg == jpeg(1)
    other.close()
    assert _handles.open_count() == 0


def test_stores_of_two_files_are_two(make_store: MakeStore, jpeg: Jpegs) -> None:
    with Store(make_store("a.lmdb")) as one, Store(make_store("b.lmdb", first=50)) as other:
        assert (one.at(0).jpeg, other.at(0).jpeg) == (jpeg(0), jpeg(50))
        assert _handles.open_count() == 2


@pytest.mark.parametrize("road", ["symbolic link", "hard link", "dots"])
def test_one_file_by_two_roads_is_opened_once(road: str, store_path: Path, jpeg: Jpegs) -> None:
    other_path = store_path.parent / "other.lmdb"
    if road == "symbolic link":
        other_path.symlink_to(store_path)
    elif road == "dots":
        other_path = store_path.parent / "nowhere" / ".." / store_path.name
        (store_path.parent / "nowhere").mkdir()
    else:
        for file in [file for file in store_path.rglob("*") if file.is_file()]:
            link = other_path / file.relative_to(store_path)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, link)
    with Store(store_path) as one, Store(other_path) as other:
        assert one.at(0).jpeg == other.at(0).jpeg == jpeg(0)
        assert _handles.open_count() == 1


def test_the_environment_goes_with_the_last_user_also_by_garbage(store_path: Path) -> None:
    one, other = Store(store_path), ReIDDataset(store_path)
    one.at(0)
    assert len(other[0]) == 2
    del one
    gc.collect()
    assert _handles.open_count() == 1
    del other
    gc.collect()
    assert _handles.open_count() == 0


def test_a_store_that_could_not_be_opened_leaves_nothing_open(store_path: Path) -> None:
    (store_path / "manifest.json").write_bytes(b"{}")
    for _ in range(3):
        with pytest.raises(StoreDamagedError):
            Store(store_path)


def test_a_store_that_is_still_there_at_the_end_makes_no_noise(
    store_path: Path, run_python: Callable[..., str]
) -> None:
    run_python(
        "import sys; from lmdb_reid import Store; a = Store(sys.argv[1]); a.at(0); b = [a];"
        " b.append(b)",
        store_path,
    )


# -- threads


def test_threads_share_a_store(store_path: Path, jpeg: Jpegs) -> None:
    store = Store(store_path)

    def read(at: int) -> bool:
        row = at * 7 % 8
        sample = store.at(row)
        with store.view() as view:
            return sample.jpeg == bytes(view[sample.id]) == jpeg(row)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(400)))
    store.close()


def test_threads_open_and_close_one_file(store_path: Path, jpeg: Jpegs) -> None:
    def read(at: int) -> bool:
        with Store(store_path) as store:
            return store.at(at % 8).jpeg == jpeg(at % 8)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))


def test_closing_while_others_read_is_an_error_and_no_crash(
    store_path: Path, in_child: InChild
) -> None:
    def contend() -> None:
        for _ in range(30):
            store = Store(store_path)
            start = threading.Barrier(5)

            def read(store: Store = store, start: threading.Barrier = start) -> None:
                start.wait()
                with pytest.raises(StoreClosedError):
                    for row in range(10_000_000):  # closed long before its end
                        store.at(row % 8)

            with ThreadPoolExecutor(4) as pool:
                reading = [pool.submit(read) for _ in range(4)]
                start.wait()
                store.close()
                for one in reading:
                    one.result()
        assert _handles.open_count() == 0

    assert in_child(contend) == 0


# -- forks


def test_a_forked_child_reads_after_its_parent_did(
    store_path: Path, jpeg: Jpegs, in_child: InChild
) -> None:
    store, other = Store(store_path), Store(store_path)
    store.at(0)

    def read() -> None:
        assert _handles.open_count() == 0, "an environment came through the fork"
        for opened in (store, other, Store(store_path)):
            assert [opened.at(row).jpeg for row in range(8)] == [jpeg(row) for row in range(8)]
        assert _handles.open_count() == 1
        assert in_child(lambda: store.at(3)) == 0  # and its own child
        store.close()
        other.close()

    assert in_child(read) == 0
    assert store.at(5).jpeg == jpeg(5)
    assert in_child(read) == 0
    store.close()
    other.close()


def test_a_child_that_ends_with_the_parents_view_open_ends_well(
    store_path: Path, jpeg: Jpegs, in_child: InChild
) -> None:
    with Store(store_path) as store, store.view() as view:
        held = view["f000#002"]

        def read() -> None:
            assert bytes(held) == jpeg(2)  # noqa: F821  # deleted below, after the call
            assert bytes(view["f000#003"]) == jpeg(3)
            assert store.at(4).jpeg == jpeg(4)
            with Store(store_path) as another:
                assert another.at(5).jpeg == jpeg(5)
            store.close()
            assert bytes(held) == jpeg(2)  # noqa: F821  # deleted below, after the call

        assert in_child(read) == 0
        assert bytes(held) == jpeg(2)  # deleted below, after the call
        del held


def test_a_child_forked_while_another_thread_opens_and_reads(
    store_path: Path, jpeg: Jpegs, in_child: InChild
) -> None:
    stop = threading.Event()

    def keep_reading() -> None:
        while not stop.is_set():
            with Store(store_path) as store:
                store.at(0)

    thread = threading.Thread(target=keep_reading)
    thread.start()
    try:
        shared = Store(store_path)
        for _ in range(20):
            assert in_child(lambda: shared.at(1).jpeg == jpeg(1) or 1 / 0) == 0
    finally:
        stop.set()
        thread.join()


def test_a_child_forked_inside_an_engines_block_keeps_what_it_was_given(
    store_path: Path, jpeg: Jpegs, in_child: InChild
) -> None:
    with Store(store_path) as store, store.reading() as reading:
        held = reading.jpegs([2])[0]

        def read() -> None:
            assert bytes(held) == jpeg(2)  # noqa: F821  # deleted below, after the call
            assert store.at(3).jpeg == jpeg(3)

        assert in_child(read) == 0
        assert bytes(held) == jpeg(2)  # deleted below, after the call
        del held


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_torchs_loader_after_the_parent_has_read(method: str, store_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    one, other = ReIDDataset(store_path), ReIDDataset(store_path, rows=[7, 0])
    first = one[0][0]
    assert torch.equal(other[1][0], first)
    loader = DataLoader(
        one,
        batch_size=3,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    images, labels = zip(*loader, strict=True)
    assert torch.equal(torch.cat(labels), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]))
    assert torch.equal(torch.cat(images), torch.stack([one[row][0] for row in range(8)]))
    assert torch.equal(other[1][0], first)
    del loader, one, other
    gc.collect()


def test_the_plain_way_fails_so_these_tests_are_about_something(store_path: Path) -> None:
    """What a reader without a table of environments runs into."""
    data = str(store_path / "data.mdb")
    with lmdb.open(data, subdir=False, readonly=True, lock=False):
        with pytest.raises(lmdb.Error, match="already open"):
            lmdb.open(data, subdir=False, readonly=True, lock=False)


# -- pickles


def test_pickles_are_small_and_carry_no_environment(store_path: Path, jpeg: Jpegs) -> None:
    store = Store(store_path)
    store.at(0)
    kept = pickle.dumps(store)
    assert len(kept) < 1000
    again = pickle.loads(kept)
    assert again.at(1).jpeg == jpeg(1)
    again.close()
    store.close()


def test_a_pickled_dataset_is_its_rows_and_little_else(store_path: Path) -> None:
    plain = ReIDDataset(store_path, labels="relabel", size=(16, 8), fast_dct=True)
    assert len(plain[0]) == 2
    assert plain.labels.any()
    assert len(pickle.dumps(plain)) < 1000
    rows = [row % 8 for row in range(1000)]
    chosen = ReIDDataset(store_path, rows=rows)
    assert chosen.labels.any()
    assert len(pickle.dumps(chosen)) < 1000 + 8 * len(rows)
    again = pickle.loads(pickle.dumps(chosen))
    assert again.rows.tolist() == rows
    assert torch.equal(again[5][0], chosen[5][0])


def test_a_pickled_dataset_of_a_replaced_store_is_refused(make_store: MakeStore) -> None:
    kept = pickle.dumps(ReIDDataset(make_store()))
    make_store(first=20, overwrite=True)
    with pytest.raises(StoreChangedError):
        pickle.loads(kept)
