"""A store as picture files and a csv: the way out, and all that the way back needs.

DIR/samples.csv                        one line a sample, in the source's order: file, id, label,
                                       kind, and every field of its record as `_cells` has it
DIR/store.json                         roles, and the content digest where all samples are there
DIR/images/{id}.jpg                    "csv"
DIR/{identity, or what it is}/{id}.jpg "folder", with __ for each slash of the id
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from lmdb_reid import _disk
from lmdb_reid._arguments import known_arguments
from lmdb_reid._json import Fields, parse
from lmdb_reid._regular import read_limited
from lmdb_reid.errors import InvalidSampleError, SourceError, UsageError, WriteError
from lmdb_reid.progress import Progress
from lmdb_reid.schema import Kind, Roles, Rows
from lmdb_reid.store._cells import cell_text
from lmdb_reid.store._format import Record, unpack_record
from lmdb_reid.store._specs import plain_roles, roles_of

if TYPE_CHECKING:
    from lmdb_reid.store._store import Store

Layout = Literal["csv", "folder"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
EXPORT_CSV, EXPORT_COLUMNS = "samples.csv", ("file", "id", "label", "kind")
"""The csv of an export, and the columns that it begins with."""
EXPORT_ORDER = "fields"
"""The column that names the fields of each record, where some have them in another order than the
columns, or null in one.
"""
FIELD_PREFIX = "field."
"""What the csv calls a field of a record whose name is one of its own columns'."""
_ROLES = "store.json"
_MOST_ROLES = 1 << 20  # bytes
_CHUNK = 256
_MAX_NAME = 255  # bytes; of most file systems


@known_arguments(
    answers={
        "path": "Use folder=.",
        "dir": "Use folder=.",
        "layout": "Use to=.",
        "format": "Use to=.",
    }
)
def export(
    store: Store,
    folder: str | os.PathLike[str],
    rows: Rows | None = None,
    *,
    to: Layout = "csv",
    progress: Progress | None = None,
) -> Path:
    """Write samples as JPEG files, byte for byte, and a csv of all that is known of them.

    `lmdb-reid build --format csv --root FOLDER --size native` makes a store of them again, with the
    same ids, records and content digest. Of a store of parts with names, that is one with these
    names in its ids, and labels as this store has them.

    Args:
        store: read from.
        folder: made if it is not there; it must be empty.
        rows: which samples (default: all).
        to: "csv": files by their ids; "folder": a folder for each identity.
        progress: called after every few samples.

    Returns:
        The csv.

    Raises:
        UsageError: no rows, another layout, or the folder is not empty.
        InvalidSampleError: an id that is no path of a file below the folder.
        CorruptSampleError: a sample's bytes are not those that were sealed.
        WriteError: the folder cannot be written.
    """
    if to not in LAYOUTS:
        raise UsageError(f"to must be one of {', '.join(LAYOUTS)}, got {to!r}")
    chosen = np.arange(len(store)) if rows is None else np.asarray(rows, np.int64)
    if not len(chosen):
        raise UsageError("there must be at least one sample to export, got no rows")
    chosen = _in_order(store, chosen)
    paths = _paths(store, chosen, to)
    root = Path(folder)
    try:
        _make_empty(root)
        names, is_plain = _field_names(store, chosen)
        order = () if is_plain else (EXPORT_ORDER,)
        with _disk.whole_text(root / EXPORT_CSV) as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow([*EXPORT_COLUMNS, *order, *map(_header, names)])
            for done, (row, jpeg, record) in enumerate(_samples(store, chosen), 1):
                path = paths[done - 1]
                _write(root / path, jpeg, store.ids[row])
                lines.writerow(_line(path, store.ids[row], record, names, is_plain=is_plain))
                if progress and (done % _CHUNK == 0 or done == len(chosen)):
                    progress(done, len(chosen), 0)
            _disk.write_whole(root / _ROLES, _facts(store, len(chosen)))
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(
            f"{root} cannot be written: {error.strerror or error}", path=root
        ) from None
    return root / EXPORT_CSV


def export_roles(folder: Path) -> Roles:
    """The roles that an export notes; those of no columns where it notes none.

    Raises:
        SourceError: the note cannot be read.
    """
    path = folder / _ROLES
    try:
        return roles_of(Fields(parse(read_limited(path, _MOST_ROLES)), str(path)).inner("roles"))
    except FileNotFoundError:
        return Roles()
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def _in_order(store: Store, rows: Rows) -> Rows:
    """Rows by part, and within it in the source's own order; those that it does not have, last."""
    order = store.columns["src_order"][rows]
    part = np.searchsorted([each.first for each in store.manifest.parts], rows, side="right")
    return rows[np.lexsort([rows, np.where(order < 0, np.iinfo(np.int64).max, order), part])]


def _paths(store: Store, rows: Rows, to: Layout) -> list[str]:
    """The file of each row, below the folder.

    Raises:
        InvalidSampleError: an id that gives none, or two that give the same.
    """
    labels, kinds = store.columns["label"][rows], store.columns["kind"][rows]
    of_file: dict[str, str] = {}
    for row, label, kind in zip(rows.tolist(), labels.tolist(), kinds.tolist(), strict=True):
        sample_id = store.ids[row]
        _check_path(sample_id)
        path = f"images/{sample_id}.jpg"
        if to == "folder":
            path = f"{_folder(label, Kind(kind))}/{sample_id.replace('/', '__')}.jpg"
        name = path.rpartition("/")[2]
        if len(name.encode()) > _MAX_NAME:
            cure = " Export it with --to csv" if "/" in sample_id and to == "folder" else ""
            raise InvalidSampleError(
                f"{sample_id}: the names of files have at most {_MAX_NAME} bytes, and"
                f" {name[:40]}... has {len(name.encode())}.{cure}",
                ids=[sample_id],
            )
        earlier = of_file.setdefault(path, sample_id)
        if earlier != sample_id:
            raise InvalidSampleError(
                f"{earlier} and {sample_id} would both be {path}. Export them with --to csv",
                ids=[earlier, sample_id],
            )
    for path in {*_folders_of(of_file)} & of_file.keys():
        raise InvalidSampleError(
            (
                f"{of_file[path]}: its file {path} would have to be a folder too, for the"
                " ids below it. Export it with --to folder"
            ),
            ids=[of_file[path]],
        )
    return [*of_file]


def _check_path(sample_id: str) -> None:
    """Refuse an id that would lead out of the folder, or be another path on another system."""
    parts = sample_id.split("/")
    if "\\" in sample_id or any(part in ("", ".", "..") for part in parts):
        raise InvalidSampleError(
            f"{sample_id!r} cannot be the path of a file: an id to export has parts with names"
            " between slashes, none of them . or .., and no backslash",
            ids=[sample_id],
        )
    for part in parts[:-1]:
        if len(part.encode()) > _MAX_NAME:
            raise InvalidSampleError(
                f"{sample_id}: the names of folders have at most {_MAX_NAME} bytes, and"
                f" {part[:40]}... has {len(part.encode())}",
                ids=[sample_id],
            )


def _folders_of(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        at = path.find("/")
        while at >= 0:
            yield path[:at]
            at = path.find("/", at + 1)


def _folder(label: int, kind: Kind) -> str:
    if kind != Kind.PERSON:
        return kind.title
    return f"{label:04d}" if label >= 0 else "unknown"


def _make_empty(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} must be a folder that is empty, or not there; it is a file")
    if root.exists() and any(root.iterdir()):
        first = min(each.name for each in root.iterdir())
        raise UsageError(f"{root} must be empty, or not there; it has {first}")
    _disk.make_folder(root)


def _samples(store: Store, rows: Rows) -> Iterator[tuple[int, memoryview, Record]]:
    """(row, JPEG, record) of each row. The JPEG is good until the next one is asked for."""
    for first in range(0, len(rows), _CHUNK):
        chosen = rows[first : first + _CHUNK].tolist()
        labels = store.columns["label"][chosen].tolist()
        with store.reading() as reading:
            jpegs, packed = reading.jpegs(chosen), reading.records(chosen)
            for row, label, jpeg, data in zip(chosen, labels, jpegs, packed, strict=True):
                # Of a store of parts, labels are numbered over all of them.
                yield row, jpeg, unpack_record(store.ids.key(row), data) | {"label": label}


def _field_names(store: Store, rows: Rows) -> tuple[list[str], bool]:
    """All fields of records, in an order that most records have them in; and whether all have."""
    seen: dict[tuple[tuple[str, bool], ...], None] = {}
    for first in range(0, len(rows), _CHUNK):
        chosen = rows[first : first + _CHUNK].tolist()
        with store.reading() as reading:
            for row, data in zip(chosen, reading.records(chosen), strict=True):
                record = unpack_record(store.ids.key(row), data)
                seen.setdefault(tuple((name, record[name] is None) for name in record))
    names: list[str] = []
    for fields in sorted(seen, key=len, reverse=True):
        at = 0
        for name, _ in fields[2:]:  # label and kind are the first of each
            if name in names:
                at = max(at, names.index(name) + 1)
            else:
                names.insert(at, name)
                at += 1
    place = {name: at for at, name in enumerate(names)}
    is_plain = all(
        not any(is_null for _, is_null in fields)
        and all(place[one] < place[other] for (one, _), (other, _) in pairwise(fields[2:]))
        for fields in seen
    )
    return names, is_plain


def _header(name: str) -> str:
    taken = name in (*EXPORT_COLUMNS, EXPORT_ORDER) or name.startswith(FIELD_PREFIX)
    return cell_text(FIELD_PREFIX + name if taken else name)


def _line(
    path: str, sample_id: str, record: Record, names: Sequence[str], *, is_plain: bool
) -> list[str]:
    order = [] if is_plain else [cell_text([*record][2:])]
    try:
        cells = ["" if record.get(name) is None else cell_text(record[name]) for name in names]
    except InvalidSampleError as error:
        raise InvalidSampleError(f"{sample_id}: {error}", ids=[sample_id]) from None
    return [
        cell_text(path),
        cell_text(sample_id),
        str(record["label"]),
        Kind(record["kind"]).title,
        *order,
        *cells,
    ]


def _write(path: Path, jpeg: memoryview, sample_id: str) -> None:
    with _disk.write_errors(path):
        _disk.make_folder(path.parent)
        if path.exists():  # on file systems that take two names for one
            raise WriteError(f"{sample_id}: {path} is another sample's file already", path=path)
        _disk.write(path, jpeg)


def _facts(store: Store, count: int) -> bytes:
    facts: dict[str, Any] = {"roles": plain_roles(store.roles), "samples": count}
    if count == len(store) and not any(part.name for part in store.manifest.parts):
        facts["digest"] = store.digest
    return json.dumps(facts, indent=1, ensure_ascii=False).encode()
