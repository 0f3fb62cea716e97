"""Checking a whole store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import lmdb.verify

from lmdb_reid import codec
from lmdb_reid.errors import CorruptSampleError, ImageError, StoreDamagedError
from lmdb_reid.store import _format
from lmdb_reid.store._columns import Columns, Ids

_TOLD = 1000


class Sealed(Protocol):
    """What of a store is needed to check it."""

    path: Path
    columns: Columns
    ids: Ids

    @property
    def digest(self) -> str: ...
    def __len__(self) -> int: ...
    def record_bytes(self, row: int) -> bytes: ...
    def _reading(
        self, *, again: bool = False
    ) -> AbstractContextManager[Callable[[list[int]], list[memoryview]]]: ...


@dataclass(slots=True)
class Findings:
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
        if len(self.problems) < _TOLD:
            self.problems.append(problem)


def structure_problems(data: Path) -> list[str]:
    """What LMDB's own offline verifier finds in a data.mdb; it never maps the file."""
    try:
        return list(lmdb.verify.verify(str(data), subdir=False))  # type: ignore[no-untyped-call]
    except lmdb.verify.VerifyError as error:
        return [str(error)]


def verify(store: Sealed, *, deep: bool) -> Findings:
    """Every column, record and image against its checksum; LMDB's structure; with `deep` the
    content digest too, and every image decoded. Nothing is raised for damage: it is listed.
    """
    findings = Findings(samples=len(store), deep=deep)
    for problem in structure_problems(store.path / _format.DATA):
        findings.add(f"{_format.DATA}: {problem}")
    for name in store.columns.all_names():
        try:
            _ = store.columns[name]
            if name in list(store.columns):
                store.columns.categories(name)
        except StoreDamagedError as error:
            findings.add(str(error))
    if findings.ok:  # without sound ids and checksums no sample can be judged
        _verify_samples(store, findings, deep=deep)
    return findings


def _verify_samples(store: Sealed, findings: Findings, *, deep: bool) -> None:
    digest = _format.ContentDigest()
    for row in range(len(store)):
        try:
            record = store.record_bytes(row)
            with store._reading(again=True) as jpegs_of:
                jpeg = bytes(jpegs_of([row])[0])
        except (CorruptSampleError, StoreDamagedError) as error:
            findings.add(str(error).partition("; lmdb-reid verify")[0])
            continue
        if deep:
            _verify_image(store, row, jpeg, findings)
            digest.add(_format.sample_digest(store.ids.key(row), jpeg, record))
    if deep and findings.ok and digest.hex() != store.digest:
        findings.add(f"the content digest is {digest.hex()}; the manifest says {store.digest}")


def _verify_image(store: Sealed, row: int, jpeg: bytes, findings: Findings) -> None:
    try:
        height, width, _ = codec.decode(jpeg).shape
    except ImageError as error:
        findings.add(f"{store.ids[row]}: {error}")
        return
    sealed = store.columns["height"].item(row), store.columns["width"].item(row)
    if (height, width) != sealed:
        findings.add(
            f"{store.ids[row]}: decodes to {height}x{width}; the columns say"
            f" {sealed[0]}x{sealed[1]}"
        )
