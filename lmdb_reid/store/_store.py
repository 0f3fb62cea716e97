"""Reading a sealed store."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from lmdb_reid import pictures
from lmdb_reid.errors import (
    StoreChangedError,
    StoreDamagedError,
    StoreError,
    UnknownSampleError,
    UsageError,
)
from lmdb_reid.progress import Progress
from lmdb_reid.schema import Kind, Roles, Rows, Size
from lmdb_reid.store import _format, _places, _tables
from lmdb_reid.store._column_files import ColumnFiles
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._export import export as export_store
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._manifest import Manifest
from lmdb_reid.store._notebook import store_html
from lmdb_reid.store._parts import PartRows, Parts
from lmdb_reid.store._reading import Reading, Tables
from lmdb_reid.store._sample import Sample
from lmdb_reid.store._verify import Verification, structure_problems, verify
from lmdb_reid.store._view import View

if TYPE_CHECKING:
    import pandas as pd

_LOOKS = 10  # at a store that others take the place of, before it is called damaged


class Store:
    """A sealed store, read-only: samples by id, columns by name.

    Opening reads the manifest and compares the sizes and pins of every file; LMDB itself is opened
    at the first sample, once for each file and process, and is left behind by forks and pickles.
    Threads may share a store.

    Args:
        path: the store's directory.
        check: "pins" compares what the manifest pins; "structure" also walks all of LMDB's pages
            first, in Python, which makes a file of unknown origin safe to open (about 6
            microseconds a sample).

    Raises:
        StoreNotFoundError: no sealed store there.
        StoreVersionError: written in a format that this code does not know.
        StoreDamagedError: a file was cut short, exchanged or damaged.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, check: Literal["pins", "structure"] = "pins"
    ) -> None:
        if check not in ("pins", "structure"):
            raise UsageError(f"check={check!r}: give 'pins' or 'structure'")
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"a store is opened by its path, not {path!r}")
        self.path = Path(path).absolute()
        for left in reversed(range(_LOOKS)):
            self.manifest = _places.settled_manifest(self.path)
            # Not a method: a store that referred to itself would stay open until Python next looks
            # for cycles.
            is_replaced = functools.partial(_is_replaced, self.path, self.manifest)
            self._files = ColumnFiles(self.path, self.manifest.columns, is_replaced)
            self._parts = Parts(self.path, self.manifest.parts, is_replaced)
            try:
                self._check(structure=check == "structure")
                break
            except (StoreDamagedError, StoreChangedError):
                # A build that takes the place of this store may have done so between two looks.
                if not left or not is_replaced():
                    raise
        self.columns = Columns(self._files)
        self.ids = Ids(self._files, self.manifest.parts)
        self._closed = False
        self._tables: Tables | None = None

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, check: Literal["pins", "structure"] = "pins"
    ) -> Self:
        """The same as `Store(path)`."""
        return cls(path, check=check)

    # -- what it holds

    @property
    def size(self) -> Size | None:
        """(height, width) if all images have one size, else None."""
        return self.manifest.size

    @property
    def digest(self) -> str:
        """The content digest: the same for the same samples, wherever and however they were
        built.
        """
        return self.manifest.digest

    @property
    def kinds(self) -> dict[str, int]:
        """How many samples of each kind there are."""
        return dict(self.manifest.kinds)

    @property
    def roles(self) -> Roles:
        """Which columns say who a sample shows, where and when."""
        return self.manifest.roles

    def part_files(self) -> list[Path]:
        """The data file of each part, in the manifest's order."""
        return [part.file for part in self._parts]

    def part_rows(self, rows: Rows) -> list[PartRows]:
        """Rows of this store (int64 [N]) by the part that holds them.

        (digest, row in the part) names a sample's bytes and pixels in every store of which the
        part is one, in whatever order: so caches keep them.
        """
        return self._parts.split(rows)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self.ids

    # -- samples

    def __getitem__(self, sample_id: str) -> Sample:
        """The sample of this id.

        Raises:
            UnknownSampleError: there is none.
            CorruptSampleError: its bytes are not those that were sealed.
        """
        key = self._checked_key(sample_id)
        return self._sample(self._row(key), key)

    def row(self, sample_id: str) -> int:
        """The row of a sample id.

        Raises:
            UnknownSampleError: there is none; the message names the nearest in key order.
        """
        return self._row(self._checked_key(sample_id))

    def at(self, row: int) -> Sample:
        """The sample of a row, 0..len-1 (negative from the end).

        Raises:
            UnknownRowError: no such row.
            CorruptSampleError: its bytes are not those that were sealed.
        """
        row = self.ids.checked(row)
        return self._sample(row, self.ids.key(row))

    def record(self, row: int) -> _format.Record:
        """All that is known of a row's sample.

        Raises:
            CorruptSampleError: its bytes are not those that were sealed.
        """
        return _format.unpack_record(self.ids.key(row), self.record_bytes(row))

    def record_bytes(self, row: int) -> bytes:
        """A row's record as stored (a msgpack map), its checksum compared."""
        with self.reading() as reading:
            return reading.records([row])[0]

    def reading(self, *, again: bool = False) -> Reading:
        """A block inside which `r.jpegs(rows)` and `r.records(rows)` give what is stored of many
        rows, in one transaction, their checksums compared.

        >>> with store.reading() as r:  # doctest: +SKIP
        ...     images = [codec.decode(jpeg) for jpeg in r.jpegs([3, 1, 4])]

        Args:
            again: compare the image of a row each time, and not once in this process.
        """
        tables = self._tables
        if tables is None:
            columns = self.columns
            tables = self._tables = Tables(
                *self.ids.maps(),
                columns["image_size"].data,
                columns["crc32"].data,
                columns["record_size"].data,
                columns["record_crc32"].data,
                bytearray(-(-len(self) // 8)),
            )
        return Reading(self._parts, tables, again=again)

    @contextlib.contextmanager
    def view(self) -> Iterator[View]:
        """A block inside which `v[id]` is a zero-copy memoryview of the stored JPEG.

        The bytes are not compared with their checksum. What was taken from `v` and is still held
        after the block stays readable; LMDB's map is kept open for it.
        """
        with View(self._parts, self.ids, self.columns["image_size"].data) as view:
            yield view

    # -- tables and pictures

    def to_pandas(self) -> pd.DataFrame:
        """All columns as a pandas DataFrame, indexed by sample id, in row order; strings as
        categories.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _tables.whole(self.ids, self.columns)

    def query(self, expression: str) -> Rows:
        """Rows for which a pandas expression over the columns is true, int64, ascending.

        >>> store.query("label == 3 and quarter == 'Q1-000'")  # doctest: +SKIP

        Raises:
            UsageError: the expression cannot be evaluated, or is no condition.
        """
        return _tables.query(self.ids, self.columns, expression)

    def sheet(
        self, samples: Iterable[str | int], *, columns: int | None = None
    ) -> pictures.Picture:
        """A contact sheet of samples, given by id or row: each with its label (or kind) and the
        end of its id.
        """
        chosen = [self[s] if isinstance(s, str) else self.at(s) for s in samples]
        captions = [
            f"{s.label if s.label >= 0 else s.kind.title} {s.id.rpartition('#')[2][-8:]}"
            for s in chosen
        ]
        return pictures.contact_sheet([s.image for s in chosen], captions, columns=columns)

    export = export_store

    def verify(self, *, deep: bool = False, progress: Progress | None = None) -> Verification:
        """Check every checksum of the store; with `deep`, decode every image too. See
        `Verification`. `progress` is called with the samples that were checked.
        """
        return verify(self, self._files, self._parts, deep=deep, progress=progress)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items())
        size = f"{self.size[0]}x{self.size[1]}" if self.size else "native sizes"
        return (
            f"Store({str(self.path)!r}: {len(self):,} samples ({kinds}),"
            f" {self.manifest.identities} identities, {size})"
        )

    def _repr_html_(self) -> str:
        return store_html(self, closed=self._closed)

    # -- lifetime

    def close(self) -> None:
        """Give LMDB's environment back. Columns that were taken stay valid."""
        self._closed = True
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[str, str], Store], tuple[str, str]]:
        return _reopened, (str(self.path), self.manifest.fingerprint)

    def _sample(self, row: int, key: bytes) -> Sample:
        with self.reading() as reading:
            jpeg, packed = reading.pair(row, key)
        record = _format.unpack_record(key, packed)
        return Sample(
            id=key.decode(),
            row=row,
            label=self._label(row, record["label"]),
            kind=Kind(record["kind"]),
            record=record,
            jpeg=jpeg,
        )

    def _label(self, row: int, label: int) -> int:
        """A record's label as the store's own: those of a part are kept apart from others'."""
        return label if label < 0 else label + self._parts.of(row).spec.label_offset

    def _row(self, key: bytes) -> int:
        row = self.ids.find(key)
        if row < 0:
            at = self.ids.place(key)
            near = " and ".join(map(repr, self.ids[max(0, at - 1) : at + 1]))
            name = key.decode("utf-8", "surrogatepass")
            raise UnknownSampleError(
                f"no sample {name!r} in {self.path}; near it: {near}", ids=[name], path=self.path
            )
        return row

    def _checked_key(self, sample_id: str) -> bytes:
        if not isinstance(sample_id, str):
            raise UsageError(
                f"samples are known by id (str), not {sample_id!r}; store.at(row) takes a row"
            )
        return sample_id.encode("utf-8", "surrogatepass")

    def _check(self, *, structure: bool) -> None:
        self._files.check_sizes()
        for part in self._parts if structure else ():
            part.check_file()
            if problems := structure_problems(part.file):
                raise StoreDamagedError(
                    f"{part.file} is damaged: {problems[0]} ({len(problems)} problems)",
                    path=part.file,
                )
        if structure or len(self._parts) == 1:  # of many, each is checked when it is first read
            for part in self._parts:
                part.check()


def _is_replaced(path: Path, manifest: Manifest) -> bool:
    """Whether another store has taken the name since the manifest was read."""
    try:
        return _places.settled_manifest(path) != manifest
    except StoreError:
        return True


def _reopened(path: str, fingerprint: str) -> Store:
    store = Store(path)
    if store.manifest.fingerprint != fingerprint:
        raise StoreChangedError(
            f"the store at {path} was replaced since this was pickled: open it anew", path=path
        )
    return store
