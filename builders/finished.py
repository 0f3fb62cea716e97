"""A store that an earlier build finished: whether it is what another build would give."""

from __future__ import annotations

import json
import os
from pathlib import Path

from builders.job import Job
from lmdb_reid.errors import ResumeError
from lmdb_reid.store import read_manifest, settle


def is_sealed(out: str | os.PathLike[str]) -> bool:
    """Whether a store is at `out`, and no unfinished build that may replace it.

    What a build left that was killed after it had replaced an older store is removed first.

    Raises:
        StoreBusyError: another process is replacing a store there.
    """
    settle(Path(out))
    return Path(out, "manifest.json").is_file() and not Path(f"{os.fspath(out)}.partial").exists()


def check_finished(job: Job, out: str | os.PathLike[str]) -> None:
    """Refuse to take a finished store for the result of this job if it is another's.

    Raises:
        ResumeError: it has other settings, inputs or frames.
    """
    manifest = read_manifest(Path(out))
    wanted = json.loads(json.dumps(job.fingerprint))  # as the manifest's were
    found = {**manifest.build}
    differing = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if not differing and manifest.source.get("frames") != job.stamps():
        differing = ["frames"]
    if differing:
        raise ResumeError(
            f"cannot resume: {os.fspath(out)} is complete, but was built from other"
            f" {', '.join(differing)}. Use --overwrite to replace it, or choose another --out.",
            path=out,
        )
