"""Blocks of reading: many rows in one transaction, and nothing of them outlives the block."""

from __future__ import annotations

import contextlib
import gc
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from lmdb_reid import Store
from lmdb_reid.errors import StoreClosedError, UnknownRowError, UsageError
from lmdb_reid.store import _handles

Jpegs = Callable[..., bytes]


@pytest.fixture
def survives(
    in_child: Callable[[Callable[[], object]], int], store_path: Path, tmp_path: Path
) -> Callable[[str], list[str]]:
    """Runs a script on a store in a forked process, which must not die; gives its lines."""
    printed_by_child = tmp_path / "printed"
    start = "import gc\nimport numpy as np\nfrom lmdb_reid import Store\nstore = Store(path)\n"

    def run(script: str) -> list[str]:
        def act() -> None:
            with printed_by_child.open("w") as printed, contextlib.redirect_stdout(printed):
                exec(start + textwrap.dedent(script), {"path": store_path, "_handles": _handles})

        assert in_child(act) == 0
        return printed_by_child.read_text().splitlines()

    return run


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda rows: np.array(rows, np.uint8)])
def test_jpegs_and_records_come_in_the_order_of_the_rows(
    kind: Callable[[list[int]], Any], store_path: Path, jpeg: Jpegs
) -> None:
    with Store(store_path).reading() as reading:
        rows = [3, 0, 7, 3]
        assert [bytes(data) for data in reading.jpegs(kind(rows))] == [jpeg(row) for row in rows]
        labels = [msgpack.unpackb(record)["label"] for record in reading.records(kind(rows))]
        assert labels == [row % 3 for row in rows]
        assert reading.jpegs(kind([])) == reading.records(kind([])) == []


def test_records_are_copies_and_stay(store_path: Path) -> None:
    with Store(store_path) as store, store.reading() as reading:
        (record,) = reading.records([4])
    assert type(record) is bytes
    assert msgpack.unpackb(record) == {"label": 1, "kind": 0, "quarter": "Q0"}


@pytest.mark.parametrize("rows", [np.zeros(8, bool), np.zeros(2), np.zeros((1, 1), np.int64)])
def test_rows_that_are_no_numbers_are_refused(rows: Any, store_path: Path) -> None:
    with Store(store_path).reading() as reading:
        for act in (reading.jpegs, reading.records):
            with pytest.raises(UsageError, match=r"rows must be whole numbers.*np\.flatnonzero"):
                act(rows)


@pytest.mark.parametrize("rows", [[8], [0, -1], np.array([1 << 40])])
def test_rows_that_are_not_there_are_refused(rows: Any, store_path: Path) -> None:
    with Store(store_path).reading() as reading:
        for act in (reading.jpegs, reading.records):
            with pytest.raises(UnknownRowError, match="of a store of 8 samples"):
                act(rows)


def test_after_the_block_nothing_is_read_and_what_was_given_is_released(store_path: Path) -> None:
    with Store(store_path) as store:
        with store.reading() as reading:
            (data,) = reading.jpegs([2])
        with pytest.raises(ValueError, match="released"):
            bytes(data)
        for act in (reading.jpegs, reading.records):
            with pytest.raises(StoreClosedError, match="this block of reading is over"):
                act([1])
    gc.collect()
    assert _handles.open_count() == 0


def test_an_error_in_the_block_ends_it_too(store_path: Path) -> None:
    with Store(store_path) as store:
        with pytest.raises(ZeroDivisionError), store.reading() as reading:
            (data,) = reading.jpegs([0])
            raise ZeroDivisionError
        with pytest.raises(ValueError, match="released"):
            bytes(data)
    assert _handles.open_count() == 0


@pytest.mark.parametrize(
    "keep",
    [
        "data[5:50]",
        "data[::2]",
        "data.cast('b')",
        "memoryview(data)",
        "np.frombuffer(data, np.uint8)",
        "np.frombuffer(data, np.uint8)[5:50:3]",
        "[other[3:] for other in reading.jpegs([1, 2])][1]",
    ],
)
def test_what_is_made_of_a_jpeg_and_kept_ends_no_process(
    keep: str, survives: Callable[[str], list[str]]
) -> None:
    lines = survives(f"""
        with store.reading() as reading:
            data = reading.jpegs([0])[0]
            kept = {keep}
            wanted = bytes(kept)
        store.close()
        del store, reading
        gc.collect()
        print(bytes(kept) == wanted, _handles.open_count())
    """)
    assert lines == ["True 1"], "the file stays open for it"


def test_a_block_that_nothing_is_kept_of_holds_no_file_open(
    survives: Callable[[str], list[str]],
) -> None:
    lines = survives("""
        for _ in range(3):
            with store.reading() as reading:
                kept = reading.jpegs(list(range(8)))
                summed = sum(np.frombuffer(data, np.uint8).sum() for data in kept)
        store.close()
        print(summed > 0, _handles.open_count())
    """)
    assert lines == ["True 0"]


def test_a_block_of_a_closed_store_is_refused(store_path: Path) -> None:
    store = Store(store_path)
    store.close()
    with pytest.raises(StoreClosedError, match="is closed"), store.reading():
        pass
