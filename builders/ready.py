"""The store of a source: built once, and used from then on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from builders.job import Job, job_of
from builders.pipeline import build_job
from builders.report import accept_skipped
from builders.settings import BuildSettings
from builders.sources import Source
from lmdb_reid import _disk
from lmdb_reid.errors import (
    ResumeError,
    StoreDamagedError,
    StoreNotFoundError,
    StoreWriteError,
)
from lmdb_reid.progress import shown
from lmdb_reid.store import Store

_log = logging.getLogger(__name__)


def ready_store(source: Source, settings: BuildSettings, folder: str | os.PathLike[str]) -> Path:
    """The path of a store of `source`; built now if there is none, or not of its inputs as they
    are.

    The source is read once. Any number of processes may call it at the same time: one builds, the
    others wait for it. A build that was stopped is resumed. Frames that were exchanged under
    unchanged names are not noticed: delete the store then.

    Args:
        source: frames and their boxes.
        settings: what to cut.
        folder: where the store is, beside those of other sources and settings.

    Raises:
        SourceError: the source cannot be used.
        StoreWriteError: the folder cannot be written.
        StoreVersionError: the store there is of a format that only another release reads.
        ResourceError: the store there cannot be opened now. It is left as it is, in both cases.
    """
    job = job_of(source, settings)
    path = store_path(job, folder)
    if _unfit(path, job) is None:
        return path
    with _lock(path):
        reason = _unfit(path, job)
        if reason is not None:
            _log.info("building %s, once: %s", path, reason)
            _build(job, path)
    return path


def store_path(job: Job, folder: str | os.PathLike[str]) -> Path:
    """Where the store of a job belongs. Its name tells settings and sources apart, these by the
    first of the listing's places, but not what changes in a source: then the store is replaced.
    """
    settings = {name: value for name, value in job.fingerprint.items() if name != "inputs"}
    place = next(iter(job.listing.places.values()), "")  # seen from the folder: both may be moved
    what = json.dumps([settings, os.path.relpath(place or folder, folder)], sort_keys=True)
    digest = hashlib.sha256(what.encode("utf-8", "backslashreplace")).hexdigest()
    size = "x".join(map(str, job.settings.size)) if job.settings.size else "native"
    return Path(folder).absolute() / f"{job.format}_{size}_{digest[:8]}.lmdb"


def _unfit(path: Path, job: Job) -> str | None:
    """Why the store at `path` cannot be used; None where it can."""
    try:
        with Store(path) as store:
            build: Mapping[str, Any] = store.manifest.build
            places: Mapping[str, Any] = store.manifest.source
    except StoreNotFoundError:
        return "it is missing"
    except StoreDamagedError as error:
        return str(error)  # whatever else is wrong may pass, and the store be good
    wanted = json.loads(json.dumps(job.fingerprint))  # as the manifest's were
    differing = [name for name in sorted({*build, *wanted}) if build.get(name) != wanted.get(name)]
    if differing:
        return f"the one there was built from other {', '.join(differing)}"
    moved = [name for name, place in job.listing.places.items() if places.get(name) != place]
    return f"the one there has another {moved[0]}" if moved else None


def _build(job: Job, path: Path) -> None:
    with shown("building the store", "frames", things="crops") as progress:
        try:
            report = build_job(job, path, resume=True, overwrite=True, progress=progress)
        except ResumeError:  # what was stopped there had other settings
            report = build_job(job, path, overwrite=True, progress=progress)
    _log.info("\n".join(report.lines()))
    accept_skipped(report.skipped, report.rows)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock beside a store, waited for; it goes with the process."""
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as held:
        try:
            _disk.make_folder(path.parent)
            _disk.make_empty(lock)
            held.enter_context(_disk.lock(lock, wait=True))
        except OSError as error:
            raise StoreWriteError(
                (
                    f"{path.parent} cannot be written ({error.strerror}), where the store"
                    " would be built. Choose another folder (cache_dir), or pass an existing"
                    " store (store)"
                ),
                path=path.parent,
            ) from None
        yield
