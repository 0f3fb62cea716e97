"""What the parts of a split share and should not: identities, groups, tracks, pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits._duplicates import Keys, shared_between_parts
from training.splits._near import Pairs, connected, near_pairs
from training.splits._split import Split

LeakKind = Literal["identities", "groups", "tracks", "copies", "near"]
LEAK_KINDS: tuple[LeakKind, ...] = get_args(LeakKind)
DISTANCE = 4
"""Bits in which the perceptual hashes of near-duplicates differ, at most."""

_SHOWN = 5
_HELD = frozenset({"val", "unknown"})
_SEARCH = frozenset({"query", "gallery"})
_CLASSIFIED = frozenset({"train", "val", "test"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What is known of samples, a whole number for each, [N]; where it is below 0, nothing is known
    of this one. None: nothing is known of any.
    """

    labels: Rows
    groups: Keys | None = None
    """Games, quarters or actions, by number."""
    tracks: Keys | None = None
    """By number, another for each group and camera."""
    copies: Keys | None = None
    """`picture_keys`."""
    hashes: Keys | None = None
    """Perceptual hashes of 64 bits; any number is one."""
    has_cameras: bool = False
    """Whether a ranking leaves out what the query's own camera saw of the query's identity."""

    def keys(self, kind: LeakKind) -> Keys | None:
        """The numbers of a kind, but hashes, which are no keys: they may differ in some bits."""
        found = {"groups": self.groups, "tracks": self.tracks, "copies": self.copies}
        return self.labels if kind == "identities" else found.get(kind)

    @property
    def kinds(self) -> tuple[LeakKind, ...]:
        """What can be looked for."""
        known = {kind for kind in LEAK_KINDS if self.keys(kind) is not None}
        known |= set() if self.hashes is None else {"near"}
        return tuple(kind for kind in LEAK_KINDS if kind in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Something that stands in two parts."""

    kind: LeakKind
    parts: tuple[str, str]
    count: int
    """Identities, groups, tracks, or pictures; of "near", groups of crops that look alike."""
    samples: tuple[int, int]
    """How many samples of each part this concerns."""
    examples: tuple[tuple[int, int], ...]
    """Rows, one of each part."""
    meant: bool
    """Whether these parts are there to share this: see `may_share`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """What the parts of a split share."""

    kinds: tuple[LeakKind, ...]
    """What was looked for."""
    shared: tuple[Leak, ...]

    def found(self, apart: Collection[str] = LEAK_KINDS) -> list[Leak]:
        """What is shared and should not be, of some kinds."""
        return [each for each in self.shared if not each.meant and each.kind in apart]


def may_share(kind: LeakKind, one: str, other: str, *, has_cameras: bool = False) -> bool:
    """Whether two parts are there to share something.

    Query and gallery share all but copies (near-duplicates too where a ranking leaves out what the
    query's own camera saw). Val and unknown are held back together, so they may share all but
    identities; train, val and test share their identities alone.
    """
    pair = {one, other}
    if pair <= _SEARCH:
        return kind != "copies" and (kind != "near" or has_cameras)
    if kind == "identities":
        return pair <= _CLASSIFIED
    return pair <= _HELD


def find_leaks(split: Split, facts: Facts, *, distance: int = DISTANCE) -> Leaks:
    """All that two parts of a split share.

    Args:
        split: rows of what `facts` knows.
        facts: of N samples.
        distance: bits in which the hashes of near-duplicates differ, at most. Copies are among
            these.

    Raises:
        UsageError: a distance out of range, facts of another number of samples, or an empty split.
    """
    part_of = place_of(split, facts)
    shared: list[Leak] = []
    for kind in facts.kinds:
        keys = facts.keys(kind)
        if keys is None:
            shared += _near(facts, part_of, list(split.parts), distance)
        else:
            shared += _by_key(kind, keys, split, facts)
    return Leaks(kinds=facts.kinds, shared=tuple(shared))


def place_of(split: Split, facts: Facts) -> Rows:
    """The number of each sample's part, int64 [N]; -1: in none.

    Raises:
        UsageError: as `find_leaks`.
    """
    count = len(facts.labels)
    rows = split.rows(*split.parts)
    if not len(rows):
        raise UsageError("the split must have samples, got none in any part")
    if rows[-1] >= count or rows[0] < 0:
        raise UsageError(f"the split must be of these {count} samples, got row {rows[-1]}")
    part_of = np.full(count, -1, np.int64)
    for number, part in enumerate(split.parts.values()):
        part_of[part] = number
    return part_of


class Held(NamedTuple):
    """How many samples with each key a part holds."""

    keys: Keys
    """The distinct ones, sorted [K]."""
    numbers: Rows
    """Of each sample [N], its key's place in `keys`; -1: it has none, or is in no part."""
    counts: Rows
    """[K, parts]."""


def held_by_part(keys: Keys, is_known: npt.NDArray[np.bool_], part_of: Rows, parts: int) -> Held:
    """Count what each part holds of each key."""
    used = np.flatnonzero(is_known & (part_of >= 0))
    distinct, found = np.unique(keys[used], return_inverse=True)
    numbers = np.full(len(keys), -1, np.int64)
    numbers[used] = found
    counts = np.bincount(found * parts + part_of[used], minlength=len(distinct) * parts)
    return Held(distinct, numbers, counts.reshape(-1, parts))


def _by_key(kind: LeakKind, keys: Keys, split: Split, facts: Facts) -> list[Leak]:
    found = []
    for shared in shared_between_parts(split, keys):
        distinct, firsts = np.unique(keys[shared.rows], return_index=True)
        shown = np.sort(firsts)[:_SHOWN]
        pairs = zip(shared.others[shown].tolist(), shared.rows[shown].tolist(), strict=True)
        others = int(np.isin(keys[split[shared.other]], distinct).sum())
        parts = shared.other, shared.part
        found.append(
            Leak(
                kind=kind,
                parts=parts,
                count=len(distinct),
                samples=(others, len(shared.rows)),
                examples=tuple(pairs),
                meant=may_share(kind, *parts, has_cameras=facts.has_cameras),
            )
        )
    return found


def _near(facts: Facts, part_of: Rows, names: Sequence[str], distance: int) -> list[Leak]:
    assert facts.hashes is not None
    hashes = as_hashes(facts.hashes, len(facts.labels), distance)
    held = held_by_part(hashes, np.ones(len(hashes), bool), part_of, len(names))
    touching = _Touching(held.counts > 0)
    root = connected(
        len(held.keys), touching.watched(near_pairs(held.keys.astype(np.uint64), distance))
    )
    found = []
    for (one, other), examples in touching.examples.items():
        ones, others = touching.between(one, other), touching.between(other, one)
        if ones.any():
            rows = _rows_of(examples, held.numbers, part_of, (one, other))
            parts = names[one], names[other]
            found.append(
                Leak(
                    kind="near",
                    parts=parts,
                    count=len(np.unique(root[ones])),
                    samples=(
                        int(held.counts[ones, one].sum()),
                        int(held.counts[others, other].sum()),
                    ),
                    examples=rows,
                    meant=may_share("near", *parts, has_cameras=facts.has_cameras),
                )
            )
    return found


class _Touching:
    """Which distinct hashes have one that is near, or the same, in which part.

    Args:
        is_in: bool [K, parts]: whether a part has a hash.
    """

    def __init__(self, is_in: npt.NDArray[np.bool_]) -> None:
        self._is_in = is_in
        self._touches = is_in.copy()
        self.examples: dict[tuple[int, int], list[tuple[int, int]]] = {}
        """Some pairs of hashes by the two parts that have them."""
        for pair in combinations(range(is_in.shape[1]), 2):
            same = np.flatnonzero(is_in[:, pair].all(axis=1))[:_SHOWN].tolist()
            self.examples[pair] = [(key, key) for key in same]

    def between(self, part: int, other: int) -> npt.NDArray[np.bool_]:
        """The hashes of a part that have a near one in the other, bool [K]."""
        found: npt.NDArray[np.bool_] = self._is_in[:, part] & self._touches[:, other]
        return found

    def watched(self, pairs: Iterable[Pairs]) -> Iterator[Pairs]:
        """The same pairs, once they are noted."""
        for ones, others in pairs:
            for left, right in ((ones, others), (others, ones)):
                for part in range(self._is_in.shape[1]):
                    self._touches[left[self._is_in[right, part]], part] = True
                self._note_examples(left, right)
            yield ones, others

    def _note_examples(self, left: Rows, right: Rows) -> None:
        for (one, other), some in self.examples.items():
            if len(some) < _SHOWN:
                at = np.flatnonzero(self._is_in[left, one] & self._is_in[right, other])
                found = zip(left[at].tolist(), right[at].tolist(), strict=True)
                more = [pair for pair in dict.fromkeys(found) if pair not in some]
                some.extend(more[: _SHOWN - len(some)])


def as_hashes(hashes: Keys, count: int, distance: int) -> npt.NDArray[np.uint64]:
    """Hashes as uint64 [count].

    Raises:
        UsageError: others, or a distance out of range.
    """
    if not 0 <= distance <= 16:
        raise UsageError(f"distance must be 0 to 16 bits, got {distance!r}")
    if hashes.shape != (count,) or hashes.dtype.kind not in "iu" or hashes.dtype.itemsize != 8:
        raise UsageError(
            f"hashes must be {count} whole numbers of 64 bits, got {hashes.dtype}"
            f" {list(hashes.shape)}"
        )
    return np.ascontiguousarray(hashes).view(np.uint64)


def _rows_of(
    pairs: Sequence[tuple[int, int]], numbers: Rows, part_of: Rows, parts: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """The first row of each of two parts that has a key, for pairs of keys."""
    one, other = parts
    return tuple(
        (
            int(np.argmax((numbers == left) & (part_of == one))),
            int(np.argmax((numbers == right) & (part_of == other))),
        )
        for left, right in pairs
    )
