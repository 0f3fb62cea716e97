"""Hostile columns, categories, records, pictures and data files of a store whose manifest fits."""

from __future__ import annotations

import functools
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from _using import COUNT, categories, column, picture, sealed_with, store, use, values
from manifests import ESCAPE
from pictures import progressive, saying

from lmdb_reid import Store, StoreWriter
from lmdb_reid.errors import CorruptSampleError, LmdbReidError, StoreDamagedError

Make = Callable[[Path], object]


# -- columns


def _column(name: str, data: bytes, folder: Path) -> None:
    use(column(store(folder), name, data), check="structure")


def _changed(name: str, change: Callable[[Any], Any], folder: Path) -> None:
    path = store(folder)
    _column(name, np.asarray(change(values(path, name))).tobytes(), folder / "again")


def _ids(ids: list[bytes], folder: Path) -> None:
    path = column(store(folder), "id", b"".join(ids))
    offsets = np.cumsum([0, *map(len, ids)], dtype="<i8").tobytes()
    use(column(path, "id_offsets", offsets), check="structure")


def _all(value: float, dtype: str) -> Callable[[Any], Any]:
    return lambda _: np.full(COUNT, value, dtype)


COLUMNS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "labels of -5": ("label", _all(-5, "<i8")),
    "labels of 2^63 - 1": ("label", _all((1 << 63) - 1, "<i8")),
    "kinds of 9": ("kind", _all(9, "|u1")),
    "heights of 0": ("height", _all(0, "<i4")),
    "heights of 2^31 - 1": ("height", _all((1 << 31) - 1, "<i4")),
    "widths of -3": ("width", _all(-3, "<i4")),
    "images of no bytes": ("image_size", _all(0, "<u4")),
    "images of 4 GB": ("image_size", _all((1 << 32) - 1, "<u4")),
    "records of 4 GB": ("record_size", _all((1 << 32) - 1, "<u4")),
    "other checksums": ("crc32", lambda found: found[::-1]),
    "other checksums of records": ("record_crc32", lambda found: found[::-1]),
    "orders of -7": ("src_order", _all(-7, "<i8")),
    "codes of -2": ("quarter", _all(-2, "<i4")),
    "codes beyond": ("quarter", _all(2, "<i4")),
    "numbers that are none": ("x", _all(np.nan, "<f8")),
    "infinite numbers": ("x", _all(np.inf, "<f8")),
    "labels in another order": ("label", lambda found: found[::-1]),
}
OFFSETS: dict[str, list[int]] = {
    "descending": list(range(COUNT, -1, -1)),
    "all the same": [0] * (COUNT + 1),
    "beyond the text": [0, *range(9, 9 * COUNT, 8), 1 << 40],
    "below zero": [-8, *range(8, 8 * COUNT + 1, 8)],
    "too few": [0, 8],
}
IDS: dict[str, list[bytes]] = {
    "not utf-8": [b"f%02d\xff\xfe" % row for row in range(COUNT)],
    "cut inside a letter": [b"f\xc3", *[b"\xa9%02d" % row for row in range(COUNT - 1)]],
    "of 600 bytes": [b"%03d" % row + b"x" * 600 for row in range(COUNT)],
    "with control characters": [b"%02d\x1b[2J\x07" % row for row in range(COUNT)],
    "with C1 control characters": [b"%02d\xc2\x9b31m" % row for row in range(COUNT)],
    "all the same": [b"f000#000"] * COUNT,
    "descending": [b"f%03d" % row for row in range(COUNT, 0, -1)],
    "of nobody": [b"g%03d" % row for row in range(COUNT)],
    "with a line end": [b"%02d\nall is well" % row for row in range(COUNT)],
}


def _file(name: str, make: Make, folder: Path) -> None:
    path = store(folder)
    (path / name).unlink()
    make(path / name)
    use(path, check="structure")
    use(path)


FILES: dict[str, Make] = {
    "missing": lambda _: None,
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to /dev/zero": lambda file: file.symlink_to("/dev/zero"),
    "a link to itself": lambda file: file.symlink_to(file),
    "empty": lambda file: file.write_bytes(b""),
    "one byte": lambda file: file.write_bytes(b"\1"),
    "a terabyte of nothing": lambda file: (file.touch(), os.truncate(file, 1 << 40)),
}
WHERE = ("data.mdb", "columns/label.bin", "columns/id.bin", "columns/quarter.json")

# -- categories

STRINGS: dict[str, tuple[bytes, int | None]] = {
    "not a JSON": (b"['Q0', 'Q1']", None),
    "a map": (b'{"Q0": 0, "Q1": 1}', None),
    "numbers": (b"[0, 1]", None),
    "lists": (b"[[], []]", None),
    "nested 100,000 deep": (b"[" * 100_000, None),
    "one twice": (b'["Q0", "Q0"]', None),
    "too few": (b'["Q0"]', None),
    "none": (b"[]", 0),
    "lone surrogates": (b'["\\ud800", "\\udfff"]', None),
    "not utf-8": (b'["Q0", "\xff"]', None),
    "escapes": (json.dumps([ESCAPE, ESCAPE + "2"]).encode(), None),
    "a million letters": (json.dumps(["Q0", "Q" * 1_000_000]).encode(), None),
    "names of pandas": (b'["label", "__import__"]', None),
}

# -- records

DEEP = b"\x91" * 100_000 + b"\xc0"
RECORDS: dict[str, bytes] = {
    "a list": msgpack.packb([1]),
    "a number": msgpack.packb(3),
    "nothing": b"",
    "a text": msgpack.packb("label"),
    "no label": msgpack.packb({"kind": 0}),
    "no kind": msgpack.packb({"label": 1}),
    "kind 77": msgpack.packb({"label": 1, "kind": 77}),
    "kind as a float": msgpack.packb({"label": 1, "kind": 0.0}),
    "kind as true": msgpack.packb({"label": 1, "kind": True}),
    "label as text": msgpack.packb({"label": "1", "kind": 0}),
    "label -2": msgpack.packb({"label": -2, "kind": 0}),
    "label 2^63": msgpack.packb({"label": 1 << 63, "kind": 0}),
    "keys of bytes": msgpack.packb({"label": 1, "kind": 0, b"x": 1}),
    "keys of numbers": msgpack.packb({"label": 1, "kind": 0, 7: 1}),
    "keys of lists": b"\x83\xa5label\x01\xa4kind\x00\x91\x01\x01",
    "not utf-8": b"\x83\xa5label\x01\xa4kind\x00\xa1x\xa1\xff",
    "an extension": msgpack.packb({"label": 1, "kind": 0, "x": msgpack.ExtType(5, b"x")}),
    "a time": msgpack.packb({"label": 1, "kind": 0, "x": msgpack.Timestamp(1, 2)}),
    "nested 100,000 deep": b"\x83\xa5label\x01\xa4kind\x00\xa1x" + DEEP,
    "nested 500 deep": msgpack.packb(
        {"label": 1, "kind": 0, "x": functools.reduce(lambda x, _: [x], range(500), 0)}
    ),
    "a map that says 2^32 - 1": b"\xdf\xff\xff\xff\xff\xa5label\x01",
    "a text that says 2^32 - 1": b"\x82\xa5label\x01\xa4kind\xdb\xff\xff\xff\xff",
    "more behind it": msgpack.packb({"label": 1, "kind": 0}) + b"\0",
    "cut": msgpack.packb({"label": 1, "kind": 0, "x": "text"})[:-2],
    "a name twice": b"\x83\xa5label\x01\xa4kind\x00\xa5label\x02",
    "escapes": msgpack.packb({"label": 1, "kind": 0, ESCAPE: ESCAPE, "x": [ESCAPE]}),
    "lines": msgpack.packb({"label": 1, "kind": 0, "x": "a\n  label 9\r\nb"}),
    "NaN": msgpack.packb({"label": 1, "kind": 0, "x": float("nan")}),
    "a million letters": msgpack.packb({"label": 1, "kind": 0, "x": "x" * 1_000_000}),
}


def _record(data: bytes, folder: Path) -> None:
    use(sealed_with(folder, record=data), check="structure")


# -- pictures


def _pictures() -> dict[str, bytes]:
    whole = picture()
    return {
        "cut": whole[:-60],
        "cut in its header": whole[:40],
        "empty": b"x",
        "no JPEG": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "60,000 x 60,000": saying(whole, 60_000, 60_000),
        "60,000 x 60,000, progressive": saying(progressive(), 60_000, 60_000),
        "9,459 x 9,459, 32 x 16 of it there": saying(whole, 9_459, 9_459),
        "20,000 scans": progressive(20_000),
        "80 scans": progressive(70),
        "another size": picture(1, (64, 64)),
        "no rows": saying(whole, 0, 16),
        "markers without an end": whole[:2] + b"\xff\xe1\0\2" * 300_000,
        "a segment beyond the end": whole[:2] + b"\xff\xe1\xff\xff" + whole[2:],
        "zeros behind it": whole + bytes(100_000),
    }


def _picture(image: bytes, folder: Path) -> None:
    use(sealed_with(folder, image=image), check="structure")


def _is_refused(image: bytes, folder: Path) -> None:
    with Store(sealed_with(folder, image=image)) as opened:
        for act in (opened.at, lambda row: opened.at(row).image):
            try:
                act(0)
            except CorruptSampleError:
                continue
            raise AssertionError("it was served")


# -- the data file


def _flipped(number: int, folder: Path) -> None:
    """Bits of LMDB's own structures, for a reader who asks that they be looked at first."""
    path = store(folder)
    file, drawn = path / "data.mdb", random.Random(number)
    data = bytearray(file.read_bytes())
    for _ in range(1 + number % 3):
        page = drawn.randrange(len(data) // 4096)
        data[page * 4096 + drawn.randrange(64)] ^= 1 << drawn.randrange(8)
    file.write_bytes(data)
    use(path, check="structure")


def _longer(folder: Path) -> None:
    """Images whose length in LMDB reaches beyond the file: the default open must not read it."""
    path = store(folder)
    file = path / "data.mdb"
    data = bytearray(file.read_bytes())
    at = data.find(b"f000#003")
    while at > 0:
        (low, high) = struct.unpack_from("<HH", data, at - 8)
        if (high << 16 | low) == len(picture(3)):
            struct.pack_into("<H", data, at - 6, 0x7FFF)
        at = data.find(b"f000#003", at + 1)
    file.write_bytes(data)
    with Store(path) as opened:
        for act in (lambda: opened["f000#003"], lambda: opened.at(3)):
            try:
                act()
            except (CorruptSampleError, StoreDamagedError):
                continue
            raise AssertionError("it was served")


def _other(folder: Path) -> None:
    path = store(folder)
    with StoreWriter(folder / "other.lmdb") as writer:
        for row in range(COUNT):
            writer.put(f"f{row // 4:03d}#{row % 4:03d}", picture(row + 50), {"label": 1})
        writer.seal()
    (path / "data.mdb").write_bytes((folder / "other.lmdb" / "data.mdb").read_bytes())
    try:
        Store(path)
    except LmdbReidError:
        return
    raise AssertionError("another store's data was opened")


ATTACKS: dict[str, Make] = {
    **{name: functools.partial(_changed, *how) for name, how in COLUMNS.items()},
    **{
        f"offsets {name}": functools.partial(
            _column, "id_offsets", np.array(numbers, "<i8").tobytes()
        )
        for name, numbers in OFFSETS.items()
    },
    **{f"ids {name}": functools.partial(_ids, ids) for name, ids in IDS.items()},
    **{
        f"{name} is {what}": functools.partial(_file, name, make)
        for name in WHERE
        for what, make in FILES.items()
    },
    **{
        f"categories: {name}": functools.partial(
            lambda data, length, folder: use(
                categories(store(folder), data, length), check="structure"
            ),
            *how,
        )
        for name, how in STRINGS.items()
    },
    **{f"a record: {name}": functools.partial(_record, data) for name, data in RECORDS.items()},
    **{
        f"a picture: {name}": functools.partial(_picture, data)
        for name, data in _pictures().items()
    },
    **{
        f"a picture is refused: {name}": functools.partial(_is_refused, _pictures()[name])
        for name in ("60,000 x 60,000", "20,000 scans", "60,000 x 60,000, progressive")
    },
    **{f"flipped bits {number}": functools.partial(_flipped, number) for number in range(20)},
    "a length beyond the file": _longer,
    "another store's data": _other,
}
