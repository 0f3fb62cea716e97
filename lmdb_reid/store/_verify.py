"""Checking a whole store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import lmdb.verify

from lmdb_reid import codec
from lmdb_reid.errors import CorruptSampleError, ImageError, StoreDamagedError
from lmdb_reid.store import _format
from lmdb_reid.store._column_files import ColumnFiles
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._reading import Reading

_KEPT = 1000
_AT_ONCE = 1000  # rows read in one transaction


class Sealed(Protocol):
    """What of a store is needed to check it."""

    path: Path
    columns: Columns
    ids: Ids

    @property
    def digest(self) -> str: ...
    def __len__(self) -> int: ...
    def reading(self, *, again: bool = False) -> Reading: ...


@dataclass(slots=True)
class Verification:
    """What a verification found."""

    samples: int
    deep: bool
    problems: list[str] = field(default_factory=list)
    """One line each, naming the file or the sample; at most 1,000 are kept."""
    count: int = 0
    """How many there were."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.count

    def add(self, problem: str) -> None:
        """Note one problem."""
        self.count += 1
        if len(self.problems) < _KEPT:
            self.problems.append(problem)


def structure_problems(data: Path) -> list[str]:
    """What LMDB's own offline verifier finds in a data.mdb; it never maps the file."""
    try:
        return list(lmdb.verify.verify(str(data), subdir=False))  # type: ignore[no-untyped-call]
    except lmdb.verify.VerifyError as error:
        return [str(error)]


def verify(store: Sealed, files: ColumnFiles, *, deep: bool) -> Verification:
    """Every column, record and image against its checksum; LMDB's structure; with `deep` the
    content digest too, and every image decoded. Nothing is raised for damage: it is listed.
    """
    found = Verification(samples=len(store), deep=deep)
    for problem in structure_problems(store.path / _format.DATA):
        found.add(f"{_format.DATA}: {problem}")
    for name in files.specs:
        try:
            files.column(name)
            files.categories(name)
        except StoreDamagedError as error:
            found.add(str(error))
    if found.ok:  # without sound ids and checksums no sample can be judged
        _verify_samples(store, found, deep=deep)
    return found


def _verify_samples(store: Sealed, found: Verification, *, deep: bool) -> None:
    digest = _format.ContentDigest()
    for first in range(0, len(store), _AT_ONCE):
        with store.reading(again=True) as reading:
            for row in range(first, min(first + _AT_ONCE, len(store))):
                key = store.ids.key(row)
                try:
                    jpeg, record = reading.pair(row, key)
                except (CorruptSampleError, StoreDamagedError) as error:
                    found.add(str(error).partition("; lmdb-reid verify")[0])
                    continue
                if deep:
                    _verify_image(store, row, jpeg, found)
                    digest.add(_format.sample_digest(key, jpeg, record))
    if deep and found.ok and digest.hex() != store.digest:
        found.add(f"the content digest is {digest.hex()}; the manifest says {store.digest}")


def _verify_image(store: Sealed, row: int, jpeg: bytes, found: Verification) -> None:
    try:
        height, width, _ = codec.decode(jpeg).shape
    except ImageError as error:
        found.add(f"{store.ids[row]}: {error}")
        return
    sealed = store.columns["height"].item(row), store.columns["width"].item(row)
    if (height, width) != sealed:
        found.add(
            f"{store.ids[row]}: decodes to {height}x{width}; the columns say"
            f" {sealed[0]}x{sealed[1]}"
        )
