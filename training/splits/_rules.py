"""Rules beside the open set: by identity, by group, stratified, and as the source says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits._candidates import Candidates
from training.splits._open_set import SEED, TRAIN_RATIO, check_fold, shuffle, split_samples
from training.splits._split import NOWHERE, Split
from training.splits._table import of_stores

_SPLIT, _TRAIN = "split", "train"


@known_arguments()
@of_stores
def by_identity(
    candidates: Candidates,
    *,
    test_ratio: float = 0.5,
    queries: int = 1,
    camera: str | None = None,
    seed: int = SEED,
) -> Split:
    """The usual split of re-identification: some identities are trained on, others are searched.

    The identities are shuffled by `random.Random(seed)`, and the first int(n * test_ratio) of n,
    at least 1, are held out. From each camera of a held-out identity, `queries` samples become
    queries; the rest of its samples are in the gallery. The same generator draws them, identity
    after identity and camera after camera, both sorted. If an identity has too few samples to leave
    any in the gallery, it has no query.

    Args:
        candidates: all samples; a Store, or the path of one, stands for all its rows but junk.
        test_ratio: the share of identities to hold out; above 0, below 1.
        queries: how many of each identity and camera.
        camera: the column that tells cameras apart (default: that of the role, or "camera").
            Without one, all samples count as one camera.
        seed: seed of all draws.

    Returns:
        Parts train, query and gallery; samples with a label below 0 are in the gallery, as wrong
        answers.

    Raises:
        UsageError: a number is out of range, or there are fewer than two identities.
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
    name = candidates.camera if camera is None else camera
    views_of = _views(candidates, candidates.codes(*([] if name is None else [name])))
    query: list[int] = []
    for label in held:
        views = views_of[label]
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


@known_arguments()
@of_stores
def by_group(
    candidates: Candidates,
    *,
    group: str | Sequence[str] | None = None,
    n_folds: int = 5,
    fold: int = 0,
    seed: int = SEED,
) -> Split:
    """Folds that tear no group apart: neighbouring frames of a quarter or session stay on one side.

    The groups are shuffled by `random.Random(seed)`, then dealt, the largest first, each to the
    fold with the fewest samples so far. Every group is held back in exactly one fold.

    Args:
        candidates: all samples; a Store, or the path of one, stands for all its rows but junk.
        group: the column, or columns, whose values make a group (default: those of the role).
        n_folds: 2 or more, at most as many as there are groups.
        fold: which part is held back, 0 to n_folds - 1.
        seed: the same for all folds of a run.

    Returns:
        Parts train, val (identities that are trained on too) and unknown (held back: identities
        that are not, and samples with a label below 0). Of the other groups, samples with a label
        below 0 are in no part.

    Raises:
        UsageError: numbers out of range, no group given where no column has that role, or one
            group only.
        UnknownColumnError: no such column.
    """
    names = candidates.roles.group if group is None else group
    if not names:
        raise UsageError(
            "a split by group needs a column of groups, but no column has that"
            f" role. Pass one with group= (--group): {', '.join(candidates.columns) or 'none'}"
        )
    groups = candidates.codes(*([names] if isinstance(names, str) else names))
    sizes = Counter(groups.tolist())
    if len(sizes) < 2:
        raise UsageError(f"a split by group must have two groups or more; got {len(sizes)}")
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


@known_arguments()
@of_stores
def stratified(
    candidates: Candidates, *, train_ratio: float = TRAIN_RATIO, seed: int | None = SEED
) -> Split:
    """Every identity on both sides; see `split_samples`.

    Args:
        candidates: all samples; a Store, or the path of one, stands for all its rows but junk.
        train_ratio: the share of an identity's samples to train on.
        seed: of the shuffling; None takes the first samples of each identity, in the source's
            order.

    Returns:
        Parts train and val; samples with a label below 0 are in neither.

    Raises:
        UsageError: a ratio out of range.
    """
    train, val = split_samples(candidates, train_ratio=train_ratio, seed=seed)
    return Split(parts={"train": train, "val": val}, labels=candidates.identities)


@known_arguments()
@of_stores
def given(
    candidates: Candidates,
    *,
    column: str | None = None,
    names: Mapping[str, str] | None = None,
) -> Split:
    """The parts that the source itself says.

    Args:
        candidates: all samples; a Store, or the path of one, stands for all its rows but junk.
        column: whose values name parts (default: that of the role, or "split"). Samples with
            an empty value are in none.
        names: what values are called here, such as {"bounding_box_test": "gallery"}; unchanged
            unless given.

    Returns:
        A part for each value; the labels are those of train. Samples of train with a label below 0
        are in no part.

    Raises:
        UsageError: no sample is in train, or `names` has a value that the column lacks.
        UnknownColumnError: no such column.
    """
    column = column or candidates.roles.split or _SPLIT
    values = candidates.column(column).astype(str)
    there = np.unique(values[values != ""]).tolist()
    renamed = names or {}
    for value in renamed:
        if value not in there:
            raise UsageError(
                f"names must be of values that column {column!r} has, got {value!r}; it has"
                f" {', '.join(there) or 'none'}"
            )
    parts: dict[str, Rows] = {}
    for value in sorted(there, key=lambda value: renamed.get(value, value) != _TRAIN):
        name = renamed.get(value, value)
        parts[name] = np.concatenate([parts.get(name, NOWHERE), np.flatnonzero(values == value)])
    if _TRAIN not in parts:
        raise UsageError(
            f"column {column!r} must name a part 'train'; it names"
            f" {', '.join(sorted(parts)) or 'none'}: say with names= (--name VALUE=train)"
            " what each is, or split by another rule"
        )
    labels = candidates.labels[parts[_TRAIN]]
    parts[_TRAIN] = parts[_TRAIN][labels >= 0]
    return Split(parts=parts, labels=np.unique(labels[labels >= 0]).tolist())


def _views(candidates: Candidates, cameras: Rows) -> dict[int, list[list[int]]]:
    """Of each label the ascending rows of every camera, the cameras sorted."""
    labels = candidates.labels
    order = np.lexsort((cameras, labels))  # stable: rows ascend
    starts = 1 + np.flatnonzero((np.diff(labels[order]) != 0) | (np.diff(cameras[order]) != 0))
    found: dict[int, list[list[int]]] = {}
    for rows in np.split(order, starts) if len(order) else []:
        found.setdefault(int(labels[rows[0]]), []).append(rows.tolist())
    return found
