"""Rankings and labels as judges take them."""

from __future__ import annotations

import json
import os

import numpy as np
import numpy.typing as npt

from lmdb_reid._disk import whole_text
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL
from training.ranking.distances import Distances, Features, as_distances, block_rows
from training.ranking.rules import by_group, column

PathLike = str | os.PathLike[str]


def write_soccernet(
    path: PathLike,
    distances: Distances | Features,
    query_groups: npt.ArrayLike,
    gallery_groups: npt.ArrayLike,
    *,
    query_ids: npt.ArrayLike | None = None,
    gallery_ids: npt.ArrayLike | None = None,
) -> None:
    """Write SoccerNet-ReID's ranking json: for each query all entries of its action, ordered.

    The format is that of SoccerNet.Evaluation.ReIdentification (package SoccerNet 0.2.0):
    `{"<bbox_idx of a query>": [bbox_idx of gallery entries, the nearest first], ...}`. Equally far
    entries stand in the order of the gallery.

    Args:
        path: the json; a file of that name is replaced once the new one is complete.
        distances: of Q queries and G gallery entries.
        query_groups: int [Q], the action of each query.
        gallery_groups: int [G], the action of each gallery entry.
        query_ids: int [Q], their bbox_idx (default: the rows), as sn-reid numbers them.
        gallery_ids: int [G], likewise.

    Raises:
        UsageError: columns that do not fit, ids that stand twice, or a query without gallery
            entries of its action.
        WriteError: the disk or its permissions stand in the way.
    """
    source = as_distances(distances)
    groups = [
        column(query_groups, source.shape[0], "query groups"),
        column(gallery_groups, source.shape[1], "gallery groups"),
    ]
    names = _ids(query_ids, source.shape[0], "query ids")
    entry_names = _ids(gallery_ids, source.shape[1], "gallery ids")
    rankings: dict[int, list[int]] = {}
    sides = [np.arange(count) for count in source.shape]
    for rows, entries in by_group(sides[0], groups[0], sides[1], groups[1]):
        step = block_rows(len(entries))
        for first in range(0, len(rows), step):
            chosen = rows[first : first + step]
            order = np.argsort(source.block(chosen, entries), axis=1, kind="stable")
            found = entry_names[entries[order]].tolist()
            rankings.update(zip(chosen.tolist(), found, strict=True))
    alone = sorted(set(range(source.shape[0])) - set(rankings))
    if alone:
        raise UsageError(
            f"every query must have gallery entries of its action, got none for {len(alone)},"
            f" the first in row {alone[0]}. The judge refuses a ranking without them."
        )
    _write(path, json.dumps({str(names[row]): rankings[row] for row in sorted(rankings)}))


def write_submission(path: PathLike, labels: npt.ArrayLike) -> None:
    """Write atmaCup 22's submission csv: one column `label_id`, in the order of test_meta.csv.

    Args:
        path: the csv; a file of that name is replaced once the new one is complete.
        labels: int [N], -1 for unknown.

    Raises:
        UsageError: no labels, not integers, or below -1.
        WriteError: the disk or its permissions stand in the way.
    """
    found = np.asarray(labels)
    if not found.size:
        raise UsageError("labels must be one for each row of test_meta.csv, got none")
    found = column(found, found.size, "labels")
    if found.min() < NO_LABEL:
        raise UsageError(f"labels must be -1 or above, got {found.min()}")
    _write(path, "".join(f"{line}\n" for line in ["label_id", *found.tolist()]))


def _ids(values: npt.ArrayLike | None, count: int, name: str) -> npt.NDArray[np.int64]:
    if values is None:
        return np.arange(count)
    found = column(values, count, name)
    if len(np.unique(found)) < count:
        raise UsageError(f"{name} must be distinct, got some of them twice")
    return found


def _write(path: PathLike, text: str) -> None:
    """The file whole, or not at all."""
    with whole_text(path) as file:
        file.write(text)
