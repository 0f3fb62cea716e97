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
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid._disk import whole_file
from lmdb_reid.schema import Rows

SUFFIX = ".npy"
MOST_NOTE = 1 << 20
"""Most bytes of a note."""
_VERSION = 1
_MARK = b"reidfeat"
_END = struct.Struct("<QI8s")
_CHUNK = 1 << 24  # bytes that are written, or summed up, in one go


class Found(NamedTuple):
    """What a file holds."""

    array: npt.NDArray[Any]
    """A read-only memory map."""
    note: Mapping[str, Any] | None
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
        OSError, ValueError, KeyError, TypeError: it cannot be read, or is damaged.
    """
    with path.open("rb") as file:
        note, rows = _note(file)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise ValueError("another file took its place while it was read: try again")
    return Found(array, note, rows)


def _note(file: BinaryIO) -> tuple[dict[str, Any] | None, Rows | None]:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size))
    end = file.read()
    if len(end) < _END.size or not end.endswith(_MARK):
        return None, None
    length, crc, _ = _END.unpack(end)
    stop = size - _END.size - length
    if length > MOST_NOTE or stop < 0:
        raise ValueError("its note is longer than a note can be")
    file.seek(0)
    if _crc(file, size - _END.size) != crc:
        raise ValueError("its bytes are not those that were written")
    file.seek(stop)
    note: dict[str, Any] = json.loads(file.read(length))
    if note["version"] != _VERSION:
        raise ValueError(f"it is of version {note['version']}, this code reads {_VERSION}")
    if not note["rows"]:
        return note, None
    file.seek(0)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    file.seek(file.tell() + int(np.prod(shape)) * dtype.itemsize)
    return note, np.frombuffer(file.read(8 * shape[0]), "<i8").astype(np.int64)


def _crc(file: BinaryIO, left: int) -> int:
    crc = 0
    while left:
        data = file.read(min(_CHUNK, left))
        if not data:
            raise ValueError("it became shorter while it was read")
        crc, left = zlib.crc32(data, crc), left - len(data)
    return crc
