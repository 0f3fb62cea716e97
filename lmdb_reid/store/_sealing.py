"""What turns a finished `data.mdb` and its journal into a store: columns, order, the manifest's
facts.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np

from lmdb_reid import _disk
from lmdb_reid._version import __version__
from lmdb_reid.errors import StoreDamagedError
from lmdb_reid.schema import Kind, Size
from lmdb_reid.store import _format, _handles
from lmdb_reid.store._column_files import Column
from lmdb_reid.store._columns_builder import ColumnsBuilder
from lmdb_reid.store._format import RECORDS_DB, Facts
from lmdb_reid.store._growing import Growing, copy_in_order
from lmdb_reid.store._specs import ColumnSpec, PartSpec

# The journal's databases, and the keys of its state.
FACTS_DB, MARKS_DB, STATE_DB = b"facts", b"marks", b"state"
LAST, UNORDERED = b"last_transaction", b"unordered"
_BLOCK = 4 << 20


class Gathered(NamedTuple):
    """What of the manifest follows from the samples."""

    samples: int
    kinds: dict[str, int]
    identities: int
    size: Size | None
    digest: str
    columns: dict[str, ColumnSpec]


def write_columns(folder: Path, data: Growing, journal: Growing) -> Gathered | None:
    """Write the column files again, synced; None where there are no samples."""
    builder, digest = ColumnsBuilder(), _format.ContentDigest()
    for key, record, facts in _with_facts(data, journal):
        builder.add(key, _format.unpack_record(key, record), facts)
        digest.add(facts.sha256)
    if not len(builder):
        return None
    _disk.remove(folder)
    columns = builder.write(folder)
    return Gathered(
        samples=len(builder),
        kinds=kinds_of(builder.core("kind")),
        identities=identities_of(builder.core("label")),
        size=size_of(builder.core("height"), builder.core("width")),
        digest=digest.hex(),
        columns=columns,
    )


def kinds_of(kinds: Column) -> dict[str, int]:
    """How many samples of each kind there are, by name."""
    counts = np.bincount(kinds, minlength=len(Kind)).tolist()
    return {kind.title: counts[kind] for kind in Kind if counts[kind]}


def identities_of(labels: Column) -> int:
    """How many distinct labels from 0 up."""
    return len(np.unique(labels[labels >= 0]))


def size_of(heights: Column, widths: Column) -> Size | None:
    """(height, width) if all are the same."""
    same = heights.min() == heights.max() and widths.min() == widths.max()
    return (int(heights[0]), int(widths[0])) if same else None


def file_crc32(file: Path) -> int:
    """CRC-32 of a whole file, read by calls."""
    crc = 0
    with file.open("rb", buffering=0) as opened:
        while block := opened.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def part_of(folder: Path, count: int) -> PartSpec:
    """What a manifest pins of the finished data.mdb in `folder`."""
    pins = _handles.pins(folder / _format.DATA)
    return PartSpec(
        path=_format.DATA,
        count=count,
        size=pins.size,
        last_page=pins.last_page,
        last_transaction=pins.last_transaction,
        digest=pins.digest,
        crc32=file_crc32(folder / _format.DATA),
    )


def finish_data(data: Growing, journal: Growing, digest: str, copy: Path) -> Path | None:
    """Leave the digest in `data`; where its samples did not come in order, write `copy` in
    order.
    """
    unnamed = {_format.DIGEST_KEY: bytes.fromhex(digest)}
    while True:
        try:
            data.txn.put(_format.DIGEST_KEY, unnamed[_format.DIGEST_KEY])
            data.commit()
            break
        except lmdb.MapFullError:
            data.grow()
    with journal.env.begin() as txn:
        ordered = txn.get(UNORDERED, db=journal.dbs[STATE_DB]) is None
    if ordered:
        return None
    copy_in_order(data, copy, unnamed)
    return copy


def provenance() -> dict[str, str]:
    """Who sealed it, and when."""
    return {"lmdb_reid": __version__, "sealed": datetime.now(UTC).isoformat(timespec="seconds")}


def _with_facts(data: Growing, journal: Growing) -> Iterator[tuple[bytes, memoryview, Facts]]:
    """Every record in key order, checked against what was noted when it was put.

    Raises:
        StoreDamagedError: data and journal have not the same samples.
        CorruptSampleError: a record is not the one that was put.
    """
    if data.entries(RECORDS_DB) != journal.entries(FACTS_DB):
        raise StoreDamagedError("the data and the journal of the build have different samples")
    with (
        data.env.begin(buffers=True) as stored,
        journal.env.begin(buffers=True) as noted,
        stored.cursor(data.dbs[RECORDS_DB]) as records,
        noted.cursor(journal.dbs[FACTS_DB]) as all_facts,
    ):
        for (key, record), (noted_key, entry) in zip(records, all_facts, strict=False):
            name = bytes(key)
            if noted_key != key:
                raise StoreDamagedError(f"the journal of the build lacks {name.decode()!r}")
            facts = Facts.unpack(name, entry)
            _format.check_record(name, record, facts.record_crc32)
            yield name, record, facts
