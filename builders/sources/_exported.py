"""What `lmdb-reid export` wrote: files that are crops, and a csv of their ids and records."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from builders.columns import Coded, TextMap, Texts
from builders.media import Files
from builders.sources._columns_option import stored_name
from builders.sources._protocol import Listing
from builders.sources._rows import RowTable
from builders.sources._table import Number, Reasons, Table, numbers_of, read_table
from builders.sources._tree import below_root
from lmdb_reid.errors import DuplicateSampleError
from lmdb_reid.schema import NO_LABEL, Kind, Roles
from lmdb_reid.store import (
    EXPORT_COLUMNS,
    EXPORT_CSV,
    EXPORT_ORDER,
    FIELD_PREFIX,
    cell_text,
    cell_value,
    export_roles,
)

_KINDS = {kind.title: int(kind) for kind in Kind}
_LABEL = Number(whole=True, least=NO_LABEL)


def is_export(root: Path) -> bool:
    """Whether a folder has the csv of an export."""
    try:
        with (root / EXPORT_CSV).open(encoding="utf-8-sig") as file:
            return tuple(file.readline(100_000).strip().split(",")[:4]) == EXPORT_COLUMNS
    except (OSError, UnicodeDecodeError):
        return False


def exported_listing(name: str, root: Path) -> Listing:
    """The samples of an export, with the ids, labels, kinds and records that it notes.

    Args:
        name: the source's.
        root: the folder of the csv.

    Raises:
        SourceError: the csv or the roles cannot be read.
        DuplicateSampleError: two lines have one id.
    """
    csv = read_table(root / EXPORT_CSV, EXPORT_COLUMNS, option="--root")
    reasons: Reasons = np.full(len(csv), "", object)
    ids = [str(cell_value(text)) if text else "" for text in csv.texts("id")]
    files = [below_root(str(cell_value(text))) if text else "" for text in csv.texts("file")]
    _refuse_twice(ids, csv)
    for row, (sample_id, file) in enumerate(zip(ids, files, strict=True)):
        if not sample_id:
            reasons[row] = "id is missing"
        elif not file:
            reasons[row] = "its file must be a path below --root"
        elif not (root / file).is_file():
            reasons[row] = f"{file} is not in {root}"
    label = numbers_of(csv, "label", _LABEL, reasons)
    kind = np.zeros(len(csv), np.uint8)
    for row, title in enumerate(csv.texts("kind")):
        if title not in _KINDS:
            reasons[row] = reasons[row] or f"kind must be of {', '.join(_KINDS)}, got {title!r}"
        kind[row] = _KINDS.get(title, 0)
    records, columns = _records(csv)
    good = reasons == ""
    table = RowTable(
        keys=ids,
        frame=np.arange(len(csv)),
        label=np.where(good, label, NO_LABEL).astype(np.int64),
        box=np.full((len(csv), 4), np.nan),
        document=Coded(codes=np.zeros(len(csv), np.int32), categories=(f"{EXPORT_CSV} line",)),
        entry=csv.lines,
        kind=kind,
        records=records,
    )
    places = np.flatnonzero(good).tolist()
    return Listing(
        frames=table.frames(good, good),
        medium=Files(root, TextMap((ids[row], files[row]) for row in places)),
        rows=len(csv),
        skipped=table.rejected(reasons),
        inputs={"csv": csv.digest},
        settings={"format": name},
        places={"root": str(root.absolute())},
        roles=_there(export_roles(root), columns),
    )


def _records(csv: Table) -> tuple[Texts, set[str]]:
    """The fields of each record, beside label and kind, as JSON; and the names of all."""
    own = (*EXPORT_COLUMNS, EXPORT_ORDER)
    headers = {header: str(cell_value(str(header))) for header in csv.cells if header not in own}
    names = {header: name.removeprefix(FIELD_PREFIX) for header, name in headers.items()}
    orders = csv.texts(EXPORT_ORDER) if EXPORT_ORDER in csv.cells else [""] * len(csv)
    cells = [csv.texts(header) for header in names]
    rows = zip(*cells, strict=True) if cells else iter([()] * len(csv))
    return (
        Texts.of(
            _record([*names.values()], row, order) for row, order in zip(rows, orders, strict=True)
        ),
        {*names.values()},
    )


def _record(names: list[str], cells: tuple[str, ...], order: str) -> str:
    """The fields of a row as `BoxRows.records` has them."""
    found = {name: cell_value(cell) for name, cell in zip(names, cells, strict=True) if cell}
    if order:
        found = {name: found.get(name) for name in cell_value(order)}
    return cell_text([*map(list, found.items())])


def _refuse_twice(ids: list[str], csv: Table) -> None:
    lines: dict[str, int] = {}
    for sample_id, line in zip(ids, csv.lines.tolist(), strict=True):
        if sample_id and lines.setdefault(sample_id, line) != line:
            raise DuplicateSampleError(
                f"lines {lines[sample_id]} and {line} of {csv.path} have the same id: {sample_id}"
            )


def _there(roles: Roles, names: set[str]) -> Roles:
    """The roles of columns that the csv has."""
    columns = {*map(stored_name, names)}

    def there(name: str | None) -> str | None:
        return name if name in columns else None

    return Roles(
        camera=there(roles.camera),
        group=tuple(name for name in roles.group if name in columns),
        time=tuple(name for name in roles.time if name in columns),
        split=there(roles.split),
        track=there(roles.track),
    )
