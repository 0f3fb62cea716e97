"""A csv as text cells with the line each row stands on, and those cells as numbers."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from builders.columns import Coded, Column, Ints
from builders.text_storage import PythonTexts
from lmdb_reid._regular import MAX_TEXT, read_limited
from lmdb_reid.errors import SourceError, SourceNotFoundError

_SEPARATORS = (",", ";", "\t")
_DECIMAL = re.compile(r"[+-]?\d*,\d+")  # in a csv of semicolons
_POINT = re.compile(r"[+-]?\d*\.\d+")
_HINT = re.compile(rb"(?:\xef\xbb\xbf)?sep=(.)\r?\n")  # what spreadsheets write for each other
MAX_FURTHER = 1000
"""Columns beside those that are needed: each becomes a file of the store."""

Floats = npt.NDArray[np.float64]
Reasons = npt.NDArray[np.object_]
"""Why a row cannot be used, [N]; "" where it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A csv file, read."""

    path: Path
    digest: str
    """SHA-256 of the file."""
    cells: pd.DataFrame
    """[N rows], all cells as str; blank lines are no rows."""
    lines: Ints
    """[N], 1-based: the line on which each row begins."""

    def __len__(self) -> int:
        return len(self.lines)

    def texts(self, name: str) -> list[str]:
        """The cells of a column."""
        cells: list[str] = self.cells[name].to_list()
        return cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """What a column of numbers may hold."""

    whole: bool = False
    least: float = -math.inf
    above: float = -math.inf
    """More than this."""
    farthest: float = 1 << 53
    """The absolute value is below this. Up to 2^53 every whole number is a float64."""


@PythonTexts()
def read_table(path: Path, needed: Sequence[str], *, option: str) -> Table:
    """Read a csv.

    Args:
        path: utf-8, with or without a byte order mark; cells are separated by commas, semicolons
            (then numbers may have decimal commas) or tabs, whichever gives the needed columns.
            Blanks round names and cells are no part of them, and columns without a name are none.
        needed: columns that it must have.
        option: of the command, which names the csv.

    Raises:
        SourceNotFoundError: no such file.
        SourceError: it cannot be read, is no usable csv, lacks a column, has one twice or over
            1,000 further ones, has no rows, or has decimal commas and decimal points in one column.
    """
    whole = _read_bytes(path, option)
    hint = _HINT.match(whole)
    text = whole[hint.end() :] if hint else whole
    separator, header = _header(path, text, needed)
    _check_header(path, header, needed)
    try:
        cells = pd.read_csv(
            io.BytesIO(text),
            sep=separator,
            dtype=object,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            skipinitialspace=True,
        )
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise _unusable(path, error) from None
    if not isinstance(cells.index, pd.RangeIndex):  # pandas took the first cells for row names
        raise SourceError(f"{path} has more cells in its rows than names in its header")
    cells.columns = pd.Index(header)
    cells = cells[[name for name in header if name]]  # a spreadsheet's empty or index columns
    for name in cells.columns if b" " in text or b"\t" in text else ():
        cells[name] = cells[name].str.strip()
    blank = np.logical_and.reduce([cells[name].to_numpy() == "" for name in cells.columns])
    if blank.all():
        raise SourceError(f"{path} has no rows")
    lines = np.arange(2, len(cells) + 2) + bool(hint)
    if b'"' in text:  # then a cell may hold line breaks
        breaks = cells.apply(lambda column: column.str.count("\n")).sum(axis=1)
        lines += (breaks.cumsum() - breaks).to_numpy(np.int64)
    if separator == ";":
        _put_points(path, cells, lines, needed)
    return Table(
        path=path,
        digest=hashlib.sha256(whole).hexdigest(),
        cells=cells[~blank].reset_index(drop=True),
        lines=lines[~blank],
    )


def _read_bytes(path: Path, option: str) -> bytes:
    try:
        return read_limited(path, MAX_TEXT)
    except FileNotFoundError:
        raise SourceNotFoundError(f"no csv at {path} ({option})") from None
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror} ({option} names the csv file)"
        ) from None
    except ValueError as error:
        raise SourceError(f"{path} cannot be read: {error} ({option} names the csv file)") from None


def _header(path: Path, text: bytes, needed: Sequence[str]) -> tuple[str, list[str]]:
    """(what separates cells, the names): of the separators the one that gives the most of the
    columns that are needed, then the most columns.
    """
    found: list[tuple[str, list[str]]] = []
    failed: csv.Error | None = None
    for separator in _SEPARATORS:
        lines = io.TextIOWrapper(io.BytesIO(text), encoding="utf-8-sig", newline="")
        try:
            names = next(csv.reader(lines, delimiter=separator, skipinitialspace=True), None)
        except UnicodeDecodeError as error:
            raise _unusable(path, error) from None
        except csv.Error as error:  # such as one cell of 131,072 characters and more
            names, failed = None, error
        found.append((separator, [name.strip() for name in names or ()]))
    separator, header = max(found, key=lambda each: (len({*each[1]} & {*needed}), len(each[1])))
    if not header and failed is not None:
        raise _unusable(path, failed)
    if not header:
        raise SourceError(f"{path} is not a usable csv: its first line must name the columns")
    return separator, header


def _unusable(path: Path, error: Exception) -> SourceError:
    cure = ""
    if isinstance(error, UnicodeDecodeError):
        cure = ". It must be utf-8: let a spreadsheet save it as 'CSV UTF-8'"
    return SourceError(f"{path} is not a usable csv: {error}{cure}")


def _put_points(path: Path, cells: pd.DataFrame, lines: Ints, needed: Sequence[str]) -> None:
    """Turn decimal commas into points: of columns that are needed in each cell that is a number; of
    others where all cells with a comma are.

    Raises:
        SourceError: a column has both: nobody knows whether 1.234 is over a thousand.
    """
    for name in cells.columns:
        column = cells[name]
        commas = column.str.contains(",", regex=False)
        decimal = commas & column.str.fullmatch(_DECIMAL)
        if not decimal.any() or (name not in needed and not decimal.equals(commas)):
            continue
        points = column.str.fullmatch(_POINT).to_numpy(np.bool_)
        if points.any():
            at = int(np.argmax(points))
            raise SourceError(
                f"{path} must have decimal commas or decimal points in {name}, not both; line"
                f" {lines[at]} has {column[at]!r}, line {lines[int(np.argmax(decimal))]}"
                f" {column[int(np.argmax(decimal))]!r}"
            )
        cells[name] = column.mask(decimal, column.str.replace(",", ".", regex=False))


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    """Before pandas reads it, which renames what stands twice."""
    if header and not {*header} & {*needed} and any(map(_is_number, header)):
        raise SourceError(
            f"{path} has no header: its first line must name the columns {', '.join(needed)}"
        )
    twice = [name for name, times in Counter(header).items() if times > 1 and name]
    if twice:
        raise SourceError(f"{path} has more than one column {_some(map(repr, twice))}")
    missing = [name for name in needed if name not in {*header}]
    if missing:
        hint = " (cells are separated by commas, semicolons or tabs)" if len(header) == 1 else ""
        near = [each for name in missing for each in difflib.get_close_matches(name, header, n=1)]
        meant = f". Did you mean {', '.join(near)}?" if near else ""
        raise SourceError(f"{path} lacks {', '.join(missing)}; it has {_some(header)}{hint}{meant}")
    further = len(header) - len(needed)
    if further > MAX_FURTHER:
        raise SourceError(
            f"{path} must have at most {MAX_FURTHER:,} columns beside {', '.join(needed)}, each of"
            f" which becomes a file of the store; it has {further:,}. Leave some out"
        )


def _is_number(text: str) -> bool:
    return not math.isnan(_number(text))


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:20]) + (", ..." if len(listed) > 20 else "")


def numbers_of(table: Table, name: str, rule: Number, reasons: Reasons) -> Floats:
    """A column as float64 [N]. Rows whose cell `rule` does not allow get a reason, unless they have
    one.
    """
    cells = table.texts(name)
    # Always floats, lest the text of one row decide how the digits of all others are read.
    number = _numbers(cells)
    usable = (np.abs(number) < rule.farthest) & (number >= rule.least) & (number > rule.above)
    if rule.whole:
        usable &= np.floor(number) == number
    for at in np.flatnonzero(~usable):  # NaN is among them
        reasons[at] = reasons[at] or f"{name} is {_fault(rule, cells[at].strip(), number[at])}"
    return number


def _numbers(cells: list[str]) -> Floats:
    """What the cells of a column say; NaN where that is no number."""
    together = "".join(cells)
    if together.isascii() and "_" not in together:
        try:
            return np.array(list(map(float, cells))) + 0.0  # no -0.0
        except ValueError:
            pass  # one of them is at fault
    return np.array(list(map(_number, cells))) + 0.0


def _number(text: str) -> float:
    text = text.strip()
    if "_" in text or not text.isascii():  # Python would read 1_000, and digits of every script
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def _fault(rule: Number, text: str, number: float) -> str:
    """Why a cell cannot be used."""
    if not text:
        return "missing"
    if not math.isfinite(number):
        return f"'{text}', which is not a finite number"
    if abs(number) >= rule.farthest:
        return f"{text}, which is out of range"
    if rule.whole and number % 1:
        return f"'{text}', which is not a whole number"
    if number < rule.least:
        return f"{text}, which is below {rule.least:g}"
    return f"{text}, which is not above {rule.above:g}"


def text_column(cells: pd.Series[str]) -> Coded[str]:
    """Cells as texts; empty ones are missing."""
    codes, names = pd.factorize(cells.mask(cells == ""))
    return Coded(codes=codes.astype(np.int32), categories=tuple(names.tolist()))


def further_column(cells: pd.Series[str]) -> Column:
    """Cells as numbers where all that are there are numbers, else as texts."""
    known = cells.mask(cells == "")  # missing, whatever the others are
    number = pd.to_numeric(known, errors="coerce")
    exact = number.dtype.kind in "iu" or not (number.abs() >= 1 << 53).any()
    if exact and number.notna().equals(known.notna()):
        values: npt.NDArray[np.generic] = number.to_numpy()
        return values
    return text_column(cells)
