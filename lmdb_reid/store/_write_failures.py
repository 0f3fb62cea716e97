"""Failures to write a store, with what failed and what to do."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import lmdb

from lmdb_reid.errors import LmdbReidError, StoreWriteError
from lmdb_reid.store import _format, _growing


@contextlib.contextmanager
def writing(path: Path, *, advice: str | None = None) -> Iterator[None]:
    """Name what failed, and what to do, in errors of the disk and of LMDB.

    Args:
        path: the store that is written.
        advice: what to do where the disk is full, unless a build is to be resumed.
    """
    advice = advice or (
        f"What is done so far stays in {_format.partial_of(path)}: free some space, then build"
        " again with --resume"
    )
    try:
        yield
    except lmdb.Error as error:
        why = str(error)
        if "Input/output error" in why and (free := _free_bytes(path)) < _growing.COMMIT_BYTES:
            why = f"No space left on its disk ({free:,} bytes are free)"  # LMDB's short write
        raise StoreWriteError(f"writing {path} failed: {why}. {advice}", path=path) from error
    except LmdbReidError:
        raise
    except OSError as error:
        message = f"writing {path} failed: {error.strerror or error} ({error.filename or path})"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise StoreWriteError(f"{message}. {advice}" if full else message, path=path) from error


def _free_bytes(path: Path) -> int:
    there = next(folder for folder in path.parents if folder.exists())
    return shutil.disk_usage(there).free
