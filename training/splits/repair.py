"""A split whose parts share nothing that they should not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits._duplicates import Keys
from training.splits._near import Pairs, connected, near_pairs
from training.splits._split import Split
from training.splits.leaks import (
    DISTANCE,
    LEAK_KINDS,
    Facts,
    LeakKind,
    as_hashes,
    held_by_part,
    may_share,
    place_of,
)

Mask = npt.NDArray[np.bool_]
_NONE = -1
_KNOWN_OR_NOT = [("train", "unknown"), ("unknown", "train"), ("val", "unknown"), ("unknown", "val")]
_SIDES = {"val": "held back", "unknown": "held back", "query": "searched", "gallery": "searched"}


class Repaired(NamedTuple):
    """A split without leaks."""

    split: Split
    moved: int
    """Samples that are in another part now."""
    left_out: int
    """Samples that are in no part now: of unknown identity, beside what is trained on."""


def repair(
    split: Split,
    facts: Facts,
    *,
    apart: Collection[LeakKind] = LEAK_KINDS,
    distance: int = DISTANCE,
) -> Repaired:
    """Move samples until no two parts share what they should not.

    What is connected, by a key that leaks or by pictures that are alike, goes to where most of it
    is (the first part of these where several have as much): val and unknown, and query and gallery,
    count as one place. Held back, a sample is in val where its identity is trained on, else in
    unknown. Copies in query and gallery go to one of them.

    Args:
        split: rows of what `facts` knows.
        facts: of N samples.
        apart: the kinds of leak to remove.
        distance: as in `find_leaks`.

    Returns:
        A split whose `labels` are those of its part train.

    Raises:
        UsageError: a part would lose all its samples; as `find_leaks`.
    """
    before = place_of(split, facts)
    names = list(split.parts)
    ties = _Ties(facts, before, names, [kind for kind in facts.kinds if kind in apart], distance)
    after = before
    while ties.bind(after):
        after = ties.dealt(before)
    after = ties.one_of_each_copy(after)
    after = _by_identity(before, after, facts.labels, names)
    for number, (name, rows) in enumerate(split.parts.items()):
        if len(rows) and not (after == number).any():
            raise UsageError(
                f"a split without leaks must have samples in each part, got none in {name}: what it"
                f" shares connects it with others ({', '.join(ties.kinds)}). Keep fewer kinds"
                " apart, or split by another rule"
            )
    parts = {name: np.flatnonzero(after == number) for number, name in enumerate(names)}
    trained = np.unique(facts.labels[parts["train"]]) if "train" in parts else split.labels
    return Repaired(
        Split(parts=parts, labels=[int(label) for label in trained if label >= 0]),
        moved=int(((after != before) & (after != _NONE)).sum()),
        left_out=int(((after != before) & (after == _NONE)).sum()),
    )


class _Ties:
    """What has to stay together: more in each round, for what moves may leave others behind."""

    def __init__(
        self,
        facts: Facts,
        before: Rows,
        names: list[str],
        kinds: list[LeakKind],
        distance: int,
    ) -> None:
        self._facts, self._names, self.kinds = facts, names, kinds
        sides = [_SIDES.get(name, name) for name in names]
        self._side_of = np.array([sides.index(side) for side in sides])
        self._bound: dict[LeakKind, Keys] = {}  # keys that leaked in any round, sorted
        self._alike = _alike(facts, before, distance) if "near" in kinds else None
        self._is_begun = False

    def bind(self, part_of: Rows) -> bool:
        """Look what leaks; whether there is more of it than in the rounds before."""
        is_more, self._is_begun = not self._is_begun, True
        for kind in self.kinds:
            keys = self._facts.keys(kind)
            if keys is not None:
                known = self._bound.get(kind, keys[:0])
                found = np.union1d(known, self._leaking(kind, keys, part_of))
                is_more |= len(found) > len(known)
                self._bound[kind] = found
        return is_more

    def dealt(self, part_of: Rows) -> Rows:
        """The part of each sample, when what is connected is on one side."""
        used = part_of != _NONE
        root = connected(len(part_of), self._connections(used, self.kinds))
        sides = self._side_of[part_of]
        return self._settled(part_of, root, used, sides, self._side_of)

    def one_of_each_copy(self, part_of: Rows) -> Rows:
        """The part of each sample, when no copy is in query and in gallery."""
        kinds: list[LeakKind] = [
            kind
            for kind in self.kinds
            if kind in ("copies", "near")
            and not may_share(kind, "query", "gallery", has_cameras=self._facts.has_cameras)
        ]
        searched = [n for n, name in enumerate(self._names) if _SIDES.get(name) == "searched"]
        used = np.isin(part_of, searched)
        if len(searched) < 2 or not kinds:
            return part_of
        root = connected(len(part_of), self._connections(used, kinds, is_all=True))
        return self._settled(part_of, root, used, part_of, np.arange(len(self._names)))

    def _settled(
        self, part_of: Rows, root: Rows, used: Mask, place: Rows, place_of_part: Rows
    ) -> Rows:
        """Each sample in the place, and there the part, that has most of what it is connected
        with; those that are in the place already stay in their part.
        """
        parts = len(self._names)
        held = held_by_part(root, used, part_of, parts)
        by_place = np.zeros_like(held.counts)
        for part in range(parts):
            by_place[:, place_of_part[part]] += held.counts[:, part]
        best = by_place.argmax(axis=1)
        there = place_of_part[None, :] == best[:, None]
        target = np.where(there, held.counts, _NONE).argmax(axis=1)
        moves = used.copy()
        moves[used] = place[used] != best[held.numbers[used]]
        found = part_of.copy()
        found[moves] = target[held.numbers[moves]]
        return found

    def _leaking(self, kind: LeakKind, keys: Keys, part_of: Rows) -> Keys:
        """The keys that are where they should not be together."""
        held = held_by_part(keys, keys >= 0, part_of, len(self._names))
        leaks = np.zeros(len(held.keys), bool)
        for one, other in combinations(range(len(self._names)), 2):
            pair = self._names[one], self._names[other]
            if kind == "identities" and _is_dealt_anew(self._names) and pair in _KNOWN_OR_NOT:
                continue
            if self._side_of[one] != self._side_of[other] and not may_share(kind, *pair):
                leaks |= (held.counts[:, one] > 0) & (held.counts[:, other] > 0)
        found: Keys = held.keys[leaks]
        return found

    def _connections(
        self, used: Mask, kinds: list[LeakKind], *, is_all: bool = False
    ) -> Iterator[Pairs]:
        """Pairs of rows that have to stay together."""
        for kind in kinds:
            keys = self._facts.keys(kind)
            if keys is not None:
                bound = (keys >= 0) if is_all else np.isin(keys, self._bound[kind])
                yield _in_a_row(np.flatnonzero(used & bound), keys)
        if "near" in kinds and self._alike is not None:
            ones, others = self._alike
            both = used[ones] & used[others]
            yield ones[both], others[both]


def _alike(facts: Facts, part_of: Rows, distance: int) -> Pairs:
    """Of the rows in any part that look alike, directly or through others, each and the first."""
    assert facts.hashes is not None
    hashes = as_hashes(facts.hashes, len(facts.labels), distance)
    rows = np.flatnonzero(part_of != _NONE)
    distinct, numbers = np.unique(hashes[rows], return_inverse=True)
    root = connected(len(distinct), near_pairs(distinct, distance))[numbers]
    _, firsts = np.unique(root, return_index=True)
    of = np.zeros(len(distinct), np.int64)
    of[root[firsts]] = rows[firsts]
    return rows, of[root]


def _in_a_row(rows: Rows, keys: Keys) -> Pairs:
    """Neighbours of one key, of some rows."""
    ordered = rows[np.argsort(keys[rows], kind="stable")]
    same = keys[ordered[1:]] == keys[ordered[:-1]]
    return ordered[:-1][same], ordered[1:][same]


def _is_dealt_anew(names: list[str]) -> bool:
    """Whether what is held back is dealt to val and unknown at the end, by its identity."""
    return {"train", "val", "unknown"} <= set(names)


def _by_identity(before: Rows, after: Rows, labels: Rows, names: list[str]) -> Rows:
    """Nobody unknown comes to be trained on; what is held back is in val where it is known."""
    if "train" not in names:
        return after
    found = after.copy()
    train = names.index("train")
    found[(after == train) & (before != train) & (labels < 0)] = _NONE
    if _is_dealt_anew(names):
        val, unknown = names.index("val"), names.index("unknown")
        held = np.flatnonzero(np.isin(found, (val, unknown)))
        is_known = np.isin(labels[held], labels[found == train]) & (labels[held] >= 0)
        found[held] = np.where(is_known, val, unknown)
    return found
