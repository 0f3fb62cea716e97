"""Columns: one contiguous file for each fact known of the samples, in key order.

Reading gives read-only memory maps: aligned, shared by all processes, valid after the store is
closed and in a forked child. Writing gathers the values of records and chooses a dtype that holds
all of them.
"""

from __future__ import annotations

import errno
import json
import math
import operator
import re
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import (
    StoreChangedError,
    StoreDamagedError,
    StoreError,
    UnknownColumnError,
    UnknownRowError,
    UsageError,
)
from lmdb_reid.store._format import (
    COLUMNS,
    CORE_COLUMNS,
    DTYPES,
    ID_COLUMN,
    ID_OFFSETS_COLUMN,
    RESERVED_COLUMNS,
    Facts,
    write_synced,
)

AGAIN = "; copy the store again, or build it anew"
Column = npt.NDArray[Any]
_EXACT_IN_FLOAT = 1 << 53


class Columns(Mapping[str, Column]):
    """The columns of a store by name, each a read-only numpy memory map of one entry per sample.

    A column of strings holds int32 codes into `categories(name)`, -1 where a sample has no value;
    a column of numbers that some samples lack is float64 with NaN there. A column's checksum is
    compared when a process first maps it.
    """

    def __init__(
        self,
        path: Path,
        specs: Mapping[str, Mapping[str, Any]],
        is_replaced: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder = path / COLUMNS
        self._is_replaced = is_replaced  # whether another store has taken the name since
        self._specs = specs
        self._maps: dict[str, Column] = {}
        self._categories: dict[str, list[str]] = {}

    def __getitem__(self, name: str) -> Column:
        mapped = self._maps.get(name)
        if mapped is None:
            if name not in self._specs:
                raise UnknownColumnError(f"no column {name!r}; there are {', '.join(self)}")
            mapped = self._maps[name] = self._map(name, self._specs[name])
        return mapped

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._specs if name not in (ID_COLUMN, ID_OFFSETS_COLUMN))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}: {self._specs[name]['dtype']}" for name in self)
        return f"Columns({told})"

    def categories(self, name: str) -> list[str] | None:
        """The strings that a column's codes stand for, or None where the column holds numbers."""
        if name not in self._specs:
            raise UnknownColumnError(f"no column {name!r}; there are {', '.join(self)}")
        spec = self._specs[name].get("categories")
        if spec is None:
            return None
        if name not in self._categories:
            file = self._folder / f"{name}.json"
            text = _read(file)
            if zlib.crc32(text) != spec["crc32"]:
                raise self._damaged(f"{file} is damaged: its crc32 differs from the manifest's")
            self._categories[name] = json.loads(text)
        return self._categories[name]

    def check_sizes(self) -> None:
        """Compare the length of every file with the manifest's.

        Raises:
            StoreDamagedError: a file is missing, has another length, or the manifest names an
                unknown dtype.
        """
        for name, spec in self._specs.items():
            if spec["dtype"] not in DTYPES:
                raise StoreDamagedError(
                    f"column {name!r} has dtype {spec['dtype']!r}, which this format lacks"
                )
            file = self._folder / f"{name}.bin"
            wanted = spec["length"] * np.dtype(spec["dtype"]).itemsize
            try:
                found = file.stat().st_size
            except OSError as error:
                raise StoreDamagedError(f"{file} cannot be read: {error.strerror}") from None
            if found != wanted:
                raise StoreDamagedError(
                    f"{file} has {found} bytes; its manifest says {wanted}{AGAIN}"
                )

    def all_names(self) -> list[str]:
        """Every column in the manifest, the two that hold the ids included."""
        return list(self._specs)

    def _map(self, name: str, spec: Mapping[str, Any]) -> Column:
        file = self._folder / f"{name}.bin"
        if spec["length"] == 0:
            return np.empty(0, spec["dtype"])
        try:
            mapped = np.memmap(file, spec["dtype"], "r", shape=(spec["length"],))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise UsageError(
                    f"{file} cannot be opened: {error.strerror}. Allow more with `ulimit -n 4096`,"
                    " or use fewer workers"
                ) from None
            raise self._damaged(f"{file} cannot be mapped: {error}") from None
        except ValueError as error:
            raise self._damaged(f"{file} cannot be mapped: {error}") from None
        if zlib.crc32(mapped.data) != spec["crc32"]:
            raise self._damaged(f"{file} is damaged: its crc32 differs from the manifest's")
        return mapped.view(np.ndarray)  # the same memory; np.memmap takes 10 us to index

    def _damaged(self, message: str) -> StoreError:
        if self._is_replaced():
            where = self._folder.parent
            return StoreChangedError(f"the store at {where} was replaced since it was opened")
        return StoreDamagedError(message + AGAIN)


class Ids(Sequence[str]):
    """The sample ids of a store in key order: `ids[row]`, and `find(id)` for the way back."""

    def __init__(self, columns: Columns, count: int) -> None:
        self._columns = columns
        self._count = count
        self._key: Callable[[int], bytes] | None = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self.key(i).decode() for i in range(*row.indices(self._count))]
        at = operator.index(row)
        if not -self._count <= at < self._count:
            raise UnknownRowError(f"row {at} of a store of {self._count} samples")
        return self.key(at % self._count).decode()

    def __contains__(self, sample_id: object) -> bool:
        return (
            isinstance(sample_id, str)
            and self.find(sample_id.encode("utf-8", "surrogatepass")) >= 0
        )

    def key(self, row: int) -> bytes:
        """The utf-8 bytes of a row's id. `row` must be in 0..len-1."""
        return (self._key or self._open())(row)

    def maps(self) -> tuple[memoryview, memoryview]:
        """(text, ends), for those who look up many: the key of a row is
        text[ends[row] : ends[row + 1]].
        """
        # memoryviews of the two maps: several times faster to index than numpy arrays
        return self._columns[ID_COLUMN].data, self._columns[ID_OFFSETS_COLUMN].data

    def find(self, key: bytes) -> int:
        """The row of an id's utf-8 bytes, or -1: a binary search, some microseconds among ten
        million.
        """
        low = self.place(key)
        return low if low < self._count and self.key(low) == key else -1

    def place(self, key: bytes) -> int:
        """The row that an id's utf-8 bytes have, or would have."""
        get = self._key or self._open()
        low, high = 0, self._count
        while low < high:
            middle = (low + high) >> 1
            if get(middle) < key:
                low = middle + 1
            else:
                high = middle
        return low

    def _open(self) -> Callable[[int], bytes]:
        text, at = self.maps()

        def key(row: int) -> bytes:
            return bytes(text[at[row] : at[row + 1]])

        self._key = key
        return key


class ColumnsBuilder:
    """Gathers ids, core facts and record fields in key order, then writes the column files."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._offsets = array("q", [0])
        self._core = {name: array(_CODES[dtype]) for name, dtype in CORE_COLUMNS.items()}
        self._fields: dict[str, _Field] = {}

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
        core["crc32"].append(facts.crc32)
        core["record_crc32"].append(facts.record_crc32)
        core["width"].append(facts.width)
        core["height"].append(facts.height)
        for name, value in record.items():
            if name in ("label", "kind") or isinstance(value, (bytes, list, tuple, dict)):
                continue
            field = self._fields.get(name)
            if field is None:
                field = self._fields[name] = _Field()
            field.add(row, value)

    def core(self, name: str) -> Column:
        """A core column as gathered so far."""
        return np.frombuffer(self._core[name], CORE_COLUMNS[name])

    def write(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Write all files into `folder` (made if absent), synced; returns the manifest's
        entries.
        """
        folder.mkdir(exist_ok=True)
        specs = {
            ID_COLUMN: _write(folder, ID_COLUMN, np.frombuffer(self._ids, "|u1")),
            ID_OFFSETS_COLUMN: _write(
                folder, ID_OFFSETS_COLUMN, np.frombuffer(self._offsets, "<i8")
            ),
        }
        for name in CORE_COLUMNS:
            specs[name] = _write(folder, name, self.core(name))
        for name, field in self._fields.items():
            column = _column_name(name, specs)
            values, categories = field.finish(len(self))
            specs[column] = _write(folder, column, values)
            if categories is not None:
                text = json.dumps(categories, ensure_ascii=False).encode()
                write_synced(folder / f"{column}.json", text)
                specs[column]["categories"] = {"length": len(categories), "crc32": zlib.crc32(text)}
            if column != name:
                specs[column]["field"] = name
        return specs


_CODES = {"<i8": "q", "|u1": "B", "<u4": "I", "<i4": "i"}


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


def _column_name(field: str, taken: Mapping[str, Any]) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", field)[:64]
    if name in RESERVED_COLUMNS:
        name = f"src_{name}"
    unique, number = name, 2
    while unique in taken:
        unique = f"{name[:60]}_{number}"
        number += 1
    return unique


def _write(folder: Path, name: str, values: Column) -> dict[str, Any]:
    data = np.ascontiguousarray(values)
    write_synced(folder / f"{name}.bin", data.data.cast("B"))
    return {"dtype": data.dtype.str, "length": len(data), "crc32": zlib.crc32(data.data)}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StoreDamagedError(f"{file} cannot be read: {error.strerror}") from None
