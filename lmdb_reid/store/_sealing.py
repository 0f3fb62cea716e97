"""What turns a finished `data.mdb` and its journal into a store: columns, order, the manifest's
facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lmdb

from lmdb_reid import _disk
from lmdb_reid._version import __version__
from lmdb_reid.schema import Kind
from lmdb_reid.store import _format
from lmdb_reid.store._columns_builder import ColumnsBuilder
from lmdb_reid.store._format import RECORDS_DB, Facts
from lmdb_reid.store._growing import Growing, copy_in_order

# The journal's databases, and the keys of its state.
FACTS_DB, MARKS_DB, STATE_DB = b"facts", b"marks", b"state"
LAST, UNORDERED = b"last_transaction", b"unordered"


def write_columns(folder: Path, data: Growing, journal: Growing) -> dict[str, Any]:
    """Write the column files anew, synced; returns what of the manifest follows from the
    samples.
    """
    builder, digest = ColumnsBuilder(), _format.ContentDigest()
    for key, record, facts in _with_facts(data, journal):
        builder.add(key, _format.unpack_record(record), facts)
        digest.add(facts.sha256)
    if not len(builder):
        return {"samples": 0}
    _disk.remove(folder)
    columns = builder.write(folder)
    labels, kinds = builder.core("label"), builder.core("kind")
    heights, widths = builder.core("height"), builder.core("width")
    same = heights.min() == heights.max() and widths.min() == widths.max()
    return {
        "format": _format.FORMAT,
        "version": list(_format.VERSION),
        "samples": len(builder),
        "kinds": {k.title: int((kinds == k).sum()) for k in Kind if (kinds == k).any()},
        "identities": len(set(labels[labels >= 0].tolist())),
        "size": [int(heights[0]), int(widths[0])] if same else None,
        "digest": digest.hex(),
        "columns": columns,
    }


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
    """Every record in key order, checked against what was noted when it was put."""
    with (
        data.env.begin(buffers=True) as stored,
        journal.env.begin(buffers=True) as noted,
        stored.cursor(data.dbs[RECORDS_DB]) as records,
        noted.cursor(journal.dbs[FACTS_DB]) as all_facts,
    ):
        for (key, record), (_, packed) in zip(records, all_facts, strict=True):
            name, facts = bytes(key), Facts.unpack(packed)
            _format.check_record(name, record, facts.record_crc32)
            yield name, record, facts
