"""Gathers the values of records while a store is sealed; dtypes are chosen to hold all of them."""

from __future__ import annotations

import json
import math
import re
import zlib
from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lmdb_reid import _disk
from lmdb_reid.store._column_files import Column
from lmdb_reid.store._format import (
    CORE_COLUMNS,
    ID_COLUMN,
    ID_OFFSETS_COLUMN,
    Facts,
)
from lmdb_reid.store._specs import ColumnSpec

_EXACT_IN_FLOAT = 1 << 53
_MOST = 1 << 63
_CODES = {"<i8": "q", "|u1": "B", "<u4": "I", "<i4": "i"}
_GATHERED = [name for name in CORE_COLUMNS if name not in (ID_COLUMN, ID_OFFSETS_COLUMN)]
_OF_CORE = frozenset({"label", "kind"})
_OF_FACTS = [name for name in _GATHERED if name not in _OF_CORE]
_NO_COLUMN = frozenset({bytes, list, tuple, dict})  # of a record's values


class ColumnsBuilder:
    """Gathers ids, core facts and record fields in key order, then writes the column files."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._offsets = array("q", [0])
        self._core = {name: array(_CODES[CORE_COLUMNS[name]]) for name in _GATHERED}
        self._of_facts: list[tuple[Callable[[Any], None], int]] = [
            (self._core[name].append, Facts._fields.index(name)) for name in _OF_FACTS
        ]
        self._fields: dict[str, _Field] = {}
        self._derived: dict[str, _Field] = {}

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def add(self, key: bytes, record: Mapping[str, Any], facts: Facts) -> None:
        """Append one sample."""
        row = len(self)
        self._ids += key
        self._offsets.append(len(self._ids))
        core = self._core
        core["label"].append(record["label"])
        core["kind"].append(record["kind"])
        for append, place in self._of_facts:
            append(facts[place])
        for name, value in facts.derived.items():
            self._derived.setdefault(name, _Field()).add(row, value)
        for name, value in record.items():
            if name in _OF_CORE or type(value) in _NO_COLUMN:
                continue
            field = self._fields.get(name)
            if field is None:
                field = self._fields[name] = _Field()
            field.add(row, value)

    def core(self, name: str) -> Column:
        """A core column as gathered so far."""
        return np.frombuffer(self._core[name], CORE_COLUMNS[name])

    def write(self, folder: Path) -> dict[str, ColumnSpec]:
        """Write all files into `folder` (made if absent), synced; returns the manifest's
        entries.
        """
        _disk.make_folder(folder)
        specs = {
            ID_COLUMN: write_column(folder, ID_COLUMN, np.frombuffer(self._ids, "|u1")),
            ID_OFFSETS_COLUMN: write_column(
                folder, ID_OFFSETS_COLUMN, np.frombuffer(self._offsets, "<i8")
            ),
        }
        for name in _GATHERED:
            specs[name] = write_column(folder, name, self.core(name))
        for name, derived in self._derived.items():
            values, categories = derived.finish(len(self))
            spec = write_column(folder, name, values, categories)
            specs[name] = replace(spec, derived=True)
        taken = frozenset(specs)
        for name, field in self._fields.items():
            column = _column_name(name, specs, taken)
            values, categories = field.finish(len(self))
            spec = write_column(folder, column, values, categories)
            specs[column] = replace(spec, field=name if column != name else None)
        _disk.sync(folder)
        return specs


class _Field:
    """One record field over all samples: integers for as long as they fit, then floats or
    strings.
    """

    def __init__(self) -> None:
        self._numbers: array[Any] = array("q")
        self._strings: dict[str, int] = {}
        self._codes: array[int] | None = None
        self._count = 0
        self._missing = False

    def add(self, row: int, value: Any) -> None:
        """The value of sample `row`; samples passed over since the last call have none."""
        if row > self._count:
            self._skip(row - self._count)
        codes = self._codes
        if codes is not None and type(value) is str:  # the usual cases first, in few steps
            codes.append(self._strings.setdefault(value, len(self._strings)))
            self._count = row + 1
            return
        code = "" if codes is not None else self._numbers.typecode
        fits = type(value) is float if code == "d" else type(value) is int and code == "q"
        if fits and -_MOST <= value < _MOST:
            self._numbers.append(value)
            self._count = row + 1
            return
        if value is None:
            self._skip(1)
            return
        if isinstance(value, bool):
            value = int(value)
        if self._codes is None and (isinstance(value, str) or not self._holds(value)):
            self._become_strings()
        if self._codes is not None:
            self._codes.append(self._strings.setdefault(str(value), len(self._strings)))
        else:
            self._numbers.append(value)
        self._count = row + 1

    def finish(self, count: int) -> tuple[Column, list[str] | None]:
        """(values, categories): `count` entries, categories sorted, None for numbers."""
        if count > self._count:
            self._skip(count - self._count)
        if self._codes is None:
            dtype = "<i8" if self._numbers.typecode == "q" else "<f8"
            return np.frombuffer(self._numbers, dtype), None
        names = sorted(self._strings)
        place = np.full(len(names) + 1, -1, "<i4")  # the last entry answers code -1
        for new, name in enumerate(names):
            place[self._strings[name]] = new
        return place[np.frombuffer(self._codes, "<i4")], names

    def _holds(self, value: Any) -> bool:
        """Make the numbers able to hold `value`; False where no number column can without loss."""
        if isinstance(value, int) and self._numbers.typecode == "q":
            return -(1 << 63) <= value < 1 << 63
        if isinstance(value, int) and abs(value) > _EXACT_IN_FLOAT:
            return False
        return self._become_floats()

    def _become_floats(self) -> bool:
        if self._numbers.typecode == "q":
            if any(abs(number) > _EXACT_IN_FLOAT for number in self._numbers):
                return False
            self._numbers = array("d", self._numbers)
        return True

    def _become_strings(self) -> None:
        codes = array("i")
        for number in self._numbers:
            missing = math.isnan(number)
            codes.append(
                -1 if missing else self._strings.setdefault(str(number), len(self._strings))
            )
        self._codes = codes

    def _skip(self, count: int) -> None:
        if self._codes is None and not self._become_floats():
            self._become_strings()
        if self._codes is not None:
            self._codes.extend([-1] * count)
        else:
            self._numbers.extend([float("nan")] * count)
        self._count += count


def _column_name(field: str, taken: Mapping[str, Any], reserved: frozenset[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", field)[:64]
    if name in reserved:
        name = f"src_{name}"[:64]
    return free_name(name, taken)


def may_hold(column: str, field: str) -> bool:
    """Whether a column of this name can have been made for a field of records, here or by a merge:
    it has the field's name, cleaned, or that and numbers of names that were taken.
    """
    clean = re.sub(r"[^A-Za-z0-9_]", "_", field)[:64]
    for base in (clean, f"src_{clean}"[:64]):
        if column == base or re.fullmatch(re.escape(base[:60]) + r"(_\d+)+", column):
            return True
    return False


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or where it is taken the first of `name_2`, `name_3` ... that is not."""
    unique, number = name, 2
    while unique in taken:
        unique = f"{name[:60]}_{number}"
        number += 1
    return unique


def write_column(
    folder: Path, name: str, values: Column, categories: list[str] | None = None
) -> ColumnSpec:
    """Write one column's files, synced but for their names; returns the manifest's entry."""
    data = np.ascontiguousarray(values)
    _disk.write_whole(folder / f"{name}.bin", data.data.cast("B"), sync_folder=False)
    spec = ColumnSpec(dtype=data.dtype.str, length=len(data), crc32=zlib.crc32(data.data))
    if categories is None:
        return spec
    text = json.dumps(categories, ensure_ascii=False).encode()
    _disk.write_whole(folder / f"{name}.json", text, sync_folder=False)
    return replace(
        spec,
        categories=len(categories),
        categories_size=len(text),
        categories_crc32=zlib.crc32(text),
    )
