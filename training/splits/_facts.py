"""What a store knows that a search for leaks asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmdb_reid.schema import NO_LABEL, Rows
from lmdb_reid.store import Store
from training.splits._candidates import camera_column
from training.splits._duplicates import Keys, picture_keys
from training.splits.leaks import Facts

HASH_COLUMN = "phash"
"""The derived column that holds perceptual hashes."""
_BOX = ("x", "y", "w", "h")


class Twice(NamedTuple):
    """What a frame should have once; lists of rows, ascending."""

    people: list[list[int]]
    """Different boxes of one identity in one frame."""
    rows: list[list[int]]
    """The same box of the same identity, several times."""


def facts_of(store: Store, hashes: Keys | None = None) -> Facts:
    """What a store knows of its samples, by its roles.

    Args:
        store: the store.
        hashes: perceptual hashes, [N] of 64 bits; those of the column phash, if there is one,
            unless given.
    """
    columns, roles = store.columns, store.roles
    groups = _codes(store, roles.group)
    camera = camera_column(roles, columns)
    seen_by = () if camera is None else (camera,)
    track = None if roles.track is None else _codes(store, (*roles.group, *seen_by, roles.track))
    if hashes is None and HASH_COLUMN in columns:
        hashes = columns[HASH_COLUMN]
    return Facts(
        labels=columns["label"],
        groups=groups,
        tracks=track,
        copies=picture_keys(columns["crc32"], columns["image_size"]),
        hashes=hashes,
        has_cameras=camera is not None,
    )


def twice_in_a_frame(store: Store, rows: Rows) -> Twice:
    """Identities that have several boxes in one frame, and boxes that are there several times.

    Of stores that were cut from frames: an id is `<frame>#<number>` there.

    Args:
        store: the store.
        rows: int64 [N], where to look.
    """
    labels = store.columns["label"]
    rows = np.sort(rows[labels[rows] > NO_LABEL])
    frames = _frames(store, rows)
    rows, frames = rows[frames >= 0], frames[frames >= 0]
    people, same = [], []
    for some in _alike(rows, [frames, labels[rows]]):
        boxes = [store.columns[name][some] for name in _BOX if name in store.columns]
        if len(boxes) < len(_BOX):
            people.append(some.tolist())
            continue
        repeated = _alike(some, boxes)
        same += [each.tolist() for each in repeated]
        if not repeated or len(repeated[0]) < len(some):
            people.append(some.tolist())
    return Twice(people, same)


def _frames(store: Store, rows: Rows) -> Rows:
    """The number of each row's frame, int64 [N]; -1 where the id names none."""
    numbers: dict[str, int] = {}
    found = np.full(len(rows), -1, np.int64)
    for place, row in enumerate(rows.tolist()):
        frame, hash_sign, _ = store.ids[row].rpartition("#")
        if hash_sign:
            found[place] = numbers.setdefault(frame, len(numbers))
    return found


def _alike(rows: Rows, values: Sequence[Keys]) -> list[Rows]:
    """Rows, two or more, that have the same of all values; ascending, in their order."""
    order = np.lexsort(list(values))
    differs = np.zeros(max(0, len(rows) - 1), bool)
    for value in values:
        differs |= np.diff(value[order]) != 0
    groups = np.split(order, 1 + np.flatnonzero(differs))
    found = [np.sort(rows[group]) for group in groups if len(group) > 1]
    return sorted(found, key=lambda group: int(group[0]))


def _codes(store: Store, names: Sequence[str]) -> Rows | None:
    """One number for each sample, int64 [N], the same where these columns all agree; -1 where one
    of them has no value; None where there are no columns.
    """
    if not names:
        return None
    codes = np.zeros(len(store), np.int64)
    is_known = np.ones(len(store), bool)
    for name in names:
        values = store.columns[name]
        if store.columns.categories(name) is not None:
            is_known &= values >= 0
        elif values.dtype.kind == "f":
            is_known &= ~np.isnan(values)
        _, found = np.unique(values, return_inverse=True)
        _, codes = np.unique(codes * (found.max(initial=0) + 1) + found, return_inverse=True)
    return np.where(is_known, codes, -1).astype(np.int64)
