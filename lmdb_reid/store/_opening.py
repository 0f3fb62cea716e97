"""Opening a store: its manifest read, its files compared with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lmdb_reid.errors import StoreChangedError, StoreDamagedError, StoreError
from lmdb_reid.store import _places
from lmdb_reid.store._column_files import ColumnFiles
from lmdb_reid.store._manifest import Manifest
from lmdb_reid.store._parts import Parts
from lmdb_reid.store._verify import structure_problems

_Place = tuple[int, int, int] | None
_LOOKS = 10  # at a store that others take the place of, before it is called damaged


class Opened(NamedTuple):
    """What a store is read by."""

    manifest: Manifest
    files: ColumnFiles
    parts: Parts


def opened(path: Path, *, structure: bool) -> Opened:
    """Read the manifest at `path` and compare files with it; with `structure`, walk LMDB's pages.

    Raises:
        StoreError: see `Store`.
    """
    looks = 0
    while True:
        place = _place(path)
        manifest = _places.settled_manifest(path)
        # Not a method of the store: one that referred to itself would stay open until Python next
        # looks for cycles.
        replaced: Callable[[], bool] = functools.partial(is_replaced, path, manifest, place)
        files = ColumnFiles(path, manifest.columns, replaced)
        parts = Parts(path, manifest.parts, replaced)
        looks += 1
        try:
            files.check_sizes()
            _check_parts(parts, structure=structure)
        except (StoreDamagedError, StoreChangedError):
            # A build that takes the place of this store may have done so between two looks.
            if looks == _LOOKS or not replaced():
                raise
        else:
            return Opened(manifest, files, parts)


def is_replaced(path: Path, manifest: Manifest, place: _Place) -> bool:
    """Whether another store has taken the name since the manifest was read, also if the first has
    it again.
    """
    try:
        return _place(path) != place or _places.settled_manifest(path) != manifest
    except StoreError:
        return True


def _place(path: Path) -> _Place:
    """What is another one after a rename of the directory; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _check_parts(parts: Parts, *, structure: bool) -> None:
    for part in parts if structure else ():
        part.check_file()
        if problems := structure_problems(part.file):
            raise StoreDamagedError(
                f"{part.file} is damaged: {problems[0]} ({len(problems)} problems)", path=part.file
            )
    if structure or len(parts) == 1:  # of many, each is checked when it is first read
        for part in parts:
            part.check()
