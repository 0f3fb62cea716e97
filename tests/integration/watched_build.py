"""`lmdb-reid` as a process that counts the files it opens, and may stop itself at one of them.

    python watched_build.py '{"folder": DIR, "log": FILE, ...}' build --format atmacup ...

Options beside these two: commit_bytes, how much is put between two commits; stop_at and signal, to
send that signal to itself before the file of that number under `folder` is opened.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from lmdb_reid.cli.main import main
from lmdb_reid.store import _growing


def watch(folder: str, stop_at: int | None, signal: int) -> Counter[str]:
    """How often each file under `folder` is opened from now on, by name."""
    opened: Counter[str] = Counter()
    lock = threading.Lock()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], (str, os.PathLike)):
            return
        path = Path(arguments[0])
        if not path.is_relative_to(folder):
            return
        with lock:
            opened[path.name] += 1
            number = opened.total()
        if number == stop_at:
            os.kill(os.getpid(), signal)

    sys.addaudithook(hook)
    return opened


def run(options: dict[str, Any], words: list[str]) -> int:
    _growing.COMMIT_BYTES = options.get("commit_bytes", _growing.COMMIT_BYTES)
    opened = watch(options["folder"], options.get("stop_at"), options.get("signal", 0))
    try:
        return main(words)
    finally:
        Path(options["log"]).write_text(json.dumps(opened), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1]), sys.argv[2:]))
