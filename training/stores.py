"""The store of a csv and its frames: built once beside the data, and used from then on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from builders import AtmaCup, BuildSettings, LeftOut, build
from builders.samples import FRAME_FIELDS
from builders.skipping import check_skipped
from lmdb_reid import _disk
from lmdb_reid.errors import ResumeError, StoreError, StoreNotFoundError, StoreWriteError
from lmdb_reid.progress import shown
from lmdb_reid.schema import Rows
from lmdb_reid.store import Store

_log = logging.getLogger(__name__)


def store_path(source: AtmaCup, settings: BuildSettings, folder: str | os.PathLike[str]) -> Path:
    """Where the store of a source and settings belongs. Its name tells the settings and, in another
    folder than the csv's, also csvs of one name apart.
    """
    csv, where = source.train_meta.absolute(), Path(folder).absolute()
    own = "" if where == csv.parent else f"-{hashlib.sha256(bytes(csv)).hexdigest()[:8]}"
    size = "x".join(map(str, settings.size)) if settings.size else "native"
    limit = "" if source.bbox_mode == "keep" else f"{source.area_multiplier:g}"
    return where / (
        f"{csv.stem}{own}_{size}_{source.bbox_mode}{limit}_grown{settings.expand:g}.lmdb"
    )


def ready_store(source: AtmaCup, settings: BuildSettings, folder: str | os.PathLike[str]) -> Path:
    """The path of a store of `source`; built now if there is none, or not of this csv as it is, of
    these settings and these frames.

    Any number of processes may call it at the same time: one builds, the others wait for it. A
    build that was stopped is gone on with. Frames that were exchanged under unchanged names are
    not noticed: delete the store then.

    Raises:
        SourceError: the csv or the folder of frames cannot be used.
        StoreWriteError: the folder cannot be written.
    """
    path = store_path(source, settings, folder)
    wanted = _wanted(source, settings)
    if _unfit(path, wanted) is None:
        return path
    with _alone(path):
        reason = _unfit(path, wanted)
        if reason is not None:
            _log.info("building %s, once: %s", path, reason)
            _build(source, settings, path)
    return path


def _wanted(source: AtmaCup, settings: BuildSettings) -> dict[str, Any]:
    """What the manifest of a store of `source` says of the build and of the places."""
    listing = source.read()
    made = settings.as_json() | dict(listing.settings) | {"inputs": dict(listing.inputs)}
    # Through JSON, as the manifest's were.
    return json.loads(  # type: ignore[no-any-return]
        json.dumps({"build": made, "img_root": listing.places["img_root"]})
    )


def _unfit(path: Path, wanted: dict[str, Any]) -> str | None:
    """Why the store at `path` cannot be used; None where it can."""
    try:
        with Store(path) as store:
            manifest = store.manifest
    except StoreNotFoundError:
        return "there is none"
    except StoreError as error:
        return str(error)
    made = manifest["build"]
    differing = [
        name
        for name in sorted({*made, *wanted["build"]})
        if made.get(name) != wanted["build"].get(name)
    ]
    if differing:
        return f"the one there was built from other {', '.join(differing)}"
    if manifest["source"].get("img_root") != wanted["img_root"]:
        return f"the one there was built from {manifest['source'].get('img_root')}"
    return None


def _build(source: AtmaCup, settings: BuildSettings, path: Path) -> None:
    with shown("building the store", "frames", things="crops") as progress:
        try:
            report = build(source, path, settings, resume=True, overwrite=True, progress=progress)
        except ResumeError:  # what was stopped there had other settings
            report = build(source, path, settings, overwrite=True, progress=progress)
    _log.info("\n".join(report.lines()))
    accept_skipped(report.skipped, report.rows)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock beside a store, waited for; it goes with the process."""
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as held:
        try:
            _disk.make_folder(path.parent)
            _disk.make_empty(lock)
            held.enter_context(_disk.lock(lock, wait=True))
        except OSError as error:
            raise StoreWriteError(
                f"{path.parent} cannot be written ({error.strerror}), where the store would be"
                " built: name another folder (cache_dir), or give a store that is built already"
                " (store)",
                path=path.parent,
            ) from None
        yield


def source_order(store: Store) -> Rows:
    """All rows of a store in the order of a csv that is sorted by quarter, angle, session, frame.

    Key order is another where frame numbers differ in length: "…__100" stands before "…__99".
    """
    names = [name for name in FRAME_FIELDS if name in store.columns]
    keys = [store.columns[name] for name in reversed(names)]
    return np.lexsort([np.arange(len(store)), *keys]).astype(np.int64)


def accept_skipped(skipped: Sequence[LeftOut], rows: int) -> None:
    """Go on without rows that cannot be used, where they are few; never without a word."""
    check_skipped(skipped, rows)
    if skipped:
        warnings.warn(
            f"{len(skipped):,} of {rows:,} rows cannot be used and are left out; the first, line"
            f" {skipped[0].line}: {skipped[0].reason}",
            stacklevel=4,
        )
