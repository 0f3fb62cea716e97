"""What stands beside a sample's picture: who and when it shows, in words, and its kind as a
colour.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lmdb_reid._names import did_you_mean
from lmdb_reid.errors import UnknownColumnError, UsageError
from lmdb_reid.pictures import Colour
from lmdb_reid.schema import NO_LABEL, Kind, Roles, Rows
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._ids import Ids

COLOURS: dict[Kind, Colour] = {
    Kind.PERSON: (102, 204, 238),
    Kind.BACKGROUND: (187, 187, 187),
    Kind.PARTIAL: (221, 170, 51),
    Kind.JUNK: (170, 51, 119),
    Kind.DISTRACTOR: (238, 102, 119),
}
"""Of each kind: Paul Tol's bright colours, which the colour-blind can tell apart too."""
_LEAST_EACH = 3  # samples of an identity, on average, that are worth a group


class Captioned(Protocol):
    """What of a store captions are read from."""

    ids: Ids
    columns: Columns

    @property
    def roles(self) -> Roles: ...


def captions(
    store: Captioned, rows: Rows, *, with_who: bool = True, with_ids: bool = True
) -> list[str]:
    """Such as "label 3 · Q1-000 · side · f12": who, then the group, the camera and the frame that
    the store's roles know; without any of them the end of the id.

    Args:
        store: whose columns say it.
        rows: of the samples, int64 [N].
        with_who: False where a heading has it.
        with_ids: False where the id stands beside it.
    """
    roles = store.roles
    parts = [whos(store, rows) if with_who else []]
    parts += [values(store, name, rows) for name in roles.group]
    if roles.camera is not None:
        parts.append(values(store, roles.camera, rows))
    if roles.time:
        parts.append([moment and f"f{moment}" for moment in values(store, roles.time[-1], rows)])
    if with_ids and not (roles.group or roles.camera or roles.time):
        ids = (store.ids[row] for row in rows.tolist())
        parts.append([sample_id.replace("\\", "/").rpartition("/")[2][-16:] for sample_id in ids])
    parts = [part for part in parts if part]
    if not parts:
        return [""] * len(rows)
    return [" · ".join(text for text in each if text) for each in zip(*parts, strict=True)]


def whos(store: Captioned, rows: Rows) -> list[str]:
    """Who each shows: "label 3", or the kind of what has no label."""
    labels, kinds = store.columns["label"][rows].tolist(), store.columns["kind"][rows].tolist()
    return [
        f"label {label}" if label > NO_LABEL else Kind(kind).title
        for label, kind in zip(labels, kinds, strict=True)
    ]


def kinds_of(store: Captioned, rows: Rows) -> list[Kind]:
    """The kind of each."""
    return [Kind(kind) for kind in store.columns["kind"][rows].tolist()]


def legend(kinds: Sequence[Kind]) -> dict[str, Colour]:
    """{"40 person": its colour} of each kind that there is."""
    return {
        f"{kinds.count(kind):,} {kind.title}": colour
        for kind, colour in COLOURS.items()
        if kind in kinds
    }


def values(store: Captioned, name: str, rows: Rows) -> list[str]:
    """A column's values as texts; a number after the column's name, unless it counts time; "" where
    there is none.
    """
    column, names = store.columns[name][rows].tolist(), store.columns.categories(name)
    if names is not None:
        return [names[code] if code >= 0 else "" for code in column]
    before = "" if name in store.roles.time else f"{name} "
    return [
        "" if isinstance(value, float) and math.isnan(value) else f"{before}{value:.12g}"
        for value in column
    ]


def in_groups(store: Captioned, rows: Rows, by: str) -> tuple[Rows, list[str]]:
    """(the rows group by group, a heading with the size of its group for each).

    Identities come by number, persons before other kinds; within a group rows stay in order.

    Args:
        store: whose columns say it.
        rows: of the samples, int64 [N].
        by: "label", "kind", another column, or a role.

    Raises:
        UnknownColumnError: there is no such column or role; names the nearest.
        UsageError: no column of the store has that role.
    """
    columns = store.columns
    kinds = columns["kind"][rows]
    if by == "kind":
        names, order = [kind.title for kind in kinds_of(store, rows)], np.lexsort((kinds,))
    elif by in ("label", "identity"):
        labels = columns["label"][rows]
        names, order = whos(store, rows), np.lexsort((labels, kinds))
    else:
        those = _columns_of(store, by)
        texts = zip(*(values(store, name, rows) for name in those), strict=True)
        names = [" · ".join(text or "none" for text in each) for each in texts]
        order = np.lexsort([columns[name][rows] for name in reversed(those)])
    counts = Counter(names)
    return rows[order], [f"{names[at]} ({counts[names[at]]:,})" for at in order.tolist()]


def _columns_of(store: Captioned, by: str) -> list[str]:
    """The columns of a role, or the one of that name."""
    if not isinstance(by, str):
        raise UsageError(f"by must be the name of a column or role, got {by!r}.")
    if by in store.columns:
        return [by]
    roles = dataclasses.asdict(store.roles)
    if by not in roles:
        raise UnknownColumnError(
            f"by must be a column or a role, got {by!r}."
            f"{did_you_mean(by, [*store.columns, *roles])}"
        )
    if not roles[by]:
        raise UsageError(f"by must be a role that a column of the store has, got {by!r}.")
    return [roles[by]] if isinstance(roles[by], str) else list(roles[by])


def worth_grouping(store: Captioned, rows: Rows) -> bool:
    """Whether several identities or kinds have enough samples each to be groups."""
    different = len(set(whos(store, rows)))
    return different > 1 and len(rows) >= _LEAST_EACH * different


def persons_first(store: Captioned, rows: Rows) -> Rows:
    """The rows of persons, then the others; in order."""
    ordered: Rows = rows[np.argsort(store.columns["kind"][rows] != Kind.PERSON, kind="stable")]
    return ordered
