"""The course that all run: one folder with the same JPEG bytes as files and as a store, and the
pixels that they should become.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Size

SMALL = 1_000  # crops of a small run
_PIXEL_FILES = 5  # three references, the decoded tier, FFCV's raw pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What was laid out; see `Job` for the files in `work`."""

    work: Path
    store: Path
    count: int
    size: Size
    nbytes: int
    """Of all JPEGs."""


def read_crops(folder: Path) -> list[bytes]:
    """The JPEG files below a folder, in the order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise UsageError(f"no .jpg or .jpeg files below {folder}")
    return [path.read_bytes() for path in paths]


def read_store(path: Path) -> list[bytes]:
    """The JPEGs of a store, in the order of its rows."""
    with Store(path) as store:
        return [store.at(row).jpeg for row in range(len(store))]


def spread_out(jpegs: list[bytes], count: int) -> list[bytes]:
    """At most `count` of them, evenly spaced."""
    if len(jpegs) <= count:
        return jpegs
    return [jpegs[row] for row in np.linspace(0, len(jpegs) - 1, count).astype(int)]


def lay_out(jpegs: list[bytes], work: Path, store: Path | None = None) -> Course:
    """Write the files, the references and, unless `store` holds just these JPEGs, a store.

    Raises:
        UsageError: the crops differ in size, or there is no room.
    """
    sizes = {codec.header(jpeg)[:2] for jpeg in jpegs}
    if len(sizes) != 1:
        raise UsageError(
            f"the crops have {len(sizes)} sizes; peers batch one: lmdb-reid build --size 256x128"
        )
    size = sizes.pop()
    nbytes = sum(map(len, jpegs))
    needed = _PIXEL_FILES * len(jpegs) * size[0] * size[1] * 3 + 10 * nbytes
    if shutil.disk_usage(work).free < needed:
        raise UsageError(f"{work} needs {needed / 1e9:.1f} GB free: give another folder by --work")
    (work / "jpegs").mkdir()
    for row, jpeg in enumerate(jpegs):
        (work / "jpegs" / f"{row:08d}.jpg").write_bytes(jpeg)
    for name, decode in _DECODINGS.items():
        shape = (len(jpegs), *size, 3)
        pixels = np.lib.format.open_memmap(work / f"{name}.npy", "w+", np.uint8, shape)
        for jpeg, out in zip(jpegs, pixels, strict=True):
            decode(jpeg, out)
    if store is None:
        store = work / "store.lmdb"
        with StoreWriter(store) as writer:
            writer.put_group("", ((f"{row:08d}", jpeg, {}) for row, jpeg in enumerate(jpegs)))
            writer.seal()
    return Course(work=work, store=store.absolute(), count=len(jpegs), size=size, nbytes=nbytes)


def _dct_only(jpeg: bytes, out: Any) -> None:
    simplejpeg.decode_jpeg(jpeg, "RGB", fastdct=True, buffer=out)


_DECODINGS: dict[str, Callable[[bytes, Any], object]] = {
    "accurate": codec.decode,
    "dct": _dct_only,
    "fast": lambda jpeg, out: codec.decode(jpeg, out, fast_dct=True),
}
