"""Failures to read a store that say nothing of the store: the next try may succeed."""

from __future__ import annotations

import errno
from pathlib import Path

import lmdb

from lmdb_reid.errors import ResourceError

# What LMDB says of the machine; its plain Error is the system's own. All else it found in the file.
_OF_THE_MACHINE = (
    lmdb.MemoryError,
    lmdb.DiskError,
    lmdb.LockError,
    lmdb.ReadersFullError,
    lmdb.TlsFullError,
    lmdb.ReadonlyError,  # no right to read it
)
# What the system says of a name, and of nothing else.
_OF_THE_NAME = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
_CURES = {
    "Cannot allocate memory": "It is mapped whole: allow the process more address space"
    " (`ulimit -v unlimited`)",
    "No such device": "Its file system has no shared maps: copy the store to a local disk",
    "Too many open files": "Allow more with `ulimit -n 4096`, or use fewer workers",
    "Permission denied": "Ask its owner for the right to read it",
}


def passing(file: Path, error: Exception) -> ResourceError | None:
    """The error for a file that cannot be read now; None where `error` speaks of the file itself:
    what it holds, or that it is not there.
    """
    if isinstance(error, lmdb.Error):
        if type(error) is not lmdb.Error and not isinstance(error, _OF_THE_MACHINE):
            return None
    elif getattr(error, "errno", None) in _OF_THE_NAME:
        return None
    try:
        if file.stat().st_size == 0:  # which LMDB answers with whatever the map of it gave
            return None
    except OSError as now:
        if now.errno in _OF_THE_NAME:
            return None
    reason = getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
    reason = reason or type(error).__name__
    return ResourceError(
        f"{file} cannot be opened now ({reason}); this says nothing of the store, which may be"
        f" whole. {_CURES.get(reason, 'Try again, or from a copy on a local disk')}",
        path=file,
    )
