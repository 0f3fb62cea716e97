"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Started in the background by a shell, a process ignores Ctrl-C, and so would the commands that
# tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photographs outside the repository; tests that use it carry the mark `data`."""
    given = os.environ.get("LMDB_REID_SHARED_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder}: LMDB_REID_SHARED_DATA can name another folder")
    return folder
