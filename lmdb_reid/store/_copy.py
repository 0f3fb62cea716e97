"""Several stores as one file."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmdb_reid import _disk
from lmdb_reid.store import _format
from lmdb_reid.store._merge import merge
from lmdb_reid.store._prepared import NewSample
from lmdb_reid.store._store import Store
from lmdb_reid.store._writer import StoreWriter

_AT_ONCE = 256  # rows read in one transaction


def copy_whole(
    stores: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    same_identities: bool = False,
    overwrite: bool = False,
) -> Path:
    """As `merge`, with all pictures copied into one data file of the new store's own.

    Its records have the new store's labels, and fields for the columns that were made for a role;
    so its content digest is another than that of the merged stores.

    Args and Raises: as `merge`.
    CorruptSampleError: a sample is damaged; it is compared before it is copied.
    """
    path = Path(out).resolve()
    joined = path.with_name(path.name + ".joined")
    try:
        merge(stores, joined, names=names, same_identities=same_identities, overwrite=True)
        with (
            Store(joined) as store,
            StoreWriter(
                path,
                settings=store.manifest.build,
                source=store.manifest.source,
                roles=store.roles,
                overwrite=overwrite,
            ) as writer,
        ):
            _copy(store, writer)
            return writer.seal()
    finally:
        _disk.remove(joined)


def _copy(store: Store, writer: StoreWriter) -> None:
    order = sorted(range(len(store)), key=store.ids.key)  # a part's keys ascend
    derived = [name for name, spec in store.manifest.columns.items() if spec.derived]
    orders = store.columns["src_order"]
    for first in range(0, len(order), _AT_ONCE):
        rows = order[first : first + _AT_ONCE]
        with store.reading() as reading:
            images, records = reading.jpegs(rows), reading.records(rows)
            samples = []
            for row, image, packed in zip(rows, images, records, strict=True):
                key = store.ids.key(row)
                record = _format.unpack_record(key, packed)
                record["label"] = store.columns["label"].item(row)
                samples.append(
                    NewSample(
                        key.decode(),
                        bytes(image),
                        _with_roles(store, record, row),
                        orders.item(row),
                        _derived(store, row, derived),
                    )
                )
        writer.put_group("", samples)


def _with_roles(store: Store, record: dict[str, Any], row: int) -> Mapping[str, Any]:
    """A record with fields for the columns that its part has under another name, or lacks."""
    first = [part.first for part in store.manifest.parts]
    part = store.manifest.parts[bisect_right(first, row) - 1]
    for name in part.fields:
        value, categories = store.columns[name].item(row), store.columns.categories(name)
        missing = value == -1 if categories is not None else np.isnan(value)
        if name in record:
            record[f"src_{name}"] = record[name]
        record[name] = None if missing else categories[value] if categories else value
    return record


def _derived(store: Store, row: int, names: Sequence[str]) -> dict[str, int | float]:
    values = {name: store.columns[name].item(row) for name in names}
    return {name: value for name, value in values.items() if not np.isnan(value)}
