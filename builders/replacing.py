"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from lmdb_reid.errors import StoreWriteError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A utf-8 file to write, which takes the name `path` when the block ends well.

    Until then, and where the block fails, whatever had that name stays as it was. Folders above it
    are made; lines end as they are written.

    Raises:
        StoreWriteError: the disk or its permissions stand in the way.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("w", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            with suppress(OSError):  # after the rename there is none, nor where none could be made
                draft.unlink()
    except OSError as error:
        raise StoreWriteError(f"{path} cannot be written: {error.strerror or error}") from None
