"""What `lmdb-reid train` refuses before it loads torch and Lightning, which takes seconds."""

from __future__ import annotations

import argparse
from pathlib import Path

from lmdb_reid.augment import resolve
from lmdb_reid.errors import SourceNotFoundError, UsageError
from lmdb_reid.store import Store
from training.splits import check_fold, check_split

_FOLDS = 5  # unless the command line or the settings of a run say another number


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse what no training can have.

    Raises:
        UsageError: a number out of range, or no such recipe.
    """
    for name, least in (("max_epochs", 1), ("batch_size", 1), ("num_workers", 0), ("folds", 1)):
        number = getattr(args, name)
        if number is not None and number < least:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} must be at least {least}, got {number}")
    if args.seed is not None and not 0 <= args.seed < 1 << 32:
        raise UsageError(f"--seed must be 0 to {(1 << 32) - 1}, got {args.seed}")
    is_told = args.folds is not None or not (args.resume or args.settings)
    if args.fold is not None and (is_told or args.fold < 0):
        check_fold(args.fold, _FOLDS if args.folds is None else args.folds)
    resolve(args.augment)


def check_files(args: argparse.Namespace) -> None:
    """Refuse a split, a store, a csv or a folder that is not there or is no such thing.

    Raises:
        SourceError: of a split, a csv or a folder.
        StoreError: of a store.
        UsageError: the split's name ends in neither .csv nor .json.
    """
    if args.split is not None:
        check_split(args.split)
    if args.store:
        Store(args.store).close()
    for option, path, what in (
        ("--train-meta", args.train_meta, "csv"),
        ("--img-root", args.img_root, "folder of frames"),
    ):
        if path and not Path(path).exists():
            raise SourceNotFoundError(f"no {what} at {path} ({option})", path=path)
