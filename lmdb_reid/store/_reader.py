"""Reading a sealed store."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import lmdb
import numpy as np
import numpy.typing as npt

from lmdb_reid import pictures
from lmdb_reid.errors import (
    CorruptSampleError,
    StoreChangedError,
    StoreClosedError,
    StoreDamagedError,
    UnknownRowError,
    UnknownSampleError,
    UsageError,
)
from lmdb_reid.schema import Kind, Size
from lmdb_reid.store import _format, _handles, _places, _tables
from lmdb_reid.store._columns import AGAIN, Columns, Ids
from lmdb_reid.store._notebook import store_html
from lmdb_reid.store._sample import Sample
from lmdb_reid.store._verify import Findings, structure_problems, verify
from lmdb_reid.store._view import View

if TYPE_CHECKING:
    import pandas as pd

Rows = npt.NDArray[np.int64]


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
        self.manifest: Mapping[str, Any] = _places.settled_manifest(self.path)
        self._file = _identity(self.path)
        replaced = functools.partial(_is_replaced, self.path, self._file)
        self.columns = Columns(self.path, self.manifest["columns"], replaced)
        self.ids = Ids(self.columns, self.manifest["samples"])
        self._handle: _handles.Handle | None = None
        self._closed = False
        self._compared: bytearray | None = None
        self._check(structure=check == "structure")

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
        size = self.manifest["size"]
        return (size[0], size[1]) if size else None

    @property
    def digest(self) -> str:
        """The content digest: the same for the same samples, wherever and however they were
        built.
        """
        digest: str = self.manifest["digest"]
        return digest

    @property
    def kinds(self) -> dict[str, int]:
        """How many samples of each kind there are."""
        return dict(self.manifest["kinds"])

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
        return self.at(self.row(sample_id))

    def row(self, sample_id: str) -> int:
        """The row of a sample id.

        Raises:
            UnknownSampleError: there is none; the message names the nearest in key order.
        """
        if not isinstance(sample_id, str):
            raise UsageError(
                f"samples are known by id (str), not {sample_id!r}; store.at(row) takes a row"
            )
        key = sample_id.encode("utf-8", "surrogatepass")
        row = self.ids.find(key)
        if row < 0:
            at = self.ids.place(key)
            near = " and ".join(map(repr, self.ids[max(0, at - 1) : at + 1]))
            raise UnknownSampleError(f"no sample {sample_id!r} in {self.path}; near it: {near}")
        return row

    def at(self, row: int) -> Sample:
        """The sample of a row, 0..len-1 (negative from the end).

        Raises:
            UnknownRowError: no such row.
            CorruptSampleError: its bytes are not those that were sealed.
        """
        row = self._checked_row(row)
        sample_id = self.ids.key(row).decode()
        with self._reading(again=True) as jpegs_of:
            jpeg = bytes(jpegs_of([row])[0])
        record = self.record(row)
        return Sample(
            id=sample_id,
            row=row,
            label=record["label"],
            kind=Kind(record["kind"]),
            record=record,
            jpeg=jpeg,
        )

    def record(self, row: int) -> _format.Record:
        """All that is known of a row's sample.

        Raises:
            CorruptSampleError: its bytes are not those that were sealed.
        """
        return _format.unpack_record(self.record_bytes(row))

    def record_bytes(self, row: int) -> bytes:
        """A row's record as stored (a msgpack map), its checksum compared."""
        if not 0 <= row < len(self):
            raise UnknownRowError(f"row {row} of a store of {len(self)} samples")
        key = self.ids.key(row)
        with self.view() as view:
            data = view.record_of_key(key)
        if data is None:
            raise StoreDamagedError(f"{self.path}: {key.decode()!r} has no record")
        _format.check_record(key, data, self.columns["record_crc32"].item(row))
        return data

    @contextlib.contextmanager
    def view(self) -> Iterator[View]:
        """A block inside which `v[id]` is a zero-copy memoryview of the stored JPEG.

        The bytes are not compared with their checksum. What was taken from `v` and is still held
        after the block stays readable; LMDB's map is kept open for it.
        """
        handle = self._handle_now()
        with handle.begin() as txn:
            view = View(txn, handle)
            try:
                yield view
            finally:
                view.end()

    @contextlib.contextmanager
    def _reading(self, *, again: bool = False) -> Iterator[Callable[[list[int]], list[memoryview]]]:
        """A block inside which a function gives the JPEGs of rows, their checksums compared: once
        in this process, or `again`.

        For this package's own engines: one transaction for the whole block, and views of LMDB's
        own that nobody watches (which would be 2 of 150 us), so that none may outlive it.
        """
        text, ends = self.ids.maps()
        checksums, count = self.columns["crc32"].data, len(self)
        if self._compared is None:
            self._compared = bytearray(-(-count // 8))  # a bit for each row
        compared, handle = self._compared, self._handle_now()

        def one(key: bytes) -> memoryview | None:
            try:
                data: memoryview | None = get(key, None, images)
            except lmdb.Error as error:
                raise StoreDamagedError(f"LMDB cannot read {key.decode()!r}: {error}") from None
            return data

        def jpegs_of(rows: list[int]) -> list[memoryview]:
            if rows and not 0 <= min(rows) <= max(rows) < count:
                bad = min(rows) if min(rows) < 0 else max(rows)
                raise UnknownRowError(f"row {bad} of a store of {count} samples")
            # In few steps, since each runs once for every sample, with the GIL held.
            keys = [bytes(text[ends[row] : ends[row + 1]]) for row in rows]
            try:
                found = [get(key, None, images) for key in keys]
            except lmdb.Error:
                found = list(map(one, keys))  # says which
            for at, row in enumerate(rows):
                if again or found[at] is None or not compared[row >> 3] >> (row & 7) & 1:
                    self._compare(keys[at], found[at], checksums[row])
                    # Threads may lose each other's bits here: then a row is compared once more.
                    compared[row >> 3] |= 1 << (row & 7)
            return found

        _handles.export(handle)
        try:
            with handle.begin() as txn:
                get, images = txn.get, handle.images
                yield jpegs_of
        finally:
            _handles.unexport(handle)

    def _compare(self, key: bytes, data: memoryview | None, checksum: int) -> None:
        if data is None:
            raise StoreDamagedError(f"{self.path}: {key.decode()!r} has no image")
        if zlib.crc32(data) != checksum:
            raise CorruptSampleError(
                f"{key.decode()}: its image in {self.path} is damaged (crc32 differs from the"
                " sealed one); lmdb-reid verify --deep lists all that are"
            )

    # -- tables and pictures

    def to_pandas(self) -> pd.DataFrame:
        """All columns as a pandas DataFrame, indexed by sample id, in row order; strings as
        categories.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _tables.frame(self.ids, self.columns)

    def query(self, expression: str) -> Rows:
        """Rows for which a pandas expression over the columns is true, int64, ascending.

        >>> store.query("label == 3 and quarter == 'Q1-000'")  # doctest: +SKIP

        Raises:
            UsageError: the expression cannot be evaluated, or is no condition.
        """
        return _tables.query(self.to_pandas(), expression)

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

    def verify(self, *, deep: bool = False) -> Findings:
        """Check every checksum of the store; with `deep`, decode every image too. See
        `Findings`.
        """
        return verify(self, deep=deep)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items())
        size = f"{self.size[0]}x{self.size[1]}" if self.size else "native sizes"
        return (
            f"Store({str(self.path)!r}: {len(self):,} samples ({kinds}),"
            f" {self.manifest['identities']} identities, {size})"
        )

    def _repr_html_(self) -> str:
        return store_html(self, closed=self._closed)

    # -- lifetime

    def close(self) -> None:
        """Give LMDB's environment back. Columns that were taken stay valid."""
        with _handles.lock:
            self._closed = True
            handle, self._handle = self._handle, None
        if handle is not None:
            _handles.release(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        handle = self.__dict__.get("_handle")
        if handle is None:
            return
        try:
            _handles.release(handle)
        except (TypeError, AttributeError):
            if not ending():  # then modules may be gone before this
                raise

    def __reduce__(self) -> tuple[Callable[[str, str], Store], tuple[str, str]]:
        return _reopened, (str(self.path), self.digest)

    def _checked_row(self, row: int) -> int:
        try:
            at = operator.index(row)
        except TypeError:
            raise UsageError(f"a row is a whole number, not {row!r}") from None
        if not -len(self) <= at < len(self):
            raise UnknownRowError(f"row {at} of a store of {len(self)} samples")
        return at % len(self)

    def _handle_now(self) -> _handles.Handle:
        """This process's environment; opened now if it is not, or if a fork left it behind."""
        handle = self._handle
        if handle is not None and handle.alive:
            return handle
        if self._closed:
            raise StoreClosedError(f"the store {self.path} is closed")
        with _handles.lock:
            if self._handle is None or not self._handle.alive:
                handle = _handles.acquire(self.path)
                if handle.key != self._file:
                    _handles.release(handle)
                    raise StoreChangedError(
                        f"the store at {self.path} was replaced since it was opened: open it anew"
                    )
                self._handle = handle
            return self._handle

    def _check(self, *, structure: bool) -> None:
        self.columns.check_sizes()
        pinned = self.manifest["data"]
        data = self.path / _format.DATA
        try:
            status = data.stat()
        except OSError as error:
            raise StoreDamagedError(f"{data} cannot be read: {error.strerror}") from None
        size = status.st_size
        if size != pinned["size"]:
            raise StoreDamagedError(
                f"{data} has {size} bytes; its manifest says {pinned['size']}{AGAIN}"
            )
        if structure and (problems := structure_problems(data)):
            raise StoreDamagedError(f"{data} is damaged: {problems[0]} ({len(problems)} problems)")
        if pinned.get("digest") != self.digest:
            raise StoreDamagedError(f"the manifest of {self.path} contradicts itself")
        found = _handles.pins(self.path)
        differing = [
            f"{name} {found[name]}, not {pinned[name]}"
            for name in pinned
            if found[name] != pinned[name]
        ]
        if differing:
            raise StoreDamagedError(
                f"{data} is not the file that was sealed: {'; '.join(differing)}{AGAIN}"
            )


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode of a store's data: what tells it from another under the same name."""
    data = path / _format.DATA
    try:
        status = data.stat()
    except OSError as error:
        raise StoreDamagedError(f"{data} cannot be read: {error.strerror}") from None
    return status.st_dev, status.st_ino


def _is_replaced(path: Path, file: tuple[int, int]) -> bool:
    try:
        return _identity(path) != file
    except StoreDamagedError:
        return True


def _reopened(path: str, digest: str) -> Store:
    store = Store(path)
    if store.digest != digest:
        raise StoreChangedError(
            f"the store at {path} was replaced since this was pickled: open it anew"
        )
    return store
