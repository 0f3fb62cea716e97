"""The negatives csv: written row by row, read by whole columns.

Its columns are those of a sample: quarter,angle,session,frame,x,y,w,h,label_id,img_path,kind,id.
`id` keeps the sample id, whose slot numbers cannot be told from the boxes. A csv without `kind` or
`id`, as other scripts write it, is read too. Of other layouts than atmaCup's the first four are not
there: then ids name the frames.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from builders.samples import FRAME_FIELDS, BoxSample
from builders.text_storage import PythonTexts
from lmdb_reid._disk import whole_text
from lmdb_reid.errors import SourceError, SourceNotFoundError
from lmdb_reid.schema import NO_LABEL, Kind

TRAIN_META = "inputs/atmaCup22_2nd_meta/train_meta.csv"
IMG_ROOT = "inputs/images"
"""Where the guide's code has its csv and frames: the defaults of `lmdb-reid negatives`."""
FIRST_LINE = 2
"""The line that the first sample of a csv stands on."""

_COLUMNS = [field.name for field in fields(BoxSample)]
_NEEDED = _COLUMNS[: _COLUMNS.index("kind")]
_BY_ID = [name for name in _COLUMNS if name not in FRAME_FIELDS]
_TEXT = ("quarter", "angle", "img_path", "kind", "id")
_WHOLE = ("session", "frame", "label_id")
_SIDES = ("x", "y", "w", "h")
_KINDS = {
    name: kind for kind in (Kind.BACKGROUND, Kind.PARTIAL) for name in (kind.title, str(int(kind)))
}


def write_negatives_csv(path: str | os.PathLike[str], samples: Iterable[BoxSample]) -> None:
    """Write samples as a csv. A file of that name is replaced once the new one is complete.

    Raises:
        WriteError: the disk or its permissions stand in the way.
    """
    samples = list(samples)
    names = _COLUMNS if any(sample.quarter for sample in samples) or not samples else _BY_ID
    columns = {name: list(map(attrgetter(name), samples)) for name in names}
    titles = {kind: kind.title for kind in Kind}
    columns["kind"] = [titles[kind] for kind in columns["kind"]]
    with whole_text(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


@PythonTexts()
def load_negatives_from_csv(
    neg_csv_path: str | os.PathLike[str],
    *,
    train_meta: str | os.PathLike[str] = TRAIN_META,
    img_root: str | os.PathLike[str] = IMG_ROOT,
    by_id: bool = False,
) -> list[BoxSample]:
    """The negatives of a csv, in its order.

    Args:
        neg_csv_path: a csv that `lmdb-reid negatives` wrote, or any with its first ten columns.
            Where `kind` is missing every sample is a background, where `id` is missing it is "".
        train_meta: what to name in the command that makes a csv which is not there.
        img_root: the same.
        by_id: the csv may be without quarter, angle, session and frame, if it has ids: then these
            are "" and -1.

    Raises:
        SourceNotFoundError: no such file; the message has the command that makes it.
        SourceError: it cannot be read, lacks a column or has an invalid cell.
    """
    path = Path(neg_csv_path)
    try:
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(_TEXT, object),
            keep_default_na=False,
            low_memory=False,
            encoding="utf-8-sig",
        )
    except FileNotFoundError:
        raise SourceNotFoundError(
            f"Negatives CSV not found: {path}. Make it once: lmdb-reid negatives --train-meta"
            f" {os.fspath(train_meta)} --img-root {os.fspath(img_root)} --output {path}"
        ) from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        raise SourceError(f"{path} is not a usable csv: {error}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas' way with rows longer than the head
        raise SourceError(f"{path} is not a usable csv: its rows have more cells than its header")
    needed = _BY_ID if by_id and not {*FRAME_FIELDS} & {*table.columns} else _NEEDED
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise SourceError(f"{path} lacks {', '.join(missing)}; it has {', '.join(table.columns)}")
    _check_cells(path, table)
    columns = [_column(table, name) for name in _COLUMNS]
    return list(map(BoxSample, *columns))


def _column(table: pd.DataFrame, name: str) -> list[Any]:
    """The values that samples take."""
    if name not in table.columns:
        missing = {"kind": Kind.BACKGROUND, "session": -1, "frame": -1}
        return [missing.get(name, "")] * len(table)
    column = table[name].astype(np.int64) if name in _WHOLE else table[name]
    cells: list[Any] = column.to_list()
    return [_KINDS[text] for text in cells] if name == "kind" else cells


def _check_cells(path: Path, table: pd.DataFrame) -> None:
    """Refuse the first cell that is no negative's."""
    for name in filter(table.columns.__contains__, (*_WHOLE, *_SIDES)):
        number = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
        usable = np.isfinite(number)
        if name in _WHOLE:
            usable &= (number % 1 == 0) & (np.abs(number) < 1 << 53)
        _refuse(path, table, name, ~usable, "whole number" if name in _WHOLE else "finite number")
        if name in ("w", "h"):
            _refuse(path, table, name, number <= 0, "length above 0")
        if name == "label_id":
            _refuse(path, table, name, number != NO_LABEL, f"negative's label, {NO_LABEL}")
    for name in _TEXT:
        if name in table.columns:
            texts = table[name].unique()
            bad = [text for text in texts if not text or (name == "kind" and text not in _KINDS)]
            wanted = f"kind: {', '.join(_KINDS)}" if name == "kind" else "text"
            _refuse(path, table, name, table[name].isin(bad).to_numpy(), wanted)


def _refuse(path: Path, table: pd.DataFrame, name: str, bad: Any, wanted: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        raise SourceError(
            f"{path}, line {at + FIRST_LINE}: {name} is"
            f" {str(table[name].iloc[at])!r}, which is not a {wanted}"
        )
