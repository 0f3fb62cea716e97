"""A small store to attack, and all that a reader may do with one."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import pickle
import shutil
import tempfile
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid._visible import visible
from lmdb_reid.cli import get, info, verify
from lmdb_reid.crops import StoreCrops
from lmdb_reid.errors import LmdbReidError
from lmdb_reid.store import _format, _prepared

COUNT, SIZE = 12, (32, 16)
Edit = Callable[[dict[str, Any]], object]


@functools.cache
def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> bytes:
    blocks = (-(-size[0] // 4), -(-size[1] // 4), 3)
    colours = np.random.default_rng(seed).integers(0, 256, blocks, np.uint8)
    return codec.encode(
        np.ascontiguousarray(colours.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]])
    )


@functools.cache
def _base() -> Path:
    path = Path(tempfile.mkdtemp()) / "base.lmdb"
    with StoreWriter(path, source={"root": "games"}) as writer:
        for row in range(COUNT):
            record = {"label": row % 3, "quarter": f"Q{row % 2}", "x": row / 2, "n": row}
            writer.put(f"f{row // 4:03d}#{row % 4:03d}", picture(row), record)
        return writer.seal()


def store(folder: Path) -> Path:
    """A copy of the store, to be attacked."""
    return Path(shutil.copytree(_base(), folder / "store.lmdb"))


def summed_up(manifest: dict[str, Any]) -> bytes:
    """A manifest as somebody would write it who knows the format."""
    manifest.pop("crc32", None)
    text = json.dumps(manifest, sort_keys=True, ensure_ascii=False)
    crc = zlib.crc32(text.encode("utf-8", "backslashreplace"))
    return json.dumps(manifest | {"crc32": crc}).encode()


def edited(path: Path, edit: Edit) -> Path:
    """The store with another manifest, whose checksum is right."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    edit(manifest)
    (path / "manifest.json").write_bytes(summed_up(manifest))
    return path


def column(path: Path, name: str, data: bytes) -> Path:
    """The store with another column, length and checksum made to fit."""
    (path / "columns" / f"{name}.bin").write_bytes(data)

    def fit(manifest: dict[str, Any]) -> None:
        spec = manifest["columns"][name]
        spec["length"] = len(data) // np.dtype(spec["dtype"]).itemsize
        spec["crc32"] = zlib.crc32(data)

    return edited(path, fit)


def values(path: Path, name: str) -> Any:
    return Store(path).columns[name].copy()


def categories(path: Path, data: bytes, length: int | None = None) -> Path:
    """The store with another file of strings for `quarter`."""
    (path / "columns" / "quarter.json").write_bytes(data)

    def fit(manifest: dict[str, Any]) -> None:
        codes = manifest["columns"]["quarter"]["categories"]
        codes["size"], codes["crc32"] = len(data), zlib.crc32(data)
        codes["length"] = codes["length"] if length is None else length

    return edited(path, fit)


def sealed_with(folder: Path, *, record: bytes | None = None, image: bytes | None = None) -> Path:
    """A store that was sealed with a record, or an image, that no writer of ours takes."""
    path = folder / "sealed.lmdb"
    head = codec.SourceInfo(*SIZE, "JPEG", 1, True)
    kept = _format.pack_record, _format.unpack_record, _prepared.probe
    try:
        _prepared.probe = lambda _: head
        if record is not None:
            _format.pack_record = lambda *_: record
            _format.unpack_record = lambda *_: {"label": 1, "kind": 0}
        with StoreWriter(path) as writer:
            writer.put("a", picture() if image is None else image, {"label": 1})
            writer.seal()
    finally:
        _format.pack_record, _format.unpack_record, _prepared.probe = kept
    return path


class Unsafe(Exception):
    """A terminal was sent what it would obey."""


def check_printed(text: str) -> None:
    """Refuse text with control, format or lone surrogate characters, line ends excepted."""
    bad = [
        each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs") and each != "\n"
    ]
    if bad:
        raise Unsafe(f"{bad[0]!r} in {text[:200]!r}")


def use(path: Path, *, check: Any = "pins") -> None:
    """All that a reader may do with a store; errors of ours are right, and the next is tried."""
    acts = (_look, _read, _load, _ask, _verify) if check == "pins" else (_look, _read, _load)
    try:
        with Store(path, check=check) as opened:
            for act in acts:
                with contextlib.suppress(LmdbReidError):
                    act(opened)
    except LmdbReidError as error:
        check_printed(visible(str(error)))
        return
    _command(info, [str(path)])
    _command(info, [str(path), "--json"])
    if check == "structure":
        _command(verify, [str(path), "--deep"])
        _command(get, [str(path), "a"])
        with contextlib.suppress(LmdbReidError):
            _command(get, [str(path), Store(path).ids[0]])


def _look(opened: Store) -> None:
    repr(opened)
    opened._repr_html_()
    pickle.loads(pickle.dumps(opened))
    for name in opened.columns:
        with contextlib.suppress(LmdbReidError):
            opened.columns[name].sum()
            opened.columns.categories(name)
    for row in range(-1, min(len(opened), COUNT) + 1):
        with contextlib.suppress(LmdbReidError):
            opened.row(opened.ids[row])


def _read(opened: Store) -> None:
    for row in range(min(len(opened), COUNT)):
        for act in (opened.at, opened.record, lambda row: opened[opened.ids[row]]):
            with contextlib.suppress(LmdbReidError):
                act(row)
        with contextlib.suppress(LmdbReidError):
            sample = opened.at(row)
            sample._repr_html_()
            assert sample.image.dtype == np.uint8
        with contextlib.suppress(LmdbReidError), opened.view() as view:
            assert bytes(view[opened.ids[row]])


def _load(opened: Store) -> None:
    for size in (None, (16, 16)):
        crops = StoreCrops(opened, size=size)
        if np.prod(crops.size) > 1 << 20:
            return
        for row in range(min(len(crops), COUNT)):
            with contextlib.suppress(LmdbReidError):
                crops.read(np.array([row]), np.empty((1, *crops.size, 3), np.uint8), [])


def _ask(opened: Store) -> None:
    opened.query("label >= 0 and kind == 0")
    with contextlib.suppress(LmdbReidError):
        opened.to_pandas()


def _verify(opened: Store) -> None:
    opened.verify()
    opened.verify(deep=True)


def _command(module: Any, words: list[str]) -> None:
    """A command's output, as a terminal would get it."""
    import argparse

    parser = argparse.ArgumentParser()
    module.configure(parser)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(LmdbReidError):
        module.run(parser.parse_args(words))
    check_printed(out.getvalue())
