"""Fold membership as a csv, so that a run can be taken up again and judged by others."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from lmdb_reid._disk import whole_text
from lmdb_reid.errors import SourceError, SourceNotFoundError
from lmdb_reid.schema import NO_LABEL, Rows
from training.folds._open_set import Fold, ascending

_PARTS = ("train", "val", "unknown")
_HEAD = ["id", "part", "label_id"]


def save_fold(path: str | os.PathLike[str], fold: Fold, ids: Sequence[str], labels: Rows) -> None:
    """Write which sample is in which part, as a csv of id,part,label_id in the order of rows.

    Args:
        path: the csv; a file of that name is replaced once the new one is complete.
        fold: rows of what `ids` and `labels` name.
        ids: [N], sample ids.
        labels: [N].

    Raises:
        WriteError: the disk or its permissions stand in the way.
    """
    parts = [(row, part) for part in _PARTS for row in getattr(fold, part).tolist()]
    with whole_text(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_HEAD)
        table.writerows((ids[row], part, int(labels[row])) for row, part in sorted(parts))


def load_fold(path: str | os.PathLike[str], ids: Sequence[str]) -> Fold:
    """A fold that `save_fold` wrote, as rows of samples that need not stand where they stood.

    Args:
        path: the csv.
        ids: [N], sample ids; those that the csv lacks are in no part.

    Raises:
        SourceNotFoundError: no such file.
        SourceError: it is no such csv, or names a sample that is not among `ids`.
    """
    row_of = {sample_id: row for row, sample_id in enumerate(ids)}
    rows: dict[str, list[int]] = {part: [] for part in _PARTS}
    labels: dict[str, set[int]] = {part: set() for part in _PARTS}
    for line, (sample_id, part, label) in enumerate(_read_fold(path), 2):
        if part not in rows or not label.removeprefix("-").isdecimal():
            raise SourceError(
                f"{os.fspath(path)}, line {line}: {part!r}, {label!r} are no part and label"
            )
        row = row_of.pop(sample_id, None)
        if row is None:
            raise SourceError(
                f"{os.fspath(path)}, line {line}: {sample_id!r} is not among the {len(ids):,}"
                " samples, or stands there a second time: the fold is not of these"
            )
        rows[part].append(row)
        labels[part].add(int(label))
    return Fold(
        **{part: ascending(found) for part, found in rows.items()},
        known_labels=sorted(labels["train"] | labels["val"]),
        unknown_labels=sorted(label for label in labels["unknown"] if label > NO_LABEL),
    )


def _read_fold(path: str | os.PathLike[str]) -> list[list[str]]:
    """The rows below the head, three cells each."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            head, *rows = csv.reader(file)
    except FileNotFoundError:
        raise SourceNotFoundError(f"no fold at {os.fspath(path)}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{os.fspath(path)} cannot be read as a fold: {error}") from None
    uneven = [line for line, row in enumerate(rows, 2) if len(row) != len(_HEAD)]
    if head != _HEAD or uneven:
        where = f"line {uneven[0]} has other cells" if head == _HEAD else f"it has {','.join(head)}"
        raise SourceError(f"{os.fspath(path)} is no fold: {','.join(_HEAD)} is wanted, {where}")
    return rows
