from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits import (
    LEAK_KINDS,
    Candidates,
    Facts,
    Leak,
    Split,
    by_group,
    by_identity,
    find_leaks,
    given,
    may_share,
    open_set,
    stratified,
)

PARTS = ["train", "val", "unknown", "test", "query", "gallery"]


def ints(*values: int) -> Rows:
    return np.array(values, np.int64)


def split(**parts: list[int]) -> Split:
    return Split(parts={name: np.array(rows, np.int64) for name, rows in parts.items()}, labels=[])


def distinct(count: int) -> Any:
    """Hashes that are far from each other."""
    return np.random.default_rng(7).integers(0, 2**63, count)


def only(found: list[Leak]) -> Leak:
    (leak,) = found
    return leak


def test_each_kind_is_found_with_its_samples() -> None:
    parts = split(train=[0, 1, 2], gallery=[3, 4])
    labels = ints(0, 1, 2, 3, 4)
    hashes = distinct(5)
    hashes[4] = hashes[1] ^ 0b1011
    cases: dict[str, Any] = {
        "identities": {"labels": ints(0, 1, 2, 3, 1)},
        "groups": {"groups": ints(7, 8, -1, 9, 8)},
        "tracks": {"tracks": ints(0, 4, -1, -1, 4)},
        "copies": {"copies": np.array([5, 6, 7, 8, 6], np.uint64)},
        "near": {"hashes": hashes},
    }
    for kind, facts in cases.items():
        leaks = find_leaks(parts, Facts(**{"labels": labels, **facts}))
        assert kind in leaks.kinds
        leak = only(leaks.found())
        assert (leak.kind, leak.parts, leak.count) == (kind, ("train", "gallery"), 1)
        assert leak.samples == (1, 1) and leak.examples == ((1, 4),)
        assert leaks.found([other for other in LEAK_KINDS if other != kind]) == []


def test_nothing_is_found_where_nothing_is_shared() -> None:
    leaks = find_leaks(
        split(train=[0, 1], gallery=[2]),
        Facts(
            labels=ints(0, 0, 1, 0),  # row 3 is in no part
            groups=ints(0, 0, 1, 1),
            tracks=ints(-1, -1, -1, -1),
            copies=np.array([1, 1, 2, 1], np.uint64),
            hashes=distinct(4),
        ),
    )
    assert leaks.kinds == LEAK_KINDS and leaks.shared == ()


def test_what_is_not_known_is_not_looked_for() -> None:
    leaks = find_leaks(split(train=[0], val=[1]), Facts(labels=ints(0, 0)))
    assert leaks.kinds == ("identities",)
    assert only(list(leaks.shared)).meant and leaks.found() == []


def test_samples_are_counted_on_both_sides() -> None:
    parts = split(train=[0, 1, 2, 3], gallery=[4, 5, 6])
    leak = only(find_leaks(parts, Facts(labels=ints(0, 0, 0, 1, 0, 1, -1))).found())
    assert (leak.count, leak.samples) == (2, (4, 2))
    hashes = np.zeros(7, np.int64)
    hashes[[0, 3]] = distinct(2)
    near = only(find_leaks(parts, Facts(labels=np.arange(7), hashes=hashes)).found())
    assert (near.count, near.samples) == (1, (2, 3))


@pytest.mark.parametrize("distance", [0, 1, 4, 5])
def test_crops_are_near_up_to_the_distance(distance: int) -> None:
    hashes = distinct(2)
    hashes[1] = hashes[0] ^ 0b10011000100000
    found = find_leaks(
        split(train=[0], gallery=[1]), Facts(labels=ints(0, 1), hashes=hashes), distance=distance
    ).found()
    assert bool(found) == (distance >= 4)


def test_what_parts_are_there_to_share() -> None:
    def shares(kind: Any, has_cameras: bool = False) -> set[tuple[str, str]]:
        return {
            (one, other)
            for at, one in enumerate(PARTS)
            for other in PARTS[at + 1 :]
            if may_share(kind, one, other, has_cameras=has_cameras)
        }

    search, held = ("query", "gallery"), ("val", "unknown")
    known = {("train", "val"), ("train", "test"), ("val", "test")}
    assert shares("identities") == known | {search}
    assert shares("groups") == shares("tracks") == {held, search}
    assert shares("copies") == shares("copies", True) == shares("near") == {held}
    assert shares("near", True) == {held, search}
    assert not may_share("identities", "train", "more")


def test_arguments_that_do_not_fit() -> None:
    facts = Facts(labels=ints(0, 1), hashes=distinct(2))
    with pytest.raises(UsageError, match="the split must have samples, got none"):
        find_leaks(split(train=[]), facts)
    with pytest.raises(UsageError, match="these 2 samples, got row 5"):
        find_leaks(split(train=[5]), facts)
    with pytest.raises(UsageError, match="distance must be 0 to 16 bits, got 17"):
        find_leaks(split(train=[0], val=[1]), facts, distance=17)
    with pytest.raises(UsageError, match=r"hashes must be 2 .* 64 bits, got float64 \[2\]"):
        find_leaks(split(train=[0], val=[1]), Facts(labels=ints(0, 1), hashes=np.zeros(2)))


# each rule


LABELS = np.repeat(np.arange(10), 12).astype(np.int64)
GROUPS = np.tile(np.repeat(np.arange(4), 3), 10).astype(np.int64)
SOURCE = np.where(LABELS < 5, "train", np.where(np.arange(120) % 12, "gallery", "query"))
CANDIDATES = Candidates(
    labels=LABELS,
    columns={"camera": np.arange(120) % 3, "match": GROUPS, "split": SOURCE},
)
RULES: dict[str, Any] = {
    "identity": by_identity,
    "group": lambda samples: by_group(samples, group="match", n_folds=4),
    "stratified": stratified,
    "given": given,
    "open set": open_set,
}


def facts_for(rule: str, **facts: Any) -> Facts:
    """What a rule keeps apart: groups, where it knows of them; tracks and pictures always."""
    known = {"labels": LABELS, "hashes": distinct(120), "copies": np.arange(120, dtype=np.uint64)}
    if rule == "group":
        known |= {"groups": GROUPS, "tracks": LABELS * 4 + GROUPS}
    if rule in ("identity", "given"):
        known |= {"tracks": LABELS}
    return Facts(**(known | facts))


@pytest.mark.parametrize("rule", RULES)
def test_a_clean_split_of_each_rule_passes(rule: str) -> None:
    parts = RULES[rule](CANDIDATES)
    assert find_leaks(parts, facts_for(rule)).found() == []


@pytest.mark.parametrize("rule", RULES)
def test_a_leak_planted_into_a_split_of_each_rule_is_found(rule: str) -> None:
    parts = RULES[rule](CANDIDATES)
    other = next(name for name in ("val", "gallery") if name in parts)
    one, two = int(parts["train"][3]), int(parts[other][4])
    hashes, copies = distinct(120), np.arange(120, dtype=np.uint64)
    hashes[two] = hashes[one] ^ (1 << 40 | 1 << 3)
    copies[two] = copies[one]
    for kind, facts in (("near", {"hashes": hashes}), ("copies", {"copies": copies})):
        leak = only(find_leaks(parts, facts_for(rule, **facts)).found())
        assert (leak.kind, leak.parts) == (kind, ("train", other))
        assert leak.examples == ((one, two),)


@pytest.mark.parametrize(
    ("rule", "part", "kind"),
    [
        ("identity", "gallery", "identities"),
        ("identity", "query", "identities"),
        ("given", "gallery", "identities"),
        ("group", "val", "groups"),
        ("open set", "unknown", "identities"),
    ],
)
def test_a_sample_on_the_wrong_side_is_found(rule: str, part: str, kind: str) -> None:
    parts = RULES[rule](CANDIDATES)
    row = int(parts[part][0])
    moved = {name: rows[rows != row] for name, rows in parts.parts.items()}
    moved["train"] = np.append(moved["train"], row)
    found = find_leaks(Split(parts=moved, labels=parts.labels), facts_for(rule)).found()
    assert kind in {leak.kind for leak in found}
    assert all(leak.parts[0] == "train" for leak in found)
