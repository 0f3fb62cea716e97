"""Keys and bytes of the format: the one module that knows them. docs/format.md is the
specification.

A sealed store is a directory: data.mdb, columns/*.bin, manifest.json. While it is being built its
name ends in `.partial` and it holds work/, where the growing data.mdb and the journal of what is
done stand.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np

from lmdb_reid.errors import (
    CorruptSampleError,
    InvalidSampleError,
    StoreDamagedError,
    StoreNotFoundError,
    StoreVersionError,
)
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
    "label": "<i8",
    "kind": "|u1",
    "crc32": "<u4",
    "record_crc32": "<u4",
    "width": "<i4",
    "height": "<i4",
}
RESERVED_COLUMNS = frozenset({*CORE_COLUMNS, ID_COLUMN, ID_OFFSETS_COLUMN})
DTYPES = frozenset({*CORE_COLUMNS.values(), "<f8", "<i4"})

Record = dict[str, Any]


_FACTS = struct.Struct("<IIII32s")


class Facts(NamedTuple):
    """What the writer notes of each sample, so that sealing need not read the images again."""

    crc32: int
    record_crc32: int
    height: int
    width: int
    sha256: bytes

    def pack(self) -> bytes:
        """48 bytes."""
        return _FACTS.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Facts:
        """The reverse of `pack`."""
        return cls(*_FACTS.unpack(data))


def partial_of(path: Path) -> Path:
    """Where a store is while it is being built."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def replaced_of(path: Path) -> Path:
    """Where an old store waits while another takes its place, on systems that cannot exchange two
    names.
    """
    return path.with_name(path.name + REPLACED_SUFFIX)


def sample_digest(key: bytes, image: bytes, record: bytes) -> bytes:
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
        raise InvalidSampleError(f"{sample_id}: label {label!r}: an integer from -1 up is needed")
    if isinstance(kind, bool) or not isinstance(kind, int) or kind not in Kind.__members__.values():
        raise InvalidSampleError(
            f"{sample_id}: kind {kind!r}: one of {[int(k) for k in Kind]} is needed"
        )
    if label != NO_LABEL and kind in (Kind.BACKGROUND, Kind.PARTIAL, Kind.JUNK):
        raise InvalidSampleError(
            f"{sample_id}: a {Kind(kind).title} sample has label -1, not {label}"
        )
    fields["kind"] = int(kind)
    if not all(map(_can_be_stored, fields.values())):
        raise InvalidSampleError(
            f"{sample_id}: the record has a value that is not None, bool, int, float, str, bytes,"
            f" a NumPy scalar, or a list or map (with str keys) of the former: {fields}"
        )
    if not all(isinstance(name, str) and name for name in fields):
        raise InvalidSampleError(
            f"{sample_id}: the names of a record's fields are non-empty str: {list(fields)}"
        )
    try:
        packed: bytes = msgpack.packb(fields, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidSampleError(f"{sample_id}: the record cannot be stored: {error}") from None
    return packed


def _can_be_stored(value: Any) -> bool:
    if value is None or type(value) in (int, float, str, bool, bytes):
        return True
    if isinstance(value, (list, tuple)):
        return all(map(_can_be_stored, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(
            map(_can_be_stored, value.values())
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


def unpack_record(data: bytes | memoryview) -> Record:
    """The map that `pack_record` made."""
    record: Record = msgpack.unpackb(data, raw=False, strict_map_key=True)
    return record


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as its file holds it: JSON, with a checksum over itself."""
    fields = {name: value for name, value in manifest.items() if name != "crc32"}
    return (
        _utf8(json.dumps(fields | {"crc32": _json_crc(fields)}, indent=1, ensure_ascii=False))
        + b"\n"
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the store at `path`, its version and checksum checked.

    Raises:
        StoreNotFoundError: no sealed store there; says if an unfinished build is.
        StoreVersionError: another format or major version.
        StoreDamagedError: not JSON, or its checksum differs.
    """
    try:
        text = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreNotFoundError(_why_not_found(path), path=path) from None
    try:
        manifest = json.loads(text)
        found, version = manifest["format"], tuple(manifest["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise StoreDamagedError(
            f"{path / MANIFEST} is no manifest: {type(error).__name__}: {error}", path=path
        ) from None
    if found != FORMAT or version[:1] != VERSION[:1]:
        raise StoreVersionError(
            f"{path} is written in {found} format {'.'.join(map(str, version))};"
            f" this code reads {FORMAT} {VERSION[0]}.x: another release of lmdb_reid is needed",
            path=path,
        )
    fields = {name: value for name, value in manifest.items() if name != "crc32"}
    if manifest.get("crc32") != _json_crc(fields):
        raise StoreDamagedError(
            f"{path / MANIFEST} was changed after sealing (its own crc32 differs)", path=path
        )
    try:
        _check_counts(fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreDamagedError(f"{path / MANIFEST} lacks something: {error}", path=path) from None
    except ValueError as error:
        raise StoreDamagedError(
            f"{path / MANIFEST} contradicts itself: {error}", path=path
        ) from None
    return fields


def _check_counts(fields: Mapping[str, Any]) -> None:
    """Every field is there, and all counts are those of one store."""
    count, columns, data = fields["samples"], fields["columns"], fields["data"]
    for name in ("kinds", "identities", "size", "digest", "build", "source"):
        _ = fields[name]
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"{count} samples")
    for name in (ID_COLUMN, ID_OFFSETS_COLUMN, *CORE_COLUMNS):
        _ = columns[name]
    for name, spec in columns.items():
        wanted = {ID_COLUMN: spec["length"], ID_OFFSETS_COLUMN: count + 1}.get(name, count)
        if spec["length"] != wanted:
            raise ValueError(f"column {name} has {spec['length']} entries, not {wanted}")
    for name in ("images", "records"):
        if data[name] != count:
            raise ValueError(f"{data[name]} {name} of {count} samples")


def _json_crc(fields: Mapping[str, Any]) -> int:
    return zlib.crc32(_utf8(json.dumps(fields, sort_keys=True, ensure_ascii=False)))


def _utf8(text: str) -> bytes:
    # A path that is no utf-8 has lone surrogates, which JSON writes as escapes.
    return text.encode("utf-8", "backslashreplace")


def _why_not_found(path: Path) -> str:
    if not path.name.endswith(PARTIAL_SUFFIX) and partial_of(path).is_dir():
        return (
            f"no store at {path}, but an unfinished build: {partial_of(path)} (build with"
            f" --resume to finish it)"
        )
    if (path / DATA).exists() or path.suffix == ".mdb":
        return (
            f"{path} holds LMDB data but no {MANIFEST}: not a sealed store (give the store's"
            f" directory)"
        )
    return f"no store at {path}" + ("" if path.exists() else ": there is nothing of that name")
