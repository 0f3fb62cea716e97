"""Checking a whole store."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import lmdb.verify

from lmdb_reid import codec
from lmdb_reid.errors import (
    CorruptSampleError,
    ImageError,
    InvalidSampleError,
    LmdbReidError,
    StoreError,
)
from lmdb_reid.progress import Progress
from lmdb_reid.schema import Size, check_id
from lmdb_reid.store import _format, _sealing
from lmdb_reid.store._column_files import ColumnFiles
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._columns_builder import may_hold
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._manifest import Manifest
from lmdb_reid.store._part import Part
from lmdb_reid.store._parts import Parts
from lmdb_reid.store._passing import passing
from lmdb_reid.store._reading import Reading

_KEPT = 1000
_AT_ONCE = 1000  # rows read in one transaction


class Sealed(Protocol):
    """What of a store is needed to check it."""

    columns: Columns
    ids: Ids
    manifest: Manifest

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
    """What LMDB's own offline verifier finds in a data.mdb; it never maps the file.

    Raises:
        ResourceError: the file cannot be read now.
    """
    try:
        return list(lmdb.verify.verify(str(data), subdir=False))  # type: ignore[no-untyped-call]
    except lmdb.verify.VerifyError as error:
        return [str(error)]
    except OSError as error:
        if now := passing(data, error):
            raise now from None
        return [f"cannot be read: {error.strerror}"]


def verify(
    store: Sealed,
    files: ColumnFiles,
    parts: Parts,
    *,
    deep: bool,
    progress: Progress | None = None,
) -> Verification:
    """Every column, record, image and data file against its checksum; LMDB's structure; with
    `deep` the content digests too, every record against the columns, and every image decoded.
    Nothing is raised for damage: it is listed.
    """
    found = Verification(samples=len(store), deep=deep)
    for part in parts:
        _verify_structure(part, found)
    for name in files.specs:
        try:
            files.column(name)
            files.categories(name)
        except StoreError as error:
            if str(error) not in found.problems:  # ids are looked at with their offsets, too
                found.add(str(error))
    if found.ok:  # without sound ids and checksums no sample can be judged
        _verify_counts(store, found)
        for part in parts:
            before = found.count
            _verify_samples(store, part, found, deep=deep, progress=progress)
            if found.count == before:
                _verify_file(part, found)
    return found


def _verify_structure(part: Part, found: Verification) -> None:
    try:
        part.check()
        problems = structure_problems(part.file)
    except LmdbReidError as error:
        problems = [str(error)]
    for problem in problems:
        found.add(f"{part.spec.path}: {problem}")


def _verify_file(part: Part, found: Verification) -> None:
    """What no sample shows: pages that are not in use, and the space between."""
    try:
        differs = part.spec.crc32 not in (None, _sealing.file_crc32(part.file))
    except OSError as error:
        found.add(f"{part.file} cannot be read: {error.strerror}")
        return
    if differs:
        found.add(
            f"{part.spec.path}: its crc32 differs from the manifest's, though every sample is as it"
            " was sealed"
        )


def _verify_counts(store: Sealed, found: Verification) -> None:
    """What the manifest sums up, and readers go by without a look at the columns."""
    columns, manifest = store.columns, store.manifest
    counted: dict[str, tuple[Any, Any]] = {
        "kinds": (dict(manifest.kinds), _sealing.kinds_of(columns["kind"])),
        "identities": (manifest.identities, _sealing.identities_of(columns["label"])),
        "size": (manifest.size, _sealing.size_of(columns["height"], columns["width"])),
    }
    for name, (said, counted_now) in counted.items():
        if said != counted_now:
            found.add(f"the manifest says {name} {said}; the columns say {counted_now}")


def _verify_samples(
    store: Sealed, part: Part, found: Verification, *, deep: bool, progress: Progress | None
) -> None:
    digest, before = _format.ContentDigest(), found.count
    first, end, cut = part.spec.first, part.spec.first + part.spec.count, len(part.prefix)
    agreement = _Agreement(store, part)
    last = b""
    for name in agreement.misnamed if deep else ():
        found.add(f"column {name!r} cannot be the one of {store.manifest.columns[name].field!r}")
    for start in range(first, end, _AT_ONCE):
        with store.reading(again=True) as reading:
            for row in range(start, min(start + _AT_ONCE, end)):
                sample_id = store.ids.key(row)
                try:
                    _check_id(sample_id, last)
                    last = sample_id
                    jpeg, record = reading.pair(row, sample_id)
                    if deep:
                        digest.add(_format.sample_digest(sample_id[cut:], jpeg, record))
                        agreement.check(row, _format.unpack_record(sample_id, record))
                        agreement.check_image(row, jpeg)
                except CorruptSampleError as error:
                    found.add(str(error).partition("; lmdb-reid verify")[0])
                except StoreError as error:
                    found.add(str(error))
        if progress is not None:
            progress(min(start + _AT_ONCE, end), len(store), 0)
    if deep and found.count == before and digest.hex() != part.spec.digest:
        found.add(
            f"the content digest of {part.spec.path} is {digest.hex()}; the manifest says"
            f" {part.spec.digest}"
        )


def _check_id(sample_id: bytes, last: bytes) -> None:
    """Refuse an id that no build gives, or that does not follow the last of its part.

    Raises:
        CorruptSampleError: it is one.
    """
    text = sample_id.decode()
    try:
        check_id(text)
    except InvalidSampleError as error:
        raise CorruptSampleError(str(error)) from None
    if sample_id <= last:
        raise CorruptSampleError(f"{text}: its id must come after {last.decode()}")


class _Agreement:
    """Whether the columns say of a sample what its record and picture do."""

    def __init__(self, store: Sealed, part: Part) -> None:
        self._ids = store.ids
        self._columns = store.columns
        self._offset = part.spec.label_offset
        self.misnamed: list[str] = []
        """Columns that no build calls so for the field that they hold."""
        self._fields: dict[str, tuple[str | None, list[str] | None]] = {}
        for name in store.columns:
            spec = store.manifest.columns[name]
            if name not in _format.CORE_COLUMNS and not spec.derived:
                if not may_hold(name, spec.field or name):
                    self.misnamed.append(name)
                source = part.spec.fields.get(name, spec.field or name)
                self._fields[name] = source, store.columns.categories(name)

    def check(self, row: int, record: _format.Record) -> None:
        """Compare a record with its row.

        Raises:
            CorruptSampleError: they differ.
        """
        columns = self._columns
        label = record["label"] + (self._offset if record["label"] >= 0 else 0)
        for name, wanted in (("label", label), ("kind", record["kind"])):
            if columns[name].item(row) != wanted:
                raise self._differs(row, name, record[name])
        for name, (source, categories) in self._fields.items():
            value = None if source is None else record.get(source)
            if not _same(value, columns[name].item(row), categories):
                raise self._differs(row, name, value)

    def check_image(self, row: int, jpeg: bytes) -> None:
        """Decode an image and compare its size with its row.

        Raises:
            CorruptSampleError: it cannot be decoded, or has another size.
        """
        wanted: Size = self._columns["height"].item(row), self._columns["width"].item(row)
        try:
            info = codec.probe(jpeg)  # its limits come before any memory is taken
            found = info.height, info.width
            if found == wanted:
                height, width, _ = codec.decode(jpeg).shape
                found = height, width
        except (ImageError, MemoryError) as error:
            raise CorruptSampleError(f"{self._ids[row]}: {error}") from None
        if found != wanted:
            raise CorruptSampleError(
                f"{self._ids[row]}: decodes to {found[0]}x{found[1]}; the columns say"
                f" {wanted[0]}x{wanted[1]}"
            )

    def _differs(self, row: int, name: str, value: Any) -> CorruptSampleError:
        return CorruptSampleError(
            f"{self._ids[row]}: its record says {value!r}; the column {name!r} says otherwise"
        )


def _same(value: Any, stored: float, categories: list[str] | None) -> bool:
    """Whether a column's entry stands for a record's value."""
    if value is None or isinstance(value, bytes | list | dict):
        return stored == -1 if categories is not None else math.isnan(stored)
    if categories is None:
        return not isinstance(value, str) and (
            value == stored or (math.isnan(value) and math.isnan(stored))
        )
    if stored < 0:
        return isinstance(value, float) and math.isnan(value)
    text = categories[int(stored)]
    if isinstance(value, str):
        return text == value
    try:
        return text == str(int(value) if isinstance(value, bool) else value) or (
            float(text) == float(value)
        )
    except (ValueError, OverflowError):
        return False
