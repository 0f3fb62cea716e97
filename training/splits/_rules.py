"""Rules beside the open set: by identity, by group, stratified, and as the source says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits._candidates import Candidates
from training.splits._open_set import SEED, TRAIN_RATIO, check_fold, shuffle, split_samples
from training.splits._split import NOWHERE, Split

_CAMERA = "camera"


def by_identity(
    candidates: Candidates,
    *,
    test_ratio: float = 0.5,
    queries: int = 1,
    camera: str | None = None,
    seed: int = SEED,
) -> Split:
    """The usual one of re-identification: some identities are trained on, others are searched for.

    The identities are shuffled by `random.Random(seed)`, and the first int(n * test_ratio) of n,
    at least 1, held out. Of each of them `queries` samples of every camera are searched for among
    the rest of its samples: drawn by the same generator, identity after identity and camera after
    camera, both sorted. An identity with too few samples to leave any has none searched for.

    Args:
        candidates: all samples.
        test_ratio: the share of identities to hold out; above 0, below 1.
        queries: how many of each identity and camera.
        camera: the column that tells cameras apart; "camera", or one camera for all where there is
            no such column, unless given.
        seed: of all draws.

    Returns:
        Parts train, query and gallery; samples with a label below 0 are in the gallery, where they
        distract.

    Raises:
        UsageError: numbers out of range, or fewer than two identities.
        UnknownColumnError: no column of the given name.
    """
    identities = candidates.identities
    if not 0 < test_ratio < 1 or queries < 1:
        raise UsageError(
            f"test_ratio must be above 0 and below 1, queries 1 or more; got {test_ratio!r} and"
            f" {queries!r}"
        )
    if len(identities) < 2:
        raise UsageError(
            f"a split by identity must have two identities or more; got {len(identities)}"
        )
    rng = random.Random(seed)
    rng.shuffle(identities)
    held = sorted(identities[: max(1, int(len(identities) * test_ratio))])
    names = [camera] if camera is not None else [_CAMERA] if _CAMERA in candidates.columns else []
    cameras = candidates.codes(*names)
    rows_of = _by_pair(candidates, cameras)
    query: list[int] = []
    for label in held:
        views = [rows_of[key] for key in sorted(rows_of) if key[0] == label]
        drawn = [row for rows in views for row in rng.sample(rows, min(queries, len(rows)))]
        if len(drawn) < sum(map(len, views)):
            query += drawn
    rest = np.isin(candidates.labels, held) | (candidates.labels < 0)
    rest[query] = False
    known = sorted(set(identities) - set(held))
    return Split(
        parts={
            "train": np.flatnonzero(np.isin(candidates.labels, known)),
            "query": np.array(query, np.int64),
            "gallery": np.flatnonzero(rest),
        },
        labels=known,
    )


def by_group(
    candidates: Candidates,
    *,
    group: str | Sequence[str],
    n_folds: int = 5,
    fold: int = 0,
    seed: int = SEED,
) -> Split:
    """Folds that tear no group apart: neighbouring frames of a quarter or session stay on one side.

    The groups are shuffled by `random.Random(seed)`, then dealt, the largest first, each to the
    fold with the fewest samples so far. Every group is held back in exactly one fold.

    Args:
        candidates: all samples.
        group: the column, or columns, whose values make a group.
        n_folds: 2 or more, at most as many as there are groups.
        fold: which part is held back, 0 to n_folds - 1.
        seed: the same for all folds of a run.

    Returns:
        Parts train, val (identities that are trained on too) and unknown (held back: identities
        that are not, and samples with a label below 0). Of the other groups, samples with a label
        below 0 are in no part.

    Raises:
        UsageError: numbers out of range.
        UnknownColumnError: no such column.
    """
    groups = candidates.codes(*([group] if isinstance(group, str) else group))
    sizes = Counter(groups.tolist())
    if not 2 <= n_folds <= len(sizes):
        raise UsageError(f"n_folds must be 2 to {len(sizes)}, the number of groups; got {n_folds}")
    check_fold(fold, n_folds)
    filled = [0] * n_folds
    held: list[int] = []
    for each in sorted(shuffle(sorted(sizes), seed), key=lambda group: -sizes[group]):
        emptiest = filled.index(min(filled))
        filled[emptiest] += sizes[each]
        if emptiest == fold:
            held.append(each)
    is_held, labels = np.isin(groups, held), candidates.labels
    known = np.unique(labels[~is_held & (labels >= 0)])
    is_known = np.isin(labels, known)
    return Split(
        parts={
            "train": np.flatnonzero(~is_held & is_known),
            "val": np.flatnonzero(is_held & is_known),
            "unknown": np.flatnonzero(is_held & ~is_known),
        },
        labels=known.tolist(),
    )


def stratified(
    candidates: Candidates, *, train_ratio: float = TRAIN_RATIO, seed: int | None = SEED
) -> Split:
    """Every identity on both sides; see `split_samples`.

    Returns:
        Parts train and val; samples with a label below 0 are in neither.

    Raises:
        UsageError: a ratio out of range.
    """
    train, val = split_samples(candidates, train_ratio=train_ratio, seed=seed)
    return Split(parts={"train": train, "val": val}, labels=candidates.identities)


def given(
    candidates: Candidates, *, column: str = "split", names: Mapping[str, str] | None = None
) -> Split:
    """The parts that the source itself says.

    Args:
        candidates: all samples.
        column: whose values name parts; samples with an empty one are in none.
        names: what values are called here, such as {"bounding_box_test": "gallery"}; unchanged
            unless given.

    Returns:
        A part for each value; the labels are those of train.

    Raises:
        UsageError: no sample is in train.
        UnknownColumnError: no such column.
    """
    values = candidates.column(column).astype(str)
    renamed = names or {}
    parts: dict[str, Rows] = {}
    for value in np.unique(values[values != ""]).tolist():
        name = renamed.get(value, value)
        parts[name] = np.concatenate([parts.get(name, NOWHERE), np.flatnonzero(values == value)])
    if "train" not in parts:
        there = ", ".join(sorted(parts)) or "none"
        raise UsageError(
            f"column {column!r} must name a part 'train'; it names {there}: say with names= what"
            " each is"
        )
    labels = candidates.labels[parts["train"]]
    return Split(parts=parts, labels=np.unique(labels[labels >= 0]).tolist())


def _by_pair(candidates: Candidates, cameras: Rows) -> dict[tuple[int, int], list[int]]:
    """Ascending rows of every (label, camera)."""
    found: dict[tuple[int, int], list[int]] = {}
    pairs = zip(candidates.labels.tolist(), cameras.tolist(), strict=True)
    for row, pair in enumerate(pairs):
        found.setdefault(pair, []).append(row)
    return found
