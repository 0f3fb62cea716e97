"""A file of features: numpy's .npy, and behind its array what it is of.

    the array        as .npy has it, float [N, D]: any numpy reads and maps the file
    rows             int64 [N], where the array is not of all rows of the store
    note             JSON: what the array is of, and what made it
    end              the note's length (uint64), the crc32 of all before the end (uint32), and
                     eight bytes to know a note by

All numbers are little-endian. Readers of .npy stop where the array ends.
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
import tokenize
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid import _json
from lmdb_reid._disk import whole_file
from lmdb_reid._regular import opened
from lmdb_reid.schema import Rows

SUFFIX = ".npy"
MOST_NOTE = 1 << 20
"""Most bytes of a note."""
_VERSION = 1
_MARK = b"reidfeat"
_END = struct.Struct("<QI8s")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}(-[0-9a-f]{1,64})?")
_HEADS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_NO_HEAD = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError)
"""What numpy raises of a head that is none, depending on what stands there."""
_CHUNK = 1 << 24  # bytes that are written, or summed up, in one go


class Note(NamedTuple):
    """What stands behind the array."""

    store: str
    """The fingerprint of the store that the array is of."""
    made_by: Mapping[str, Any]
    has_rows: bool


class Found(NamedTuple):
    """What a file holds."""

    array: npt.NDArray[Any]
    """A read-only memory map."""
    note: Note | None
    """None where somebody else wrote the file: it is a .npy and no more."""
    rows: Rows | None


def write_features(
    path: Path, array: npt.NDArray[Any], rows: Rows | None, note: Mapping[str, Any]
) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        WriteError: the disk or its permissions stand in the way.
    """
    dtype = array.dtype.newbyteorder("<")
    parts: list[tuple[npt.NDArray[Any], np.dtype[Any]]] = [(array, dtype)]
    if rows is not None:
        parts.append((rows, np.dtype("<i8")))
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": dtype.str, "fortran_order": False, "shape": array.shape}
    )
    crc = zlib.crc32(head.getvalue())
    with whole_file(path) as file:
        file.write(head.getvalue())
        for values, stored in parts:
            step = max(1, _CHUNK // max(1, values[:1].nbytes))
            for first in range(0, len(values), step):
                data = np.ascontiguousarray(values[first : first + step], stored).data.cast("B")
                crc = zlib.crc32(data, crc)
                file.write(data)
        known = {"version": _VERSION, **note, "rows": rows is not None}
        text = json.dumps(known, ensure_ascii=False).encode()
        file.write(text + _END.pack(len(text), zlib.crc32(text, crc), _MARK))


def read_features(path: Path) -> Found:
    """What a file holds, compared with its checksum where it has one.

    Raises:
        FileNotFoundError: no such file.
        OSError, ValueError: it cannot be read, or is damaged.
    """
    with opened(path) as (descriptor, size), open(descriptor, "rb", closefd=False) as file:
        end, note = _note(file, size)
        array = _array(file, end)
        if note is None or not note.has_rows:
            return Found(array, note, None)
        file.seek(array.offset + array.nbytes)
        rows = file.read(end - file.tell())
    if array.ndim != 2 or len(rows) != 8 * len(array):
        raise ValueError("it has not as many rows as its array")
    return Found(array, note, np.frombuffer(rows, "<i8").astype(np.int64))


def _array(file: BinaryIO, end: int) -> np.memmap[Any, np.dtype[Any]]:
    """The array, which ends by `end`. `numpy.load` would also open archives, which this is not."""
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        read = _HEADS.get(version)
        if read is None:
            raise ValueError(f"a .npy of version {version} is not read, only {[*_HEADS]}")
        shape, by_columns, dtype = read(file)
    except _NO_HEAD as error:
        why = str(error).partition("\n")[0][:200] or type(error).__name__
        raise ValueError(f"it is not a .npy: {why}") from None
    start = file.tell()
    if dtype.hasobject or any(isinstance(side, bool) or side < 0 for side in shape):
        raise ValueError(f"it is not a .npy of numbers: {dtype} {list(shape)}")
    wanted = math.prod(shape) * dtype.itemsize
    if start + wanted > end:
        raise ValueError(f"it was cut: {dtype} {list(shape)} take {wanted:,} bytes")
    if not wanted:
        raise ValueError(f"it has no numbers: {dtype} {list(shape)}")
    return np.memmap(file, dtype, "r", start, shape, "F" if by_columns else "C")


def _note(file: BinaryIO, size: int) -> tuple[int, Note | None]:
    """Where what stands before the note ends, and the note."""
    file.seek(max(0, size - _END.size))
    end = file.read()
    if len(end) < _END.size or not end.endswith(_MARK):
        return size, None
    length, crc, _ = _END.unpack(end)
    stop = size - _END.size - length
    if length > MOST_NOTE or stop < 0:
        raise ValueError("its note is too long")
    file.seek(0)
    if _crc(file, size - _END.size) != crc:
        raise ValueError("its bytes changed after it was written")
    file.seek(stop)
    fields = _json.Fields(_json.parse(file.read(length)), "its note")
    version = fields.integer("version", 1 << 31)
    if version != _VERSION:
        raise ValueError(f"it is of version {version}, this code reads {_VERSION}")
    note = Note(
        store=fields.text("store", _FINGERPRINT),
        made_by=fields.inner("made_by").items(),
        has_rows=fields.flag("rows"),
    )
    return stop, note


def _crc(file: BinaryIO, left: int) -> int:
    crc = 0
    while left:
        data = file.read(min(_CHUNK, left))
        if not data:
            raise ValueError("it became shorter while it was read")
        crc, left = zlib.crc32(data, crc), left - len(data)
    return crc
