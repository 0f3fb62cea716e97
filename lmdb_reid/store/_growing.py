"""LMDB environments for writing: one that starts small and grows, and an ordered copy of one."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import lmdb

from lmdb_reid import _disk

FIRST_MAP = 16 << 20
COMMIT_BYTES = 16 << 20
COMMIT_SECONDS = 2.0  # a killed build loses no more than this, or those bytes


class Growing:
    """An environment with one open write transaction; whoever fills its map calls `grow`.

    Written by calls, never through the map (no MDB_WRITEMAP), synced at each commit. It has no LMDB
    lock file: the caller keeps other writers away.
    """

    def __init__(self, file: Path, names: Sequence[bytes], *, sync: bool = True) -> None:
        size = file.stat().st_size if file.exists() else 0
        if 0 < size < 2 * mmap.PAGESIZE:  # a disk was full before LMDB's first two pages were there
            _disk.remove(file)
            size = 0
        self.env = lmdb.open(
            os.fsencode(file),
            subdir=False,
            lock=False,
            sync=sync,
            max_dbs=len(names),
            map_size=max(FIRST_MAP, 2 * size),
            lib_version=0,  # LMDB 0.9's format, whatever the environment's default
        )
        self._txn: Any = None
        try:
            self.dbs = {name: self.env.open_db(name) for name in names}
        except lmdb.Error:  # the disk is full
            self.env.close()
            raise

    @property
    def txn(self) -> Any:
        """The write transaction; begun when it is first used."""
        if self._txn is None:
            self._txn = self.env.begin(write=True, buffers=True)
        return self._txn

    @property
    def last_transaction(self) -> int:
        """Number of the last committed one."""
        number: int = self.env.info()["last_txnid"]
        return number

    def entries(self, name: bytes) -> int:
        """How many entries a database has, as committed."""
        with self.env.begin() as txn:
            count: int = txn.stat(self.dbs[name])["entries"]
        return count

    def commit(self) -> None:
        """Bring the transaction to the disk.

        Raises:
            lmdb.MapFullError: nothing was committed.
        """
        txn, self._txn = self._txn, None
        if txn is not None:
            txn.commit()

    def abort(self) -> None:
        """Forget the transaction."""
        txn, self._txn = self._txn, None
        if txn is not None:
            txn.abort()

    def grow(self) -> None:
        """Double the map; the transaction is forgotten."""
        self.abort()
        self.env.set_mapsize(self.env.info()["map_size"] * 2)

    def close(self) -> None:
        """Forget the transaction and close."""
        self.abort()
        self.env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def copy_in_order(source: Growing, file: Path, unnamed: Mapping[bytes, bytes]) -> None:
    """Write a new LMDB file with the entries of `source` in key order and without gaps; synced.

    `unnamed` is what the unnamed database is to hold. In steps of some megabytes, so that no
    transaction holds a whole store in memory.
    """
    _disk.remove(file)
    names = list(source.dbs)
    with Growing(file, names, sync=False) as final, source.env.begin(buffers=True) as txn:
        final.env.set_mapsize(source.env.info()["map_size"])
        for name in names:
            held = 0
            with txn.cursor(source.dbs[name]) as cursor:
                for key, value in cursor:
                    final.txn.put(key, value, db=final.dbs[name], append=True)
                    held += len(value)
                    if held >= COMMIT_BYTES:
                        final.commit()
                        held = 0
        for name, held_there in unnamed.items():
            final.txn.put(name, held_there)
        final.commit()
        final.env.sync(True)
