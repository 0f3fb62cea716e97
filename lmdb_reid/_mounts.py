"""Whether a folder is a mount point, asked of the kernel. Nothing is changed here: see `_disk`."""

from __future__ import annotations

import os
from pathlib import Path

_CLOSE = getattr(os, "O_CLOEXEC", 0)


def is_mount(path: Path) -> bool:
    """Whether a folder is where another file system, or a part of one, was mounted: it cannot be
    renamed, nor anything be renamed to it.
    """
    if not path.is_dir() or path.is_symlink():
        return False
    ids = [_mount_id(path), _mount_id(path.absolute().parent)]
    return path.is_mount() if None in ids else ids[0] != ids[1]


def _mount_id(path: Path) -> str | None:
    """The kernel's number of the mount that a folder is of; None where it does not say."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _CLOSE)
    except OSError:
        return None
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return next((line for line in lines if line.startswith("mnt_id:")), None)
