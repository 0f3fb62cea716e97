"""Open-set splits: who is known, who stays a stranger; samples of a csv, or rows of a store."""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from builders import AtmaCup, BuildSettings, Listing
from builders.negatives import list_negatives, random_negatives
from builders.repeats import without_repeats
from builders.report import accept_skipped
from builders.samples import BoxSample, box_samples
from builders.sources import Rejected, frames_of
from builders.tracks import BboxMode
from lmdb_reid._arguments import known_arguments, known_fields
from lmdb_reid.errors import SourceNotFoundError, UsageError
from lmdb_reid.schema import NO_LABEL, Kind, Rows
from lmdb_reid.store import Store
from training.guide._folds import is_saved, load_fold_metadata
from training.guide._negatives import NEG_CSV, load_negatives_from_csv
from training.guide._tracks import build_tracks, clean_tracks, load_train_meta
from training.splits import (
    SEED,
    Candidates,
    Labels,
    fold_labels,
    ratio_labels,
    rows_with,
    source_order,
    unknown_rows,
)

_META = Path("inputs/atmaCup22_2nd/train_meta.csv")  # where the code that keeps folds has it

PathLike = str | os.PathLike[str]
Samples = TypeVar("Samples", list[BoxSample], Rows)


@known_fields
class OpenSet(NamedTuple, Generic[Samples]):
    """What to train on and what to tell apart from it."""

    known: Samples
    """The samples of known identities."""
    unknown: Samples
    """The samples of held-out identities, of people whose identity is unknown, and negatives."""
    known_labels: list[int]
    """The known identities, sorted."""
    unknown_labels: list[int]
    """The held-out identities, sorted; -1 is none."""


@known_arguments()
def build_open_set_splits(
    train_meta_path: PathLike | None = None,
    img_root: PathLike | None = None,
    bbox_mode: BboxMode = "drop",
    unknown_ratio: float = 0.2,
    *,
    add_bg_negatives: bool = True,
    add_partial_negatives: bool = True,
    neg_csv_path: PathLike = NEG_CSV,
    use_precomputed_negatives: bool = True,
    seed: int = SEED,
    store: Store | PathLike | None = None,
) -> OpenSet[list[BoxSample]] | OpenSet[Rows]:
    """Hold out a share of the identities; see `training.splits.ratio_labels`.

    Args:
        train_meta_path: the csv of boxes, in the atmaCup layout.
        img_root: the folder of its frames.
        bbox_mode: what becomes of boxes over twice their track's median area: "drop", "interp" or
            "keep". Of a store: what it was built with.
        unknown_ratio: the share of the identities to hold out.
        add_bg_negatives: put background negatives among the unknown.
        add_partial_negatives: put partial negatives among the unknown.
        neg_csv_path: where to take them from, as `lmdb-reid negatives` wrote them.
        use_precomputed_negatives: False makes them now, from the frames' headers, as a build with
            its usual settings does.
        seed: of the choice of identities.
        store: take rows of this store instead of boxes of a csv; the negatives are its own, and
            nothing is read from `neg_csv_path`.

    Returns:
        (known, unknown, known_labels, unknown_labels). Samples are in the csv's order, then the
        negatives in theirs; rows are in the order of a csv that is sorted by frame, so that both
        name the same samples in the same order.

    Raises:
        UsageError: arguments that do not go together, or numbers out of range.
        SourceNotFoundError: a file or folder is not there; for the negatives csv the message has
            the command that makes it.
        SourceError: a csv cannot be used.
    """
    return _split(
        functools.partial(ratio_labels, unknown_ratio=unknown_ratio, seed=seed),
        _Negatives(
            add_bg_negatives, add_partial_negatives, neg_csv_path, use_precomputed_negatives
        ),
        train_meta_path=train_meta_path,
        img_root=img_root,
        bbox_mode=bbox_mode,
        store=store,
    )


@known_arguments()
def build_open_set_splits_cv(
    train_meta_path: PathLike | None = None,
    img_root: PathLike | None = None,
    bbox_mode: BboxMode = "drop",
    n_folds: int = 5,
    fold_idx: int = 0,
    *,
    unknown_per_fold: int = 2,
    cv_seed: int = SEED,
    add_bg_negatives: bool = True,
    add_partial_negatives: bool = True,
    neg_csv_path: PathLike = NEG_CSV,
    use_precomputed_negatives: bool = True,
    fold_meta_dir: PathLike | None = None,
    add_negatives: bool = True,
    store: Store | PathLike | None = None,
) -> OpenSet[list[BoxSample]] | OpenSet[Rows]:
    """Hold out the identities of one fold; see `training.splits.fold_labels`.

    Args:
        train_meta_path: the csv of boxes; this and what says no more: see `build_open_set_splits`.
        img_root: the folder of its frames.
        bbox_mode: what becomes of boxes that suddenly grow.
        n_folds: how many folds there are.
        fold_idx: which of them, 0 to n_folds - 1.
        unknown_per_fold: identities that each fold holds out.
        cv_seed: the same for all folds of a run.
        add_bg_negatives: put background negatives among the unknown.
        add_partial_negatives: put partial negatives among the unknown.
        neg_csv_path: where to take them from.
        use_precomputed_negatives: False makes them now.
        fold_meta_dir: take the known samples and the unknown labels from the files that
            `save_fold_metadata` wrote there, or, where there are none, compute the fold; as later
            versions of the guide's code do. The csv is then inputs/atmaCup22_2nd/train_meta.csv
            unless given, and no frame is looked for.
        add_negatives: False adds neither kind of negatives.
        store: take rows of this store instead.

    Returns:
        As `build_open_set_splits`.

    Raises:
        As `build_open_set_splits`.
    """
    choose = functools.partial(
        fold_labels, n_folds=n_folds, fold=fold_idx, unknown_per_fold=unknown_per_fold, seed=cv_seed
    )
    negatives = _Negatives(
        add_negatives and add_bg_negatives,
        add_negatives and add_partial_negatives,
        neg_csv_path,
        use_precomputed_negatives,
    )
    if fold_meta_dir is not None:
        meta = _META if train_meta_path is None else Path(train_meta_path)
        frames = meta.parent / "images" if img_root is None else Path(img_root)
        samples = clean_tracks(build_tracks(load_train_meta(meta, frames)), bbox_mode)
        return _of_fold(samples, fold_idx, fold_meta_dir, choose, negatives)
    return _split(
        choose,
        negatives,
        train_meta_path=train_meta_path,
        img_root=img_root,
        bbox_mode=bbox_mode,
        store=store,
    )


def _of_fold(
    samples: Sequence[BoxSample],
    fold_idx: int,
    fold_meta_dir: PathLike,
    choose: Callable[[Sequence[int]], Labels],
    negatives: _Negatives,
) -> OpenSet[list[BoxSample]]:
    """A fold as it was saved, or as it would be."""
    if is_saved(fold_idx, fold_meta_dir):
        train, val, unknown_labels = load_fold_metadata(fold_idx, fold_meta_dir)
        known = [*train, *val]
    else:
        labels = np.array([sample.label_id for sample in samples], np.int64)
        chosen = choose(Candidates(labels=labels).identities)
        unknown_labels = chosen.unknown
        known = [sample for sample in samples if sample.label_id in set(chosen.known)]
    unknown = [sample for sample in samples if sample.label_id in {NO_LABEL, *unknown_labels}]
    if negatives.kinds:
        try:
            found = load_negatives_from_csv(negatives.csv)
        except SourceNotFoundError as error:  # that code goes on without them
            warnings.warn(f"the unknown samples are without negatives: {error}", stacklevel=4)
            found = []
        unknown += [sample for sample in found if sample.kind in negatives.kinds]
    known_labels = sorted({sample.label_id for sample in known})
    return OpenSet(known, unknown, known_labels, sorted(unknown_labels))


class _Negatives(NamedTuple):
    """Which negatives join the unknown, and where a csv's samples take them from."""

    backgrounds: bool
    partials: bool
    csv: PathLike
    precomputed: bool

    @property
    def kinds(self) -> list[Kind]:
        wanted = {Kind.BACKGROUND: self.backgrounds, Kind.PARTIAL: self.partials}
        return [kind for kind, is_wanted in wanted.items() if is_wanted]


def _split(
    choose: Callable[[Sequence[int]], Labels],
    negatives: _Negatives,
    *,
    train_meta_path: PathLike | None,
    img_root: PathLike | None,
    bbox_mode: BboxMode,
    store: Store | PathLike | None,
) -> OpenSet[list[BoxSample]] | OpenSet[Rows]:
    if store is not None:
        if train_meta_path is not None or img_root is not None:
            raise UsageError(
                "a store and train_meta_path with img_root exclude each other. Pass one of the two"
            )
        if isinstance(store, Store):
            return _split_store(store, choose, negatives.kinds, bbox_mode)
        with Store(store) as opened:
            return _split_store(opened, choose, negatives.kinds, bbox_mode)
    if train_meta_path is None or img_root is None:
        raise UsageError("pass train_meta_path and img_root, or a store")
    listing = without_repeats(AtmaCup(train_meta_path, img_root, bbox_mode=bbox_mode).read())
    beside, unread = _samples_of(negatives, listing, train_meta_path, img_root)
    accept_skipped([*listing.skipped, *unread], listing.rows)
    broken = {row.frame for row in unread}
    frames = frames_of(frame for frame in listing.frames if frame.key not in broken)
    samples = box_samples(dataclasses.replace(listing, frames=frames))
    labels = np.array([sample.label_id for sample in samples], np.int64)
    chosen = choose(Candidates(labels=labels).identities)
    return OpenSet(
        [samples[row] for row in rows_with(labels, chosen.known)],
        [samples[row] for row in unknown_rows(labels, chosen.unknown)] + beside,
        chosen.known,
        chosen.unknown,
    )


def _split_store(
    store: Store,
    choose: Callable[[Sequence[int]], Labels],
    negatives: Sequence[Kind],
    bbox_mode: BboxMode,
) -> OpenSet[Rows]:
    built_with = store.manifest.build.get("bbox_mode", bbox_mode)
    if bbox_mode != built_with:
        raise UsageError(
            f"bbox_mode={bbox_mode!r}, but {store.path} was built with"
            f" {built_with!r}. Pass that, or build another store"
        )
    order, kinds = source_order(store), store.columns["kind"]
    players = order[kinds[order] == Kind.PERSON]
    beside = np.flatnonzero(np.isin(kinds, negatives)).astype(np.int64)
    labels: Rows = store.columns["label"][players]
    chosen = choose(Candidates(labels=labels).identities)
    return OpenSet(
        players[rows_with(labels, chosen.known)],
        np.concatenate([players[unknown_rows(labels, chosen.unknown)], beside]),
        chosen.known,
        chosen.unknown,
    )


def _samples_of(
    negatives: _Negatives, listing: Listing, train_meta_path: PathLike, img_root: PathLike
) -> tuple[list[BoxSample], list[Rejected]]:
    """The wanted negatives, and the listing's rows whose frame had to be read for them in vain."""
    unread: list[Rejected] = []
    if not negatives.kinds:
        return [], unread
    if negatives.precomputed:
        found = load_negatives_from_csv(
            negatives.csv, train_meta=train_meta_path, img_root=img_root
        )
    else:
        found, unread = list_negatives(listing, random_negatives(BuildSettings()))
    return [sample for sample in found if sample.kind in negatives.kinds], unread
