"""Hostile neighbours and names: decoded tiers, unfinished builds, links and odd paths."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _using import COUNT, SIZE, picture, store
from manifests import ESCAPE

from lmdb_reid import DecodedTier, Store, StoreWriter
from lmdb_reid.crops import Cached, StoreCrops
from lmdb_reid.errors import LmdbReidError, StoreExistsError
from lmdb_reid.store import merge

Change = Callable[[Path], object]
NOBODY = 65534


def _read(opened: Store, tier: DecodedTier | None = None) -> np.ndarray:
    crops = StoreCrops(opened)
    out = np.empty((COUNT, *SIZE, 3), np.uint8)
    (crops if tier is None else Cached(crops, tier)).read(np.arange(COUNT), out)
    return out


def _tier(change: Change, folder: Path) -> None:
    """Whatever lies in a tier, the pixels are the store's, or there is an error."""
    with Store(store(folder)) as opened:
        wanted = _read(opened)
        _read(opened, DecodedTier(opened))
        (inside,) = (folder / "store.lmdb.decoded").iterdir()
        change(inside)
        for _ in range(2):
            found = _read(opened, DecodedTier(opened))
            if not np.array_equal(found, wanted):
                raise AssertionError("other pixels were served")


def _with(name: str, make: Change) -> Change:
    def change(inside: Path) -> None:
        (inside / name).unlink()
        make(inside / name)

    return change


def _given_away(inside: Path, *names: str) -> None:
    if os.geteuid() == 0:
        for name in names:
            os.chown(inside / name, NOBODY, NOBODY)


def _meta(**said: object) -> Change:
    def change(inside: Path) -> None:
        old = json.loads((inside / "meta.json").read_text())
        (inside / "meta.json").write_text(json.dumps(old | said))

    return change


def _swapped_rows(inside: Path) -> None:
    nbytes = SIZE[0] * SIZE[1] * 3
    data = (inside / "pixels.bin").read_bytes()
    (inside / "pixels.bin").write_bytes(
        data[nbytes : 2 * nbytes] + data[:nbytes] + data[2 * nbytes :]
    )


TIERS: dict[str, Change] = {
    "pixels of zeros": lambda at: (at / "pixels.bin").write_bytes(bytes(COUNT * 32 * 16 * 3)),
    "pixels of noise": lambda at: (at / "pixels.bin").write_bytes(os.urandom(COUNT * 32 * 16 * 3)),
    "two rows exchanged": _swapped_rows,
    "pixels cut": lambda at: os.truncate(at / "pixels.bin", 5000),
    "marks cut": lambda at: os.truncate(at / "done.bin", 5),
    "marks of ones": lambda at: (at / "done.bin").write_bytes(b"\1" * 4 * COUNT),
    "marks of an older version": lambda at: (at / "done.bin").write_bytes(b"\1" * COUNT),
    "pixels a pipe": _with("pixels.bin", os.mkfifo),
    "pixels a folder": _with("pixels.bin", os.mkdir),
    "pixels a link to /dev/zero": _with("pixels.bin", lambda at: at.symlink_to("/dev/zero")),
    "marks a link to /dev/zero": _with("done.bin", lambda at: at.symlink_to("/dev/zero")),
    "meta a pipe": _with("meta.json", os.mkfifo),
    "meta of 1 GB": lambda at: os.truncate(at / "meta.json", 1 << 30),
    "meta nested": lambda at: (at / "meta.json").write_text("[" * 4000),
    "meta a list": lambda at: (at / "meta.json").write_text("[1]"),
    "another store's name": _meta(source="0" * 64),
    "a version to come": _meta(version=99),
    "somebody else's folder": lambda at: _given_away(at, "."),
    "somebody else's pixels": lambda at: _given_away(at, "pixels.bin"),
    "somebody else's marks": lambda at: _given_away(at, "done.bin"),
    "a folder for all to write": lambda at: at.chmod(0o777),
    "pixels for a group to write": lambda at: (at / "pixels.bin").chmod(0o664),
    "the place for all to rename": lambda at: at.parent.chmod(0o777),
    "the folder a link": lambda at: (
        shutil.move(at, at.parent.parent / "elsewhere"),
        at.symlink_to(at.parent.parent / "elsewhere"),
    ),
}


def _odd_name(name: str, folder: Path) -> None:
    with StoreWriter(folder / name) as writer:
        writer.put("a", picture(), {})
        writer.seal()
    assert Store(folder / name).verify(deep=True).ok


def _odd_id(sample_id: str, folder: Path) -> None:
    with StoreWriter(folder / "a.lmdb") as writer:
        writer.put(sample_id, picture(), {})
        writer.seal()


def _odd_part(folder: Path) -> None:
    path = store(folder)
    shutil.copytree(path, folder / "b.lmdb")
    merge([path, folder / "b.lmdb"], folder / "c.lmdb", names=["a", ESCAPE])


def _overwrite(make: Change, folder: Path) -> None:
    """What is no store is not replaced, whatever it is."""
    target = folder / "a.lmdb"
    make(target)
    before = sorted(path.name for path in folder.rglob("*"))
    try:
        StoreWriter(target, overwrite=True).close()
    except (StoreExistsError, LmdbReidError):
        assert sorted(path.name for path in folder.rglob("*")) == before
        return
    raise AssertionError("it would be replaced")


def _manifest_is(make: Change) -> Change:
    def change(target: Path) -> None:
        target.mkdir()
        make(target / "manifest.json")

    return change


TARGETS: dict[str, Change] = {
    "a file": lambda at: at.write_bytes(b"mine"),
    "a folder of mine": lambda at: (at.mkdir(), (at / "thesis.txt").write_text("mine")),
    "a folder whose manifest is a pipe": _manifest_is(os.mkfifo),
    "a folder whose manifest is /dev/zero": _manifest_is(lambda at: at.symlink_to("/dev/zero")),
    "a folder whose manifest is nested": _manifest_is(lambda at: at.write_text("[" * 100_000)),
    "a folder with somebody else's manifest": _manifest_is(lambda at: at.write_text("{}")),
}


def _resumed(make: Change, name: str, folder: Path) -> None:
    path = folder / "a.lmdb"
    with StoreWriter(path) as writer:
        writer.put_group("f", [("a", picture(), {})])
        writer.commit()
        writer.close()
    file = folder / "a.lmdb.partial" / name
    file.unlink()
    make(file)
    with StoreWriter(path, resume=True) as writer:
        if "f" not in writer.marks():
            writer.put_group("f", [("a", picture(), {})])
        writer.seal()
    assert Store(path).verify(deep=True).ok


LEFT: dict[str, Change] = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to /dev/zero": lambda file: file.symlink_to("/dev/zero"),
    "zeros": lambda file: file.write_bytes(bytes(1 << 16)),
    "a terabyte of nothing": lambda file: (file.touch(), os.truncate(file, 1 << 40)),
}

ATTACKS: dict[str, Change] = {
    **{f"a tier: {name}": functools.partial(_tier, change) for name, change in TIERS.items()},
    **{
        f"a store named {name!r}": functools.partial(_odd_name, name)
        for name in ("-rf", "a b", "é\u202e", "x" * 240, "%s%n", ESCAPE, "a.partial", "..", "*")
    },
    **{
        f"an id {name!r}": functools.partial(_odd_id, name)
        for name in (ESCAPE, "a\0b", "\ud800", "", "x" * 512, "\n", "\x7f", "\x9b", "../../etc")
    },
    "a part's name of escapes": _odd_part,
    **{
        f"in the way: {name}": functools.partial(_overwrite, make) for name, make in TARGETS.items()
    },
    **{
        f"left of a build, {file}: {name}": functools.partial(_resumed, make, file)
        for file in ("data.mdb", "work/journal.mdb", "work/settings.json")
        for name, make in LEFT.items()
    },
}
