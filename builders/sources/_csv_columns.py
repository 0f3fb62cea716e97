"""What the columns of a csv with roles say: kinds of rows, and roles of the store's columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from builders.columns import cells_of
from builders.sources._columns_option import ColumnRoles, stored_name
from builders.sources._frames import Frames
from builders.sources._table import Reasons, Table
from lmdb_reid.schema import Kind, Roles

_KINDS = {kind.title: int(kind) for kind in Kind} | {str(int(kind)): int(kind) for kind in Kind}


def kinds_of(csv: Table, name: str, reasons: Reasons) -> npt.NDArray[np.uint8]:
    """The kind of each row [N]; an empty cell is a person."""
    kinds = np.zeros(len(csv), np.uint8)
    for row, cell in enumerate(csv.texts(name)):
        text = cell.strip().lower()
        kind = _KINDS.get(text) if text else int(Kind.PERSON)
        if kind is None:
            reasons[row] = reasons[row] or f"{name} must be of {', '.join(_KINDS)}, got {cell!r}"
        else:
            kinds[row] = kind
    return kinds


def roles_of(columns: ColumnRoles, frames: Frames) -> Roles:
    """What the columns say, of those that have a cell."""
    listed = {**frames.fields, **frames.rows.fields}
    there = {
        name for name, cells in listed.items() if any(cell is not None for cell in cells_of(cells))
    }
    one = {role: stored_name(name) for role, name in columns.one.items()}

    def role(name: str) -> str | None:
        return one[name] if one.get(name) in there else None

    return Roles(
        camera=role("camera"),
        group=tuple(name for name in map(stored_name, columns.group) if name in there),
        time=tuple(name for name in map(stored_name, columns.times) if name in there),
        split=role("split"),
        track=role("track"),
    )
