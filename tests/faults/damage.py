"""Damage of what lies on the disk: sealed stores, LMDB's pages, decoded tiers, unfinished builds.

A fault may change nothing, or be an error of the project. It may never serve other pixels, labels,
ids or columns, end the process, or pass `verify`.
"""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmdb_reid.errors import LmdbReidError
from lmdb_reid.store import Store

from .child import Calls, Ended, Wrong, in_child, value_of
from .works import OUT, Fresh, Lab, Warm, taken_up

KINDS = ("flip", "byte", "zero", "swap", "cut", "stale")
GROUPS = ("store", "image", "record", "tree", "length", "tier", "unfinished")
_PAGE = 4096


def trials(lab: Lab, group: str, count: int, seed: int) -> Iterator[str]:
    """`GROUP SEED`, `count` of them."""
    yield from (f"{group} {seed * 1_000_000 + number}" for number in range(count))


def trial(lab: Lab, line: str) -> str:
    """One of `trials`: what came of it, or Wrong."""
    group = line.split(maxsplit=1)[0]
    draw = random.Random(line)
    if group == "tier":
        return _tier(lab, draw)
    if group == "unfinished":
        return _unfinished(lab, draw)
    folder = lab.empty("damaged") / OUT
    sealed = lab.stores["large" if group in ("tree", "length") else "new"]
    shutil.copytree(sealed, folder)
    _DAMAGE[group](lab, folder, draw)
    truth = _truth(sealed)
    end = in_child(lambda: _served(folder, truth), before=lab.bug)
    if end.how in ("signal", "untyped", "hung", "wrong"):
        raise Wrong(f"{end.how}: {end.value}")
    same = all((folder / name).read_bytes() == data for name, data in _files(sealed).items())
    if not same:
        checked = value_of(in_child(lambda: _verified(folder)))
        if not checked:
            raise Wrong("verify does not find it")
    if end.how == "typed":
        return "refused" if group != "store" else "refused when opened"
    return "no change" if same else ("some refused" if end.value else "served as sealed")


def _files(store: Path) -> dict[str, bytes]:
    names = ["data.mdb", "manifest.json", *(f"columns/{p.name}" for p in store.glob("columns/*"))]
    return {name: (store / name).read_bytes() for name in sorted(names)}


def _read(path: Path) -> tuple[list[Any], dict[str, bytes]]:
    """All samples and columns of a sealed store."""
    with Store(path) as store:
        samples = [store.at(row) for row in range(len(store))]
        told = [(one.id, one.label, one.kind, one.jpeg, one.record) for one in samples]
        return told, {name: store.columns[name].tobytes() for name in store.columns}


@functools.cache
def _truth(path: Path) -> tuple[list[Any], dict[str, bytes]]:
    """What the sealed store serves; read in a child, for LMDB must not be open where it forks."""
    return value_of(in_child(lambda: _read(path)))  # type: ignore[no-any-return]


def _served(path: Path, truth: tuple[list[Any], dict[str, bytes]]) -> int:
    """Read all that the store serves; returns how much was refused."""
    refused = 0
    samples, columns = truth
    with Store(path) as store:
        if len(store) != len(samples):
            raise Wrong(f"{len(store)} samples")
        for row, sealed in enumerate(samples):
            try:
                one = store.at(row)
            except LmdbReidError:
                refused += 1
                continue
            if (one.id, one.label, one.kind, one.jpeg, one.record) != sealed:
                raise Wrong(f"row {row} is served otherwise than sealed")
        with store.view() as view:
            for name, _, _, jpeg, _ in samples:
                with contextlib.suppress(LmdbReidError):
                    if len(view[name]) != len(jpeg):
                        raise Wrong(f"a view of {name} shows what is not its picture")
        for name, sealed in columns.items():
            try:
                found = store.columns[name].tobytes()
            except LmdbReidError:
                refused += 1
                continue
            if found != sealed:
                raise Wrong(f"column {name} is served otherwise than sealed")
    return refused


def _verified(path: Path) -> bool:
    """Whether damage is found."""
    try:
        with Store(path) as store:
            return not store.verify(deep=True).ok
    except LmdbReidError:
        return True


# -- kinds of damage


def damage(file: Path, draw: random.Random, kind: str, other: bytes = b"") -> None:
    """Change a file: a bit, a byte, 512 zeros, two blocks exchanged, its end, an older block."""
    data = bytearray(file.read_bytes())
    at = draw.randrange(len(data))
    block = at // 512 * 512
    if kind == "flip":
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        data[at] ^= draw.randrange(1, 256)
    elif kind == "zero":
        data[block : block + 512] = bytes(len(data[block : block + 512]))
    elif kind == "swap":
        to = draw.randrange(len(data)) // 512 * 512
        one, two = data[block : block + 512], data[to : to + 512]
        if len(one) == len(two):
            data[block : block + 512], data[to : to + 512] = two, one
    elif kind == "cut":
        del data[at:]
    elif other:
        page = at // _PAGE * _PAGE
        data[page : page + _PAGE] = other[page : page + _PAGE].ljust(
            len(data[page : page + _PAGE]), b"\0"
        )
    file.write_bytes(data)


def _any_file(lab: Lab, store: Path, draw: random.Random) -> None:
    files = _files(store)
    name = draw.choice([*files, *["data.mdb"] * (2 * len(files))])
    older = lab.stores["old"] / name
    damage(store / name, draw, draw.choice(KINDS), older.read_bytes() if older.exists() else b"")


def _in_value(lab: Lab, store: Path, draw: random.Random, what: str) -> None:
    """A bit of a stored image or record, in each copy that the file has of it."""
    file = store / "data.mdb"
    data = bytearray(file.read_bytes())
    with Store(store) as opened, opened.reading() as reading:
        row = draw.randrange(len(opened))
        value = bytes(reading.jpegs([row])[0]) if what == "image" else reading.records([row])[0]
    inside, bit = draw.randrange(len(value)), 1 << draw.randrange(8)
    at = data.find(value)
    while at >= 0:  # LMDB may have left an older copy in a page that is free now
        data[at + inside] ^= bit
        at = data.find(value, at + 1)
    file.write_bytes(data)


def _image(lab: Lab, store: Path, draw: random.Random) -> None:
    _in_value(lab, store, draw, "image")


def _record(lab: Lab, store: Path, draw: random.Random) -> None:
    _in_value(lab, store, draw, "record")


def _fields(data: bytes) -> dict[str, list[int]]:
    """Where LMDB's pages say how they are built: offsets of bytes, by what they mean."""
    found: dict[str, list[int]] = {"page": [], "node": [], "length": []}
    at = 2 * _PAGE
    while at < len(data):
        flags, lower = struct.unpack_from("<HH", data, at + 10)
        if flags & 0x04:  # values over a page: no nodes, and as many pages as it says
            found["page"] += range(at, at + 16)
            at += max(1, struct.unpack_from("<I", data, at + 12)[0]) * _PAGE
            continue
        if flags & 0x03:  # branch, leaf
            found["page"] += range(at, at + 16 + max(0, lower - 16))
            for pointer in range(at + 16, at + lower, 2):
                node = at + struct.unpack_from("<H", data, pointer)[0]
                found["node"] += range(node, node + 8)
                if flags & 0x02 and data[node + 4] & 0x01:  # its value has pages of its own
                    found["length"] += [node + 2, node + 3]
        at += _PAGE
    return found


def _tree(lab: Lab, store: Path, draw: random.Random, part: str = "") -> None:
    file = store / "data.mdb"
    data = bytearray(file.read_bytes())
    places = _fields(data)[part or draw.choice(["page", "node"])]
    data[draw.choice(places)] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


def _length(lab: Lab, store: Path, draw: random.Random) -> None:
    """The upper half of a value's length: LMDB hands out what lies behind the file."""
    _tree(lab, store, draw, "length")


_DAMAGE = {"store": _any_file, "image": _image, "record": _record, "tree": _tree, "length": _length}


# -- tiers and unfinished builds


def _tier(lab: Lab, draw: random.Random) -> str:
    folder, work = lab.empty("tier"), Warm(lab)
    value_of(in_child(lambda: work.run(folder)))
    file = draw.choice([*folder.glob("tier/*/pixels.bin")] * 3 + [*folder.glob("tier/*/*")])
    damage(file, draw, draw.choice(KINDS))
    end = in_child(lambda: work.read(folder, fill=False), before=lab.bug)
    if end.how not in ("done", "typed"):
        raise Wrong(f"{end.how}: {end.value}")
    return "all served" if end.value == len(lab.pixels["large"]) else "damaged rows decoded again"


def _unfinished(lab: Lab, draw: random.Random) -> str:
    work, folder = Fresh(lab), lab.empty("unfinished")
    end: Ended = Ended("")
    while end.how != "killed":  # somewhere after the first commits
        folder = lab.empty("unfinished")
        calls = Calls(folder, "kill", draw.randrange(35, 80))
        end = in_child(lambda calls=calls: _killed(calls, work))  # type: ignore[misc]
    partial = folder / f"{OUT}.partial"
    file = draw.choice([partial / "data.mdb"] * 3 + [partial / "work" / "journal.mdb"])
    damage(file, draw, draw.choice(KINDS[:5]))
    end = in_child(lambda: work.finish(folder), before=lab.bug)
    if end.how not in ("done", "typed"):
        raise Wrong(f"{end.how}: {end.value}")
    if end.how == "done":
        if value_of(in_child(lambda: work.judge(folder))) != "new":
            raise Wrong("not what an undisturbed build gives")
        return "resumed"
    return f"refused, {taken_up(work, folder, power_cut=False, over=False, refusable=True)}"


def _killed(calls: Calls, work: Fresh) -> None:
    calls.arm()
    work.run(Path(calls.folder))
