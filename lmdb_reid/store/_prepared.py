"""What is put into a store, checked and packed before anything is written."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack
import numpy as np

from lmdb_reid.codec import SourceInfo, probe
from lmdb_reid.errors import ImageError, InvalidSampleError, UsageError
from lmdb_reid.schema import check_id
from lmdb_reid.store import _format
from lmdb_reid.store._format import CORE_COLUMNS, Facts
from lmdb_reid.store._specs import COLUMN_NAME

Row = tuple[bytes, bytes, bytes, bytes]
"""(key, image, record, facts)."""
Mark = tuple[bytes, bytes] | None
"""(key, packed note)."""
MAX_JSON = 1 << 18
"""Most bytes of a build's settings, and of where it came from: a manifest has to hold both."""


def difference(name: str, was: Any, now: Any) -> str:
    """A setting that is not what it was, in words."""
    if isinstance(was, dict) and isinstance(now, dict):  # digests say nothing to people
        changed = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
        return f"{name}: {', '.join(changed)} changed"
    return f"{name} was {was!r}, is now {now!r}"


def as_json(name: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values as JSON gives them back."""
    try:
        text = json.dumps(dict(values or {}))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} must have JSON values: {error}") from None
    if len(text) > MAX_JSON:  # now, and not when a long build is sealed
        raise UsageError(
            f"{name} must have at most {MAX_JSON:,} bytes as JSON, got"
            f" {len(text):,}. Store a digest of long values"
        )
    plain: dict[str, Any] = json.loads(text)
    return plain


def packed_mark(mark: str, note: Any) -> Mark:
    """A mark with its note, as the journal holds it; None for an empty one."""
    if not mark:
        return None
    try:
        return check_id(mark), msgpack.packb(note)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidSampleError(f"mark {mark[:80]!r} cannot be noted: {error}") from None


class NewSample(NamedTuple):
    """A sample to put into a store."""

    id: str
    image: bytes
    """A JPEG."""
    record: Mapping[str, Any]
    src_order: int | None = None
    """Where it stands in its source's own order, -1 where it stands nowhere in it. Unless given,
    it is the order of putting.
    """
    derived: Mapping[str, int | float] = MappingProxyType({})
    """Numbers computed from its picture, by the name of their column."""


Given = NewSample | tuple[str, bytes, Mapping[str, Any]]
"""What may be put: (id, JPEG, record) will do."""


def prepared(sample: Given, src_order: int, mark: str = "") -> Row:
    """The four byte strings to write, all checked; `src_order` where the sample has none, `mark`
    that of its group.

    Raises:
        InvalidSampleError: an id, image, record, order or derived number that a store cannot hold.
    """
    sample_id, image, record, given_order, derived = NewSample(*sample)
    key = check_id(sample_id)
    if not isinstance(image, bytes | bytearray | memoryview):
        raise InvalidSampleError(
            f"{sample_id}: the image must be the bytes of a JPEG, got {type(image).__name__}"
        )
    if not isinstance(record, Mapping):
        raise InvalidSampleError(f"{sample_id}: a record is a dict, not {type(record).__name__}")
    image = bytes(image)  # ours: it is put again when a map is full
    head = _checked_jpeg(sample_id, image)
    packed = _format.pack_record(sample_id, record)
    facts = Facts(
        crc32=zlib.crc32(image),
        record_crc32=zlib.crc32(packed),
        image_size=len(image),
        record_size=len(packed),
        height=head.height,
        width=head.width,
        src_order=_checked_order(sample_id, src_order if given_order is None else given_order),
        sha256=_format.sample_digest(key, image, packed),
        mark=mark,
        derived=_checked_derived(sample_id, derived),
    )
    return key, image, packed, facts.pack(key)


def _checked_jpeg(sample_id: str, image: bytes) -> SourceInfo:
    try:
        head = probe(image)
    except ImageError as error:
        raise InvalidSampleError(f"{sample_id}: a store holds JPEG only: {error}") from None
    if not head.plain:
        raise InvalidSampleError(
            f"{sample_id}: a store holds JPEG only, of grey, YCbCr or RGB and without a"
            f" rotation; this is {head.format} of orientation {head.orientation}."
            " Decode it with codec.read_source and encode it again"
        )
    return head


def _checked_order(sample_id: str, order: int) -> int:
    if isinstance(order, bool) or not isinstance(order, int | np.integer):
        raise InvalidSampleError(f"{sample_id}: src_order must be a whole number, got {order!r}")
    if not -1 <= order < 1 << 62:
        raise InvalidSampleError(f"{sample_id}: src_order must be in -1..2^62, got {order}")
    return int(order)


def _checked_derived(sample_id: str, derived: Mapping[str, Any]) -> Mapping[str, int | float]:
    values = {name: _plain(value) for name, value in derived.items()}
    for name, value in values.items():
        if not (isinstance(name, str) and COLUMN_NAME.fullmatch(name) and name not in CORE_COLUMNS):
            raise InvalidSampleError(
                f"{sample_id}: a derived column must have a name like {COLUMN_NAME.pattern} that no"
                f" column of every store has, got {name!r}"
            )
        whole = type(value) is int and -(1 << 63) <= value < 1 << 63
        if not (whole or type(value) is float):
            raise InvalidSampleError(
                f"{sample_id}: derived {name} must be a float or a whole number of 64 bits, got"
                f" {value!r}"
            )
    return values


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
