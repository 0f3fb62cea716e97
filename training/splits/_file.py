"""A split as a file, so that a run can be taken up again and judged by others."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmdb_reid import _json
from lmdb_reid._arguments import known_arguments
from lmdb_reid._disk import whole_text
from lmdb_reid._regular import MAX_TEXT, read_limited
from lmdb_reid.errors import SourceError, SourceNotFoundError, UsageError
from lmdb_reid.schema import NO_LABEL, Rows
from training.splits._split import Split

_HEAD = ["id", "part", "label_id", "class"]
_VERSION = 1
_JSON, _CSV = ".json", ".csv"
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1  # labels are int64
_ANY = re.compile(r"(?s:.*)")


class _Listed(NamedTuple):
    """A split by ids instead of rows."""

    parts: dict[str, list[str]]
    labels: list[int]


@known_arguments()
def save_split(
    path: str | os.PathLike[str], split: Split, ids: Sequence[str], labels: Rows
) -> None:
    """Write which sample is in which part.

    A .csv has a line for each sample, id,part,label_id,class, in the order of rows (class is its
    place in the split's labels, or -1); a .json {"version", "labels", "parts": {name: [id, ...]}}.

    Args:
        path: the file; one of that name is replaced once the new one is complete.
        split: rows of what `ids` and `labels` name.
        ids: [N], sample ids.
        labels: [N].

    Raises:
        UsageError: a name that ends in neither .csv nor .json.
        WriteError: the disk or its permissions stand in the way.
    """
    suffix = _suffix(path)
    with whole_text(path) as file:
        if suffix == _JSON:
            parts = {
                name: [ids[row] for row in rows.tolist()] for name, rows in split.parts.items()
            }
            whole = {"version": _VERSION, "labels": list(split.labels), "parts": parts}
            file.write(json.dumps(whole, ensure_ascii=False) + "\n")
            return
        place = {label: number for number, label in enumerate(split.labels)}
        lines = sorted((row, name) for name, rows in split.parts.items() for row in rows.tolist())
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_HEAD)
        for row, name in lines:
            label = int(labels[row])
            table.writerow((ids[row], name, label, place.get(label, NO_LABEL)))


@known_arguments()
def load_split(path: str | os.PathLike[str], ids: Sequence[str]) -> Split:
    """A split that `save_split` wrote, as rows of samples that need not stand where they stood.

    Args:
        path: the file.
        ids: [N], sample ids; those that the file lacks are in no part.

    Raises:
        UsageError: a name that ends in neither .csv nor .json.
        SourceNotFoundError: no such file.
        SourceError: it is no such file, or names a sample that is not among `ids`.
    """
    found = _read(path)
    row_of = {sample_id: row for row, sample_id in enumerate(ids)}
    parts: dict[str, Rows] = {}
    for name, listed in found.parts.items():
        rows = [row_of.pop(sample_id, None) for sample_id in listed]
        if None in rows:
            sample_id = listed[rows.index(None)]
            why = (
                "is in a part already: it occurs twice"
                if sample_id in ids
                else f"is not among the {len(ids):,} samples: the split is not of these"
            )
            raise SourceError(f"{os.fspath(path)}: {sample_id!r} of part {name!r} {why}")
        parts[name] = np.array(rows, np.int64)
    return Split(parts=parts, labels=found.labels)


def check_split(path: str | os.PathLike[str]) -> None:
    """Refuse a file that `load_split` would refuse whatever the samples are; raises as it does."""
    _read(path)


def _read(path: str | os.PathLike[str]) -> _Listed:
    suffix = _suffix(path)
    try:
        data = read_limited(Path(path), MAX_TEXT).removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError:
        raise SourceNotFoundError(f"no split at {os.fspath(path)}") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{os.fspath(path)} cannot be read as a split: {error}") from None
    try:
        return _of_json(data) if suffix == _JSON else _of_csv(data.decode())
    except (ValueError, csv.Error) as error:
        raise SourceError(f"{os.fspath(path)} is not a split: {error}") from None


def _suffix(path: str | os.PathLike[str]) -> str:
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"a split's file must be a path, got {path!r}")
    suffix = Path(path).suffix.lower()
    if suffix not in (_JSON, _CSV):
        raise UsageError(f"a split's file must end in .csv or .json; got {os.fspath(path)}")
    return suffix


def _of_json(data: bytes) -> _Listed:
    found = _json.parse(data)
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise ValueError(f'it has no "version": {_VERSION}')
    fields = _json.Fields(found, "")
    labels = fields.integers("labels", _MOST, _LEAST)
    listed = fields.inner("parts")
    return _Listed({name: list(listed.texts(name, _ANY)) for name in listed.items()}, [*labels])


def _of_csv(text: str) -> _Listed:
    head, *lines = [*csv.reader(io.StringIO(text, newline=""))] or [[]]
    if head != _HEAD:
        raise ValueError(f"line 1 must be {','.join(_HEAD)}, got {','.join(head) or 'no line'}")
    parts: dict[str, list[str]] = {}
    labels: dict[int, int] = {}
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(_HEAD):
            raise ValueError(f"line {number} has {len(cells)} cells instead of {len(_HEAD)}")
        sample_id, part, *numbers = cells
        try:
            label, place = map(int, numbers)
        except ValueError:
            raise ValueError(
                f"line {number}: {numbers[0]!r} and {numbers[1]!r} must be whole numbers"
            ) from None
        if not _LEAST <= label <= _MOST:
            raise ValueError(f"line {number}: label_id must be in {_LEAST}..{_MOST}, got {label}")
        if place > NO_LABEL and labels.setdefault(place, label) != label:
            raise ValueError(
                f"line {number}: class {place} must be of one label_id, got {labels[place]} and"
                f" {label}"
            )
        parts.setdefault(part, []).append(sample_id)
    return _Listed(parts, list(labels.values()))
