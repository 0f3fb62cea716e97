"""Stores of tiny samples, and the same values kept in other ways.

It is the index that is measured, so a value is a JPEG of 8x8 pixels. Each differs from its
neighbours, in pixels and bytes, so that a wrong answer is noticed.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import sqlite3
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import seconds
from lmdb_reid import StoreWriter
from lmdb_reid.store import resident_bytes

SHADES = 251  # prime, so that no stride over the rows meets one shade alone
LABELS = 1000


def sample_id(row: int) -> str:
    """The id of a row: ten samples a frame, in key order up to 1e8 rows."""
    return f"{row // 10:07d}#{row % 10:03d}"


def image(row: int) -> bytes:
    """A JPEG of 8x8 pixels, about 170 bytes: a shade of grey, and the id in a comment."""
    comment = sample_id(row).encode()
    plain = _plain(row % SHADES)
    return plain[:2] + struct.pack(">HH", 0xFFFE, len(comment) + 2) + comment + plain[2:]


def store(folder: Path, count: int) -> Path:
    """The store of rows 0..count-1 in `folder`, built if it is not there."""
    path = folder / f"tiny-{count}.lmdb"
    if not path.exists():
        _announced(path, lambda: _build(path, count))
    return path


def sqlite(folder: Path, count: int) -> Path:
    """A table of id -> blob, ordered by id as LMDB is."""

    def make(path: Path) -> None:
        base = sqlite3.connect(path)
        base.execute("create table samples (id text primary key, image blob) without rowid")
        base.executemany(
            "insert into samples values (?, ?)", ((sample_id(r), image(r)) for r in range(count))
        )
        base.commit()
        base.close()

    return _kept(folder / f"tiny-{count}.sqlite", make)


def files(folder: Path, count: int) -> Path:
    """One file for each sample, a thousand in a folder."""

    def make(path: Path) -> None:
        for row in range(count):
            file = file_of(path, sample_id(row))
            if row % 1000 == 0:
                file.parent.mkdir(parents=True)
            file.write_bytes(image(row))

    return _kept(folder / f"tiny-{count}.files", make)


def file_of(path: Path, name: str) -> Path:
    """Where `files` keeps a sample."""
    return path / name[:5] / f"{name}.jpg"


def hdf5(folder: Path, count: int) -> Path:
    """One dataset of opaque bytes for each sample."""
    import h5py  # an optional peer

    def make(path: Path) -> None:
        with h5py.File(path, "w", libver="latest") as out:
            for row in range(count):
                out[sample_id(row)] = np.void(image(row))

    return _kept(folder / f"tiny-{count}.h5", make)


def evict(path: Path) -> float:
    """Have the system forget the files of a store; returns the share that it still holds."""
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    for file in found:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    held = sum(resident_bytes(file) or 0 for file in found)
    return held / max(1, sum(file.stat().st_size for file in found))


@functools.cache
def _plain(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8), shade).save(out, "JPEG", quality=90, optimize=True)
    return out.getvalue()


def _build(path: Path, count: int) -> None:
    with StoreWriter(path, overwrite=True) as writer:
        for row in range(count):
            writer.put(sample_id(row), image(row), {"label": row % LABELS})
        writer.seal()


def _kept(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, made under another name first, so that one cut short is never taken for whole."""
    if not path.exists():
        making = path.with_name(path.name + ".making")
        if making.is_dir():
            shutil.rmtree(making)
        else:
            making.unlink(missing_ok=True)
        _announced(path, lambda: make(making))
        making.rename(path)
    return path


def _announced(path: Path, make: Callable[[], None]) -> None:
    print(f"building {path.name}: {seconds(make):,.1f} s", file=sys.stderr, flush=True)
