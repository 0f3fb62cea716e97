"""What a ranking knows of its pictures, and the rules by which it is scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Kind, Rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entries:
    """What is known of the pictures of one side, the queries or the gallery; integers, [N] each."""

    labels: npt.ArrayLike
    """Who it is; below 0: not known."""
    cameras: npt.ArrayLike | None = None
    groups: npt.ArrayLike | None = None
    """Identities hold within a group only: the action in SoccerNet-ReID."""
    kinds: npt.ArrayLike | None = None
    """`lmdb_reid.schema.Kind` (default: all are people)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleShot:
    """Of each identity one gallery picture only, drawn at random; the CMC is the mean over draws.

    In each draw every gallery picture gets a random number; of an identity's pictures that a query
    may match, the one with the lowest stands for it. What stands for nobody stands for itself.
    """

    repeats: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a ranking is scored. The usual ones are Market-1501's.

    An entry of the gallery is right where its kind is a person and its label is the query's; it is
    wrong otherwise. Left out are, and so neither right nor wrong:

    - for all queries: the kinds in `ignored`, and people of unknown identity (labels below 0);
    - for a query: with `same_camera`, entries of its identity from its camera; with `within_group`,
      entries of other groups.

    Background and distractors (Market's pid 0) are wrong answers, whatever their label.
    """

    same_camera: bool = True
    """Leave out the query's identity from the query's camera. Off where there are no cameras."""
    within_group: bool = False
    single_shot: SingleShot | None = None
    ignored: frozenset[Kind] = frozenset({Kind.PARTIAL, Kind.JUNK})
    """Market-1501's junk: boxes that show a part of somebody."""


MARKET1501 = Rules()
"""Also those of DukeMTMC-reID, MSMT17 and CUHK03's new protocol."""
CUHK03 = Rules(single_shot=SingleShot())
"""CUHK03's first protocol: single gallery shot, ten draws."""
SOCCERNET = Rules(same_camera=False, within_group=True)
"""SoccerNet-ReID: matching inside one action."""


class Columns(NamedTuple):
    """`Entries` as arrays that fit each other."""

    identities: Rows
    """int64 [N], the label; -1 for nobody, or for an unknown person."""
    cameras: Rows | None
    groups: Rows | None
    is_ignored: npt.NDArray[np.bool_]


def columns_of(entries: Entries, count: int, side: str, ignored: frozenset[Kind]) -> Columns:
    """What `entries` says, checked.

    Args:
        entries: of one side.
        count: how many entries there are.
        side: its name in messages.
        ignored: the kinds to leave out.

    Raises:
        UsageError: a column of another length, or of other things than integers.
    """
    labels = column(entries.labels, count, f"{side} labels")
    kinds = _optional(entries.kinds, count, f"{side} kinds")
    is_person = np.ones(count, bool) if kinds is None else kinds == Kind.PERSON
    is_ignored = is_person & (labels < 0)
    if kinds is not None:
        is_ignored |= np.isin(kinds, sorted(ignored))
    return Columns(
        np.where(is_person & ~is_ignored, labels, NO_LABEL),
        _optional(entries.cameras, count, f"{side} cameras"),
        _optional(entries.groups, count, f"{side} groups"),
        is_ignored,
    )


def check_sides(query: Columns, gallery: Columns, rules: Rules) -> None:
    """Whether both sides know what the rules ask for.

    Raises:
        UsageError: cameras or groups of one side only, or no groups where the rules need them.
    """
    for name, left, right in (
        ("cameras", query.cameras, gallery.cameras),
        ("groups", query.groups, gallery.groups),
    ):
        if (left is None) != (right is None):
            raise UsageError(f"{name} must be passed for queries and gallery, got one of them")
    if rules.within_group and query.groups is None:
        raise UsageError("groups must be passed if matching is within a group, got none")


def compared(
    query: Columns, gallery: Columns, *, within_group: bool
) -> Iterator[tuple[Rows, Rows]]:
    """Rows of queries, and those of the gallery entries that they are all compared with.

    Every query of known identity comes once, unless its group has no gallery entries.
    """
    queries = np.flatnonzero(query.identities > NO_LABEL)
    entries = np.flatnonzero(~gallery.is_ignored)
    if not within_group or query.groups is None or gallery.groups is None:
        yield queries, entries
        return
    yield from by_group(queries, query.groups[queries], entries, gallery.groups[entries])


def by_group(
    queries: Rows, query_groups: Rows, entries: Rows, entry_groups: Rows
) -> Iterator[tuple[Rows, Rows]]:
    """The queries and entries of each group that has both, ascending."""
    queries = queries[np.argsort(query_groups, kind="stable")]
    entries = entries[np.argsort(entry_groups, kind="stable")]
    groups, counts = np.unique(query_groups, return_counts=True)
    ends = np.cumsum(counts)
    ordered = np.sort(entry_groups)
    lows = np.searchsorted(ordered, groups, "left")
    highs = np.searchsorted(ordered, groups, "right")
    for count, end, low, high in zip(counts, ends, lows, highs, strict=True):
        if low < high:
            yield queries[end - count : end], entries[low:high]


def _optional(values: npt.ArrayLike | None, count: int, name: str) -> Rows | None:
    return None if values is None else column(values, count, name)


def column(values: npt.ArrayLike, count: int, name: str) -> Rows:
    """`values` as int64 [count].

    Raises:
        UsageError: another length, or other things than integers; `name` stands in the message.
    """
    found = np.asarray(values)
    if found.shape != (count,):
        raise UsageError(
            f"{name} must be {count}, one for each row of the distances, got {found.shape}"
        )
    if not np.issubdtype(found.dtype, np.integer):
        raise UsageError(
            f"{name} must be integers, got {found.dtype}. Number them, as numpy.unique's inverse."
        )
    return found.astype(np.int64)
