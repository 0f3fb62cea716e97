"""What a ranking has to know of samples: who they are, and which camera saw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Roles, Rows
from training.ranking import Entries
from training.splits import Table, camera_column


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EntryColumns:
    """The columns of all N samples that a ranking compares."""

    labels: Rows
    """int64 [N]; below 0 is nobody."""
    kinds: npt.NDArray[Any] | None
    cameras: Rows | None
    """int64 [N]; None where there are none, or a sample to be ranked has none."""
    groups: Rows | None
    """int64 [N]; None unless asked for."""
    why_no_cameras: str | None

    def of(self, rows: Rows) -> Entries:
        """Those of some samples, int64 [K]."""
        return Entries(
            labels=self.labels[rows],
            kinds=None if self.kinds is None else self.kinds[rows],
            cameras=None if self.cameras is None else self.cameras[rows],
            groups=None if self.groups is None else self.groups[rows],
        )


def entry_columns(
    table: Table, roles: Roles, ranked: Rows, *, within_group: bool = False
) -> EntryColumns:
    """What a table knows of its samples, by roles.

    One sample without a camera is enough to leave cameras out: it would count as seen by another
    camera than all others.

    Args:
        table: the samples.
        roles: of its columns; without a camera role, the column "camera" has it if it is there.
        ranked: which samples are queries or in a gallery, int64 [K].
        within_group: whether groups are needed.

    Raises:
        UsageError: samples without labels, or without groups where these are needed.
    """
    if within_group and not roles.group:
        raise UsageError(
            f"rules that match within a group need a store with that role; {table!r} has none"
        )
    labels = table.column(roles.identity)
    if labels is None:
        raise UsageError(f"samples must have a column {roles.identity!r}; {table!r} has none")
    if labels.dtype.kind not in "iu":
        labels = np.where(_lacking(labels), NO_LABEL, _numbered(labels))
    cameras, why = _cameras(table, roles, ranked)
    return EntryColumns(
        labels=labels.astype(np.int64, copy=False),
        kinds=table.column("kind"),
        cameras=cameras,
        groups=_groups(table, roles) if within_group else None,
        why_no_cameras=why,
    )


def _cameras(table: Table, roles: Roles, ranked: Rows) -> tuple[Rows | None, str | None]:
    """The camera of each sample, numbered; None where some that are ranked have none, and why."""
    name = camera_column(roles, table.column_names)
    values = None if name is None else table.column(name)
    if values is None:
        return None, "no camera role"
    lacking = int(_lacking(values[ranked]).sum())
    if lacking:
        return None, f"{lacking:,} of {len(ranked):,} samples have no camera"
    return _numbered(values), None


def _groups(table: Table, roles: Roles) -> Rows:
    """One number for each sample, the same where all columns of groups agree."""
    codes = np.zeros(len(table.ids), np.int64)
    for name in roles.group:
        values = table.column(name)
        if values is None:
            raise UsageError(f"samples must have a column {name!r}; {table!r} has none")
        found = _numbered(values)
        codes = _numbered(codes * (found.max(initial=0) + 1) + found)
    return codes


def _numbered(values: npt.NDArray[Any]) -> Rows:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _lacking(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where a value is missing: an empty word, NaN, or a number below 0."""
    if values.dtype.kind in "iufb":
        return np.isnan(values) if values.dtype.kind == "f" else values < 0
    empty: npt.NDArray[np.bool_] = values == ""
    return empty
