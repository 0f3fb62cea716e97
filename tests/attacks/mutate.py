"""Changed inputs by the thousand: nothing but an error of ours, or an answer, may come of them.

    python tests/attacks/mutate.py --count 100000 --seed 1 [--area manifests ...]
    python tests/attacks/mutate.py --replay FILE ...        what an earlier run kept

An input is a function of area, seed and number. What is found is kept in `found/` beside this file,
whose files the tests run again. Exits with 1 where something was found.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from _using import SIZE, picture, store, summed_up
from child import SECONDS, limit_memory
from manifests import ODD
from pictures import png, progressive
from tables import HEAD, ROW

from builders.sources._table import read_table
from lmdb_reid import codec
from lmdb_reid.errors import LmdbReidError
from lmdb_reid.store import Manifest, _format
from lmdb_reid.store._column_files import ColumnFiles
from lmdb_reid.store._specs import ColumnSpec

FOUND = Path(__file__).with_name("found")
_PLACE = Path(tempfile.mkdtemp())

# -- what is done with an input


def _manifests(data: bytes) -> None:
    manifest = Manifest.parse(data)
    assert Manifest.parse(manifest.bytes()) == manifest


def _categories(data: bytes) -> None:
    (_PLACE / "columns").mkdir(exist_ok=True)
    (_PLACE / "columns" / "c.json").write_bytes(data)
    spec = ColumnSpec(
        dtype="<i4",
        length=9,
        crc32=0,
        categories=3,
        categories_size=len(data),
        categories_crc32=zlib.crc32(data),
    )
    names = ColumnFiles(_PLACE, {"c": spec}).categories("c")
    assert names is not None
    assert len({*names}) == 3
    "".join(names).encode()


def _records(data: bytes) -> None:
    record = _format.unpack_record(b"a", data)
    assert type(record["label"]) is int
    _format.pack_record("a", record | {"kind": 0})


def _headers(data: bytes) -> None:
    out = np.empty((*SIZE, 3), np.uint8)
    with contextlib.suppress(LmdbReidError):
        info = codec.probe(data)
        if info.height * info.width > 1 << 20:
            return  # within the limits, and slow
        codec.read_source(data)
    with contextlib.suppress(LmdbReidError):
        codec.check_limits(data)
        codec.decode(data, out)
    codec.decode_scaled(data, (16, 16))


def _csv(data: bytes) -> None:
    file = _PLACE / "boxes.csv"
    file.write_bytes(data)
    read_table(file, HEAD.split(","), option="--csv")


# -- what inputs are made of


def _manifest_seeds() -> list[bytes]:
    folder = Path(tempfile.mkdtemp())
    return [(store(folder) / "manifest.json").read_bytes()]


def _record_seeds() -> list[bytes]:
    nested = {"label": -1, "kind": 2, "raw": b"\0\xff", "tags": ["a", {"b": [1, None, 2.5]}]}
    return [
        msgpack.packb({"label": 3, "kind": 0, "quarter": "Q1", "x": 1.5, "n": 1 << 40}),
        msgpack.packb(nested),
    ]


def _header_seeds() -> list[bytes]:
    pixels = zlib.compress(b"".join(b"\0" + bytes(48) for _ in range(32)))
    return [picture(1), progressive(), progressive(30), png(16, 32, pixels)]


AREAS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "manifests": (_manifests, _manifest_seeds),
    "categories": (
        _categories,
        lambda: [b'["Q0", "Q1", "\\u00e9"]', '["a", "b", "日本"]'.encode()],
    ),
    "records": (_records, _record_seeds),
    "headers": (_headers, _header_seeds),
    "csv": (_csv, lambda: [f"{HEAD}\n{ROW}\n{ROW}\n".encode(), f'{HEAD}\n"a\nb",{ROW}'.encode()]),
}
_TOKENS = (
    *(
        b"null",
        b"-1",
        b"[]",
        b"{}",
        b'"',
        b"\\",
        b"\\ud800",
        b"1e999",
        b"NaN",
        b"[" * 600,
        b",",
        b"\n",
    ),
    *(
        b"\0",
        b"\xff",
        b"\xff\xda",
        b"\xff\xc2",
        b"\xff\xd9",
        b"\xc1",
        b"\xd4\x05",
        b"\xdf\xff\xff\xff\xff",
    ),
    *(
        b"\x80",
        b"\x7f",
        b"9" * 400,
        b"\r",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\x1b[2J",
        b"-9223372036854775809",
    ),
)


def mutated(area: str, seed: int, number: int, seeds: list[bytes]) -> bytes:
    """The input of that number."""
    drawn = random.Random(f"{area}-{seed}-{number}")
    data = bytearray(drawn.choice(seeds))
    if area == "manifests" and drawn.random() < 0.7:
        return _changed_map(drawn, bytes(data))
    for _ in range(1 + int(drawn.expovariate(0.7))):
        _change(drawn, data)
    if area == "manifests":  # as somebody would who sums it up again
        with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
            return summed_up(json.loads(data))
    return bytes(data)


def _change(drawn: random.Random, data: bytearray) -> None:
    at, other = drawn.randrange(len(data) + 1), drawn.randrange(len(data) + 1)
    low, high = min(at, other), max(at, other)
    kind = drawn.randrange(7)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << drawn.randrange(8)
    elif kind == 1 and data:
        data[at % len(data)] = drawn.randrange(256)
    elif kind == 2:
        data[at:at] = drawn.choice(_TOKENS)
    elif kind == 3:
        data[at : at + drawn.randrange(9)] = drawn.choice(_TOKENS)
    elif kind == 4:
        del data[at : at + drawn.randrange(1, 17)]
    elif kind == 5:
        data[at:at] = data[low : min(high, low + 64)] * drawn.choice((1, 2, 50))
    else:
        del data[at:]


def _changed_map(drawn: random.Random, data: bytes) -> bytes:
    """A manifest with values, names or places of some of its nodes exchanged."""
    manifest = json.loads(data)
    for _ in range(1 + int(drawn.expovariate(0.9))):
        at: Any = manifest
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = drawn.choice(keys)
            inner = at[key]
            if isinstance(inner, dict | list) and drawn.random() < 0.75:
                at = inner
                continue
            kind = drawn.randrange(4)
            if kind == 0:
                del at[key]
            elif kind == 1 and isinstance(at, dict):
                at[str(drawn.choice(("", "x", "../x", "label", "id", key)))] = at.pop(key)
            elif kind == 2 and isinstance(inner, int):
                at[key] = inner + drawn.choice((-1, 1, 1 << 31, 1 << 62, -(1 << 40)))
            else:
                odd = [*ODD.values(), "<f8", "|u1", [1, -1], "data.mdb"]
                at[key] = copy.deepcopy(drawn.choice(odd))
            break
    return summed_up(manifest)


# -- running


def tried(area: str, data: bytes) -> str | None:
    """What is wrong with what came of an input; None where nothing is."""
    began = time.monotonic()
    try:
        AREAS[area][0](data)
    except LmdbReidError as error:
        return None if str(error) else f"{type(error).__name__} without a message"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    seconds = time.monotonic() - began
    return None if seconds < SECONDS / 2 else f"{seconds:.1f} seconds"


def _keep(area: str, data: bytes, what: str) -> None:
    FOUND.mkdir(exist_ok=True)
    file = FOUND / f"{area}-{hashlib.sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    print(f"  {file.name}: {what}", flush=True)


def run_area(area: str, seed: int, count: int) -> int:
    """How many inputs were findings; in children, of which one that dies is a finding too."""
    seeds, found, number = AREAS[area][1](), 0, 0
    kinds: set[str] = set()
    while number < count:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _in_child(area, seed, number, count, seeds, write)
            os._exit(0)
        os.close(write)
        last = number
        with os.fdopen(read) as lines:
            for line in lines:
                at, _, what = line.rstrip("\n").partition(" ")
                last = int(at)
                kind = what.partition(":")[0] + what[-40:]
                if what:
                    found += 1
                if what and kind not in kinds:  # one of each
                    kinds.add(kind)
                    _keep(area, mutated(area, seed, last, seeds), what)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            break
        found += 1
        _keep(
            area,
            mutated(area, seed, last, seeds),
            f"ended with {os.waitstatus_to_exitcode(status)}",
        )
        number = last + 1
    print(f"{area}: {count:,} inputs of seed {seed}, {found:,} findings", flush=True)
    return found


def _in_child(area: str, seed: int, first: int, count: int, seeds: list[bytes], write: int) -> None:
    limit_memory()
    for number in range(first, count):
        signal.alarm(SECONDS)
        os.write(write, b"%d " % number)
        what = tried(area, mutated(area, seed, number, seeds))
        os.write(write, (what or "").replace("\n", " ").encode("ascii", "backslashreplace") + b"\n")
    signal.alarm(0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="inputs of each area")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--area", choices=AREAS, action="append")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE")
    args = parser.parse_args()
    if args.replay:
        wrong = {
            file.name: what
            for file in args.replay
            if (what := tried(file.name.partition("-")[0], file.read_bytes()))
        }
        print(json.dumps(wrong))
        return bool(wrong)
    return bool(sum(run_area(area, args.seed, args.count) for area in args.area or AREAS))


if __name__ == "__main__":
    sys.exit(main())
