"""Perceptual hashes of a store's crops: its column, or a file beside it."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from builders.derived import PHash
from lmdb_reid import _disk, codec
from lmdb_reid._regular import read_limited
from lmdb_reid.errors import WriteError
from lmdb_reid.machine import available_cores
from lmdb_reid.progress import Progress
from lmdb_reid.schema import Rows
from lmdb_reid.store import Store
from training.splits._facts import HASH_COLUMN

Hashes = npt.NDArray[np.int64]

_AT_A_TIME = 256
_BYTES = 8


def stored_hashes(store: Store) -> Hashes | None:
    """The perceptual hashes of a store, int64 [N]: its column phash, or those that `make_hashes`
    kept; None where there are neither.
    """
    if HASH_COLUMN in store.columns:
        return store.columns[HASH_COLUMN]
    try:
        data = read_limited(hashes_file(store), _BYTES * len(store) + 4)
    except (OSError, ValueError):
        return None
    values, pin = data[: _BYTES * len(store)], data[_BYTES * len(store) :]
    if pin != zlib.crc32(values).to_bytes(4, "little"):
        return None  # it was cut or changed
    return np.frombuffer(values, "<i8").astype(np.int64)


def make_hashes(store: Store, *, progress: Progress | None = None) -> Hashes:
    """Compute the perceptual hashes of all crops, and keep them beside the store (`hashes_file`).

    They are those of the pixels as stored. A column that was made while crops were cut is of pixels
    before they were encoded: it may differ in a bit or two.

    Args:
        store: the store.
        progress: called with (crops done, all crops, 0).

    Returns:
        int64 [N].

    Raises:
        CorruptSampleError: a stored picture is damaged.
        WriteError: the file cannot be written.
    """
    found = np.empty(len(store), np.int64)
    firsts = range(0, len(store), _AT_A_TIME)

    def hash_some(first: int) -> int:
        rows = np.arange(first, min(first + _AT_A_TIME, len(store)))
        found[rows] = _hashes_of(store, rows)
        return len(rows)

    done = 0
    with ThreadPoolExecutor(available_cores()) as pool:
        for count in pool.map(hash_some, firsts):
            done += count
            if progress is not None:
                progress(done, len(store), 0)
    data = found.astype("<i8").tobytes()
    path = hashes_file(store)
    try:
        _disk.make_folder(path.parent)
        _disk.write_whole(path, data + zlib.crc32(data).to_bytes(4, "little"))
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {error.strerror or error}", path=path
        ) from None
    return found


def hashes_file(store: Store) -> Path:
    """Where the hashes of a store are kept that has no such column: beside it, in a folder
    STORE.phash, under the store's fingerprint. So those of another store are never taken for its.
    """
    folder = store.path.with_name(store.path.name + ".phash")
    return folder / f"{store.manifest.fingerprint}.bin"


def _hashes_of(store: Store, rows: Rows) -> list[int]:
    of = PHash().of
    with store.reading() as reading:
        return [of(codec.decode(jpeg)) for jpeg in reading.jpegs(rows)]
