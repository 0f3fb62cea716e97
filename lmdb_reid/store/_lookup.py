"""Samples of an opened store, by id and by row."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

from lmdb_reid._names import nearest
from lmdb_reid.errors import UnknownSampleError, UsageError
from lmdb_reid.schema import Kind, Rows
from lmdb_reid.store import _format
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._door import Tables
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._manifest import Manifest
from lmdb_reid.store._parts import PartRows, Parts
from lmdb_reid.store._reading import Reading
from lmdb_reid.store._sample import Sample
from lmdb_reid.store._view import View


class Lookup:
    """What `Store` finds and reads samples by; the rest of it is in `Store` itself."""

    path: Path
    manifest: Manifest
    columns: Columns
    ids: Ids
    _parts: Parts
    _tables: Tables | None

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

    def row(self, sample_id: str) -> int:
        """The row of a sample id.

        Raises:
            UnknownSampleError: there is none; the message names the nearest, of its frame first.
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

    def file(self, sample_id: str) -> io.BytesIO:
        """A file-like over the JPEG of a sample, a copy, for `PIL.Image.open`.

        Raises:
            UnknownSampleError, CorruptSampleError: as `store[id]`.
        """
        return io.BytesIO(self.at(self.row(sample_id)).jpeg)

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
        return Reading(self._parts, self._looked_up(), again=again)

    @contextlib.contextmanager
    def view(self) -> Iterator[View]:
        """A block inside which `v[id]` is a zero-copy memoryview of the stored JPEG.

        The bytes are not compared with their checksum. What was taken from `v` and is still held
        after the block stays readable; LMDB's map is kept open for it.
        """
        with View(self._parts, self.ids, self._looked_up()) as view:
            yield view

    def _looked_up(self) -> Tables:
        tables = self._tables
        if tables is None:
            columns = self.columns
            tables = self._tables = Tables(
                *self.ids.maps(),
                columns["image_size"].data,
                columns["crc32"].data,
                columns["record_size"].data,
                columns["record_crc32"].data,
                compared=bytearray(-(-len(self) // 8)),
                reached=bytearray(-(-len(self) // 8)),
            )
        return tables

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
            name = key.decode("utf-8", "surrogatepass")
            raise UnknownSampleError(
                f"no sample {name!r} in {self.path}.{self._hint(name)}", ids=[name], path=self.path
            )
        return row

    def _hint(self, name: str) -> str:
        if name in self.columns:
            return f" A column is store.columns[{name!r}]."
        if any(sign in name for sign in ("==", "<", ">", "!=", " in ")):
            return f" Rows that fit a condition are store.query({name!r})."
        near = nearest(name, self.ids.near(name), always=True)
        return "" if near is None else f" Did you mean {near!r}?"

    def _checked_key(self, sample_id: str) -> bytes:
        if not isinstance(sample_id, str):
            raise UsageError(
                f"an id must be a text, got {sample_id!r}. store[row] and store.at(row) take rows."
            )
        return sample_id.encode("utf-8", "surrogatepass")
