"""Zero-copy views: whatever is kept of them, and wherever, no process dies of it."""

from __future__ import annotations

import contextlib
import gc
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import Store
from lmdb_reid.errors import LmdbReidError, UnknownSampleError, UsageError
from lmdb_reid.store import _handles

Jpegs = Callable[..., bytes]

START = """
import gc, os
import numpy as np
from lmdb_reid import Store
from lmdb_reid.store import _handles

store = Store(path)
"""


@pytest.fixture
def survives(
    in_child: Callable[[Callable[[], object]], int], store_path: Path, tmp_path: Path
) -> Callable[[str], list[str]]:
    """Runs a script on a store in a forked process, which must not die; gives its lines."""
    said = tmp_path / "printed"

    def run(script: str) -> list[str]:
        def act() -> None:
            with said.open("w") as printed, contextlib.redirect_stdout(printed):
                exec(START + textwrap.dedent(script), {"path": store_path})

        assert in_child(act) == 0
        return said.read_text().splitlines()

    return run


def test_a_view_is_the_stored_bytes(store_path: Path, jpeg: Jpegs) -> None:
    with Store(store_path) as store, store.view() as view:
        data = view["f000#002"]
        assert isinstance(data, memoryview)
        assert data.readonly
        assert data.contiguous
        assert (data.format, data.ndim, data.nbytes) == ("B", 1, len(jpeg(2)))
        assert data == jpeg(2)
        assert "f000#002" in view


def test_a_view_is_no_copy(store_path: Path) -> None:
    with Store(store_path) as store, store.view() as view:
        one, other = (np.frombuffer(view["f000#002"], np.uint8) for _ in range(2))
        assert one.ctypes.data == other.ctypes.data
        del one, other


@pytest.mark.parametrize("sample_id", ["", "nobody", "a" * 600, "\ud800", "\0"])
def test_ids_that_are_not_there(sample_id: str, store_path: Path) -> None:
    with Store(store_path) as store, store.view() as view:
        assert sample_id not in view
        with pytest.raises(UnknownSampleError):
            view[sample_id]


def test_an_id_that_is_no_str(store_path: Path) -> None:
    with Store(store_path) as store, store.view() as view, pytest.raises(UsageError):
        view[3]  # type: ignore[index]


def test_after_the_block_the_view_is_over(store_path: Path) -> None:
    with Store(store_path) as store:
        with store.view() as view:
            data = view["f000#000"]
        with pytest.raises(ValueError, match="released"):
            bytes(data)
        with pytest.raises(LmdbReidError):
            view["f000#000"]
        with pytest.raises(LmdbReidError):
            _ = "f000#000" in view


def test_an_error_in_the_block_ends_it_too(store_path: Path) -> None:
    with Store(store_path) as store:
        with pytest.raises(ZeroDivisionError), store.view() as view:
            data = view["f000#000"]
            raise ZeroDivisionError
        with pytest.raises(ValueError, match="released"):
            bytes(data)
    del data
    gc.collect()
    assert _handles.open_count() == 0


@pytest.mark.parametrize(
    "keep",
    [
        "np.frombuffer(data, np.uint8)",
        "np.asarray(data)",
        "np.frombuffer(data, np.uint8)[5:50:3]",
        "np.frombuffer(data, np.uint8).reshape(1, -1)",
        "np.asarray(data[5:50])",
        "data[5:50]",
        "data[::2]",
        "data.cast('b')",
        "memoryview(data)",
        "data.obj",
        "data.obj[3:9]",
        "data.toreadonly()",
        "[view[name] for name in store][3][1:]",
    ],
)
def test_what_is_made_of_a_view_stays_readable(
    keep: str, survives: Callable[[str], list[str]]
) -> None:
    lines = survives(f"""
        with store.view() as view:
            data = view["f000#000"]
            kept = {keep}
            wanted = bytes(kept)
            del data
        assert bytes(kept) == wanted
        store.close()
        gc.collect()
        assert bytes(kept) == wanted
        del store, view
        gc.collect()
        assert bytes(kept) == wanted
        print(_handles.open_count())
        with Store(path) as again:
            assert again.at(0).label == 0
        assert bytes(kept) == wanted
        pid = os.fork()
        if pid == 0:
            ok = bytes(kept) == wanted and Store(path).at(1).label == 1
            os._exit(0 if ok else 1)
        assert os.waitpid(pid, 0)[1] == 0
        del kept
        gc.collect()
        print(_handles.open_count())
    """)
    assert lines == ["1", "0"], "the environment is open while something is held, and then closed"


def test_a_tensor_made_of_a_view_stays_readable(survives: Callable[[str], list[str]]) -> None:
    """torch keeps the memoryview, but not its buffer: releasing it cannot be told from no use."""
    lines = survives("""
        import torch, warnings
        warnings.simplefilter("ignore")  # of a tensor that must not be written
        with store.view() as view:
            kept = torch.frombuffer(view["f000#000"], dtype=torch.uint8)
            wanted = kept.sum().item()
        store.close()
        del store, view
        gc.collect()
        assert kept.sum().item() == wanted
        del kept
        gc.collect()
        print(_handles.open_count())
    """)
    assert lines == ["0"]


def test_plain_views_are_released(survives: Callable[[str], list[str]]) -> None:
    lines = survives("""
        with store.view() as view:
            kept = [view[name] for name in store]
        store.close()
        for data in kept:
            try:
                data[0]
            except ValueError as error:
                print("released" in str(error))
        del kept, data
        print(_handles.open_count())
    """)
    assert lines == ["True"] * 8 + ["0"]


def test_closing_the_store_inside_the_block(survives: Callable[[str], list[str]]) -> None:
    lines = survives("""
        with store.view() as view:
            data = view["f000#000"]
            store.close()
            print(len(bytes(data)) > 0, len(bytes(view["f000#001"])) > 0)
            del data
        print(_handles.open_count())
        with Store(path).reading() as reading:
            store = None
            gc.collect()
            print(len(bytes(reading.jpegs([0])[0])) > 0)
        with (store := Store(path)).reading() as reading:
            data = reading.jpegs([0])[0]
            store.close()
            print(len(bytes(data)) > 0, len(bytes(reading.jpegs([1])[0])) > 0)
    """)
    assert lines == ["True True", "0", "True", "True True"]


def test_views_in_many_blocks_and_stores_at_once(survives: Callable[[str], list[str]]) -> None:
    lines = survives("""
        other = Store(path)
        with store.view() as one, other.view() as two, store.view() as three:
            kept = [np.frombuffer(view["f000#000"], np.uint8) for view in (one, two, three)]
        store.close()
        other.close()
        for _ in range(3):
            print(_handles.open_count(), int(kept.pop()[0]))
        gc.collect()
        print(_handles.open_count())
    """)
    assert lines == ["1 255"] * 3 + ["0"]


def test_a_process_that_ends_with_views_open_ends_well(
    run_python: Callable[..., str], store_path: Path
) -> None:
    script = START + textwrap.dedent("""
        block = store.view()
        view = block.__enter__()
        kept = [view["f000#000"], np.frombuffer(view["f000#001"], np.uint8)]
        kept.append(kept)
    """)
    run_python("import sys; path = sys.argv[1]" + script, store_path)


def test_a_child_that_drops_what_it_inherited(survives: Callable[[str], list[str]]) -> None:
    lines = survives("""
        block = store.view()
        view = block.__enter__()
        data = view["f000#000"]
        array = np.frombuffer(view["f000#001"], np.uint8)
        pid = os.fork()
        if pid == 0:
            block.__exit__(None, None, None)
            del data, view, block
            store.close()
            assert int(array[0]) == 255
            del array
            gc.collect()
            left = _handles.open_count()
            ok = left == 0 and Store(path).at(0).label == 0
            os._exit(0 if ok else 1)
        print(os.waitpid(pid, 0)[1])
        print(bytes(data[:2]).hex(), int(array[0]), store.at(1).label)
    """)
    assert lines == ["0", "ffd8 255 1"]
