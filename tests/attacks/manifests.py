"""Hostile manifests: every field odd, missing or contradicting, and files that are none."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _using import Edit, edited, store, use

from lmdb_reid import Store
from lmdb_reid.errors import LmdbReidError

ESCAPE = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"
ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "minus one": -1,
    "zero": 0,
    "a half": 1.5,
    "1e30": 10**30,
    "2^63": 1 << 63,
    "text": "x",
    "an escape": ESCAPE,
    "a surrogate": "\ud800",
    "a list": [],
    "lists in a list": [[1, 2], []],
    "a map": {},
    "a map of maps": {"x": {"y": None}},
}
FIELDS = (
    *("format", "version", "samples", "kinds", "identities", "size", "digest", "columns"),
    *("roles", "parts", "build", "source"),
)
PART = (
    *("path", "name", "first", "count", "images", "records", "size", "last_page"),
    *("last_transaction", "digest", "crc32", "label_offset", "fields"),
)
COLUMN = ("dtype", "length", "crc32", "categories", "field", "derived")
ROLES = ("identity", "camera", "group", "time", "split", "track")


def _attack(edit: Edit, folder: Path) -> None:
    use(edited(store(folder), edit))


def _refused(edit: Edit, folder: Path) -> None:
    path = edited(store(folder), edit)
    try:
        Store(path)
    except LmdbReidError as error:
        assert "manifest.json" in str(error) or str(path) in str(error), error
        return
    raise AssertionError("it was opened")


def _put(value: Any, *way: Any) -> Edit:
    def edit(manifest: dict[str, Any]) -> None:
        at: Any = manifest
        for step in way[:-1]:
            at = at[step]
        if value is KeyError:
            at.pop(way[-1], None)
        else:
            at[way[-1]] = value

    return edit


def _odd() -> dict[str, Edit]:
    ways = {name: (name,) for name in FIELDS}
    ways |= {f"part's {name}": ("parts", 0, name) for name in PART}
    ways |= {f"label's {name}": ("columns", "label", name) for name in COLUMN}
    ways |= {f"quarter's {name}": ("columns", "quarter", name) for name in COLUMN}
    ways |= {
        f"categories' {name}": ("columns", "quarter", "categories", name)
        for name in ("length", "size", "crc32")
    }
    ways |= {f"role {name}": ("roles", name) for name in ROLES}
    edits = {
        f"{name} is {what}": _put(value, *way)
        for name, way in ways.items()
        for what, value in ODD.items()
    }
    return edits | {f"no {name}": _put(KeyError, *way) for name, way in ways.items()}


REFUSED: dict[str, Edit] = {
    "size [1, -1]": _put([1, -1], "size"),
    "size [1e9, 1e9]": _put([10**9, 10**9], "size"),
    "size of letters": _put("ab", "size"),
    "size of one": _put([256], "size"),
    "size of three": _put([1, 2, 3], "size"),
    "size of no pixels": _put([0, 16], "size"),
    "a kind that nobody knows": _put({"alien": 12}, "kinds"),
    "kinds of too many": _put({"person": 13}, "kinds"),
    "kinds below zero": _put({"person": 13, "junk": -1}, "kinds"),
    "more identities than samples": _put(13, "identities"),
    "label as floats": _put("<f8", "columns", "label", "dtype"),
    "kind as integers": _put("<i8", "columns", "kind", "dtype"),
    "ids as text": _put("<U4", "columns", "id", "dtype"),
    "objects": _put("|O", "columns", "x", "dtype"),
    "a record dtype": _put("<i8,<f8", "columns", "x", "dtype"),
    "big-endian": _put(">f8", "columns", "x", "dtype"),
    "codes as floats": _put("<f8", "columns", "quarter", "dtype"),
    "more strings than samples": _put(13, "columns", "quarter", "categories", "length"),
    "strings of a terabyte": _put(1 << 40, "columns", "quarter", "categories", "size"),
    "a column outside": lambda m: m["columns"].update({"../../outside": m["columns"]["x"]}),
    "a column of a path": lambda m: m["columns"].update({"a/b": m["columns"]["x"]}),
    "a column without a name": lambda m: m["columns"].update({"": m["columns"]["x"]}),
    "a column of 65 letters": lambda m: m["columns"].update({"x" * 65: m["columns"]["x"]}),
    "a camera that is no column": _put("nothing", "roles", "camera"),
    "identities by id": _put("id", "roles", "identity"),
    "nested 33 deep": lambda m: m.update(build=functools.reduce(lambda x, _: [x], range(33), 0)),
    "a part twice": lambda m: m.update(parts=m["parts"] * 2),
    "no parts": _put([], "parts"),
    "a part that begins late": _put(1, "parts", 0, "first"),
    "a part of nothing": lambda m: m["parts"][0].update(count=0, images=0, records=0),
    "a path with a zero": _put("data\0.mdb", "parts", 0, "path"),
    "a path of 5,000 letters": _put("x" * 5000, "parts", 0, "path"),
    "a part that is a device": _put("/dev/zero", "parts", 0, "path"),
    "a part that is a folder": _put("columns", "parts", 0, "path"),
    "a part that is no LMDB": _put("manifest.json", "parts", 0, "path"),
    "a part outside": _put("/etc/passwd", "parts", 0, "path"),
    "a name that climbs": _put("..", "parts", 0, "name"),
    "version 2": _put([2, 0], "version"),
    "version 1 as a float": _put([1.0, 0], "version"),
    "version in letters": _put("1.0", "version"),
    "another program's": _put("safetensors", "format"),
}


def _file(make: Callable[[Path], object], folder: Path) -> None:
    path = store(folder)
    (path / "manifest.json").unlink()
    make(path / "manifest.json")
    try:
        Store(path)
    except LmdbReidError:
        use(path)
        return
    raise AssertionError("it was opened")


def _text(change: Callable[[str], str | bytes]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = store(folder)
        said = change((path / "manifest.json").read_text())
        data = said if isinstance(said, bytes) else said.encode()
        _file(lambda file: file.write_bytes(data), folder / "again")

    return run


FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to itself": lambda file: file.symlink_to(file),
    "a link to /dev/zero": lambda file: file.symlink_to("/dev/zero"),
    "a link to a pipe": lambda file: (os.mkfifo(file.with_name("pipe")), file.symlink_to("pipe")),
    "a link to nothing": lambda file: file.symlink_to("nothing"),
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(bytes(1000)),
    "300 MB of blanks": lambda file: (file.touch(), os.truncate(file, 300 << 20)),
    "nested 100,000 deep": lambda file: file.write_bytes(b"[" * 100_000),
    "maps 900 deep": lambda file: file.write_bytes(b'{"x":' * 900 + b"1" + b"}" * 900),
    "a list": lambda file: file.write_bytes(b"[1]"),
    "a number of 5,000 digits": lambda file: file.write_bytes(b'{"format":' + b"9" * 5000 + b"}"),
    "a million lists": lambda file: file.write_bytes(b"[" + b"[]," * 349_000 + b"[]]"),
    "NaN": lambda file: file.write_bytes(b'{"format": NaN}'),
    "not utf-8": lambda file: file.write_bytes(b'{"format": "\xff"}'),
}
TEXTS: dict[str, Callable[[str], str | bytes]] = {
    "utf-16": lambda text: text.encode("utf-16"),
    "with a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "a name twice": lambda text: text.replace('"samples"', '"samples": 1, "samples"', 1),
    "cut in half": lambda text: text[: len(text) // 2],
    "a digit changed": lambda text: text.replace('"samples": 12', '"samples": 11'),
    "a comment": lambda text: "// harmless\n" + text,
}


def _many_columns(manifest: dict[str, Any]) -> None:
    spec = manifest["columns"]["x"]
    manifest["columns"] |= {f"c{number}": spec for number in range(3000)}


def _roles(manifest: dict[str, Any]) -> None:
    manifest["roles"].update(time=["x"] * 10_000, group=["quarter"] * 10_000)


ODDITIES: dict[str, Callable[[Path], object]] = {
    name: functools.partial(_attack, edit) for name, edit in _odd().items()
}
"""All of them take a while: see `odd_manifests`."""
ATTACKS: dict[str, Callable[[Path], object]] = {
    **dict(list(ODDITIES.items())[::5]),
    **{name: functools.partial(_refused, edit) for name, edit in REFUSED.items()},
    **{f"the manifest is {name}": functools.partial(_file, make) for name, make in FILES.items()},
    **{f"the manifest is {name}": _text(change) for name, change in TEXTS.items()},
    "3,000 columns": functools.partial(_attack, _many_columns),
    "20,000 roles": functools.partial(_attack, _roles),
    "escapes in settings": functools.partial(_attack, _put({ESCAPE: ESCAPE}, "build")),
    "escapes in the source": functools.partial(_attack, _put({"root": [ESCAPE]}, "source")),
    "escapes in a field": functools.partial(_attack, _put(ESCAPE, "columns", "x", "field")),
}
