"""What is put into a store, checked and packed before anything is written."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import msgpack

from lmdb_reid import codec
from lmdb_reid.errors import ImageError, InvalidSampleError, UsageError
from lmdb_reid.schema import check_id
from lmdb_reid.store import _format
from lmdb_reid.store._format import Facts

Row = tuple[bytes, bytes, bytes, bytes]
"""(key, image, record, facts)."""
Mark = tuple[bytes, bytes] | None
"""(key, packed note)."""


def difference(name: str, was: Any, now: Any) -> str:
    """A setting that is not what it was, in words."""
    if isinstance(was, dict) and isinstance(now, dict):  # digests say nothing to people
        changed = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
        return f"{name}: {', '.join(changed)} changed"
    return f"{name} was {was!r}, is now {now!r}"


def as_json(name: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values as JSON gives them back."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(values or {})))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: JSON values are needed: {error}") from None
    return plain


def packed_mark(mark: str, note: Any) -> Mark:
    """A mark with its note, as the journal holds it; None for an empty one."""
    if not mark:
        return None
    try:
        return check_id(mark), msgpack.packb(note)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidSampleError(f"mark {mark[:80]!r} cannot be noted: {error}") from None


def prepared(sample_id: str, image: bytes, record: Mapping[str, Any]) -> Row:
    """The four byte strings to write, all checked."""
    key = check_id(sample_id)
    if not isinstance(image, bytes | bytearray | memoryview):
        raise InvalidSampleError(
            f"{sample_id}: the image is the bytes of a JPEG, not {type(image).__name__}"
        )
    if not isinstance(record, Mapping):
        raise InvalidSampleError(f"{sample_id}: a record is a dict, not {type(record).__name__}")
    image = bytes(image)  # ours: it is put again when a map is full
    try:
        head = codec.header(image)
    except ImageError as error:
        raise InvalidSampleError(f"{sample_id}: a store holds JPEG only: {error}") from None
    packed = _format.pack_record(sample_id, record)
    digest = _format.sample_digest(key, image, packed)
    facts = Facts(zlib.crc32(image), zlib.crc32(packed), head.height, head.width, digest)
    return key, image, packed, facts.pack()
