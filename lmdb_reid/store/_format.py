"""Keys and bytes of the format: the one module that knows them. docs/format.md is the
specification.

A sealed store is a directory: data.mdb, columns/*.bin, manifest.json. While it is being built its
name ends in `.partial` and it holds work/, where the growing data.mdb and the journal of what is
done stand.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack
import numpy as np

from lmdb_reid.errors import CorruptSampleError, InvalidSampleError, StoreDamagedError
from lmdb_reid.schema import NO_LABEL, Kind

FORMAT = "lmdb_reid"
VERSION = (1, 0)

DATA = "data.mdb"
MANIFEST = "manifest.json"
COLUMNS = "columns"
PARTIAL_SUFFIX = ".partial"
REPLACED_SUFFIX = ".replaced"

IMAGES_DB = b"images"
RECORDS_DB = b"records"
DIGEST_KEY = b"digest"  # in LMDB's unnamed database: ties data.mdb to its manifest

ID_COLUMN = "id"
ID_OFFSETS_COLUMN = "id_offsets"
CORE_COLUMNS = {
    ID_COLUMN: "|u1",
    ID_OFFSETS_COLUMN: "<i8",
    "label": "<i8",
    "kind": "|u1",
    "crc32": "<u4",
    "record_crc32": "<u4",
    "image_size": "<u4",
    "record_size": "<u4",
    "width": "<i4",
    "height": "<i4",
    "src_order": "<i8",
}
"""Columns that every store has, and their dtypes."""
FIELD_DTYPES = frozenset({"<i8", "<f8"})
"""What other columns of numbers are; codes of categories are <i4."""
MAX_RECORD_DEPTH = 100
MAX_SIDE = 65_500
"""Most pixels of an image's side: what a JPEG can have."""

Record = dict[str, Any]
_SCALARS = frozenset({type(None), int, float, str, bool, bytes})


_FACTS = struct.Struct("<IIIIIIq32s")
_CRC = struct.Struct("<I")


def journal_entry(key: bytes, body: bytes) -> bytes:
    """What the journal of an unfinished build holds under `key`: a checksum of both, and `body`."""
    return _CRC.pack(zlib.crc32(body, zlib.crc32(key))) + body


def journal_body(key: bytes, entry: bytes | memoryview) -> bytes | memoryview:
    """The reverse of `journal_entry`.

    Raises:
        StoreDamagedError: the entry is not what was noted.
    """
    body = entry[_CRC.size :]
    if len(entry) < _CRC.size or zlib.crc32(body, zlib.crc32(key)) != _CRC.unpack_from(entry)[0]:
        raise StoreDamagedError(
            f"the journal's entry of {key.decode(errors='backslashreplace')!r} is damaged"
        )
    return body


class Facts(NamedTuple):
    """What the writer notes of each sample, so that sealing need not read the images again."""

    crc32: int
    record_crc32: int
    image_size: int
    record_size: int
    height: int
    width: int
    src_order: int
    sha256: bytes
    mark: str = ""
    """Of the group that it was put in."""
    derived: Mapping[str, int | float] = MappingProxyType({})

    def pack(self, key: bytes) -> bytes:
        """The journal's entry: 64 bytes, and a msgpack list of the others."""
        others: bytes = msgpack.packb((self.mark, dict(self.derived)))
        return journal_entry(key, _FACTS.pack(*self[:-2]) + others)

    @classmethod
    def unpack(cls, key: bytes, entry: bytes | memoryview) -> Facts:
        """The reverse of `pack`.

        Raises:
            StoreDamagedError: the entry is not what was noted.
        """
        body = journal_body(key, entry)
        return cls(*_FACTS.unpack_from(body), *msgpack.unpackb(body[_FACTS.size :]))


def partial_of(path: Path) -> Path:
    """Where a store is while it is being built."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def replaced_of(path: Path) -> Path:
    """Where an old store waits while another takes its place, on systems that cannot exchange two
    names.
    """
    return path.with_name(path.name + REPLACED_SUFFIX)


def sample_digest(key: bytes, image: bytes | memoryview, record: bytes | memoryview) -> bytes:
    """SHA-256 of one sample: length and bytes of its id, length and bytes of its image (u32
    little-endian), record.
    """
    head = struct.pack("<I", len(key)) + key + struct.pack("<I", len(image))
    digest = hashlib.sha256(head)
    digest.update(image)
    digest.update(record)
    return digest.digest()


class ContentDigest:
    """The sum of sample digests modulo 2**256: no order, and parts add up to the whole."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, digest: bytes) -> None:
        """Count one sample in."""
        self._sum = (self._sum + int.from_bytes(digest)) % (1 << 256)

    def hex(self) -> str:
        """64 hexadecimal digits."""
        return f"{self._sum:064x}"


def pack_record(sample_id: str, record: Mapping[str, Any]) -> bytes:
    """The msgpack map of a record, its label and kind checked and first.

    Raises:
        InvalidSampleError: a value or name that msgpack cannot hold, a bad kind, or a label that
            does not fit it.
    """
    fields = {"label": NO_LABEL, "kind": int(Kind.PERSON)} | {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in record.items()
    }
    label, kind = fields["label"], fields["kind"]
    if isinstance(label, bool) or not isinstance(label, int) or not -1 <= label < 1 << 63:
        raise InvalidSampleError(
            f"{sample_id}: label must be an integer, at least -1, got {label!r}"
        )
    if isinstance(kind, bool) or not isinstance(kind, int) or kind not in Kind.__members__.values():
        raise InvalidSampleError(
            f"{sample_id}: kind must be one of {[int(k) for k in Kind]}, got {kind!r}"
        )
    if label != NO_LABEL and kind in (Kind.BACKGROUND, Kind.PARTIAL, Kind.JUNK):
        raise InvalidSampleError(
            f"{sample_id}: a {Kind(kind).title} sample has label -1, not {label}"
        )
    fields["kind"] = int(kind)
    if not all(map(_can_be_stored, fields.values())):
        raise InvalidSampleError(
            f"{sample_id}: the record has a value that is not None, bool, int, float, str, bytes,"
            f" a NumPy scalar, or a list or map (with str keys) of the former, nested at most"
            f" {MAX_RECORD_DEPTH} deep: {_shown(fields)}"
        )
    if not all(isinstance(name, str) and name for name in fields):
        raise InvalidSampleError(
            f"{sample_id}: the names of a record's fields must be non-empty str, got {list(fields)}"
        )
    try:
        packed: bytes = msgpack.packb(fields, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidSampleError(f"{sample_id}: the record cannot be stored: {error}") from None
    return packed


def _shown(fields: Mapping[str, Any]) -> str:
    try:
        return repr(fields)[:500]
    except RecursionError:
        return "it is nested very deep"


def _can_be_stored(value: Any, left: int = MAX_RECORD_DEPTH) -> bool:
    if type(value) in _SCALARS:
        return True
    if left == 0:
        return False
    if isinstance(value, (list, tuple)):
        return all(_can_be_stored(each, left - 1) for each in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(
            _can_be_stored(each, left - 1) for each in value.values()
        )
    return False


def check_record(key: bytes, data: bytes | memoryview, crc32: int) -> None:
    """Compare a record's bytes with its checksum.

    Raises:
        CorruptSampleError: the bytes are not those that were written.
    """
    if zlib.crc32(data) != crc32:
        raise CorruptSampleError(
            f"{key.decode()}: its record is damaged (crc32 differs from the sealed one)",
            ids=[key.decode()],
        )


def unpack_record(key: bytes, data: bytes | memoryview) -> Record:
    """The map that `pack_record` made.

    Raises:
        CorruptSampleError: the bytes are no record, though they are what was sealed.
    """
    try:
        record = msgpack.unpackb(data, raw=False, strict_map_key=True)
        label, kind = record["label"], record["kind"]
        Kind(kind)
        good = (
            type(label) is type(kind) is int
            and -1 <= label < 1 << 63
            and all(type(name) is str for name in record)
            and all(type(value) in _SCALARS or _can_be_stored(value) for value in record.values())
        )
    except Exception as error:  # msgpack raises whatever its parts raise
        why = f"{type(error).__name__}: {error}"
    else:
        if good and isinstance(record, dict):
            return record
        why = f"label {label!r} and kind {kind!r}, or fields that no record holds"
    raise CorruptSampleError(
        f"{key.decode(errors='backslashreplace')}: its record is not valid ({why})"[:500]
    )
