"""A build killed before each of its file operations in turn, and resumed every time.

    python crash_sweep.py '{"train_meta": CSV, "img_root": DIR, "folder": DIR, ...}'

Prints one JSON object for each operation: `operation`, what the killed build was about to do;
`found`, the digest of what then lay under the store's name (None where nothing did); `resumed`, the
digest after `resume`, or the error; `opened`, how many frames the resumed build opened; `left`, the
names that are there then; `overwritten`, the digest after one more build that may overwrite.

Options beside these three: `old`, a store to be replaced; `lost`, to cut each file that is about to
be synced to half of its length, as a power failure may; `step` and `last`, to try only every
so-manieth operation, or only so many at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from builders import AtmaCup, BuildSettings, build
from lmdb_reid.errors import LmdbReidError
from lmdb_reid.store import Store, _growing

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir"}
SETTINGS = BuildSettings(size=(64, 32))
Tell = Callable[[str], None]


def on_every_operation(tell: Tell, folder: str) -> None:
    """Calls `tell` with a name before every file operation of this process under `folder`."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and isinstance(arguments[0], (str, os.PathLike)):
            path = os.fspath(arguments[0])
            if path.startswith(folder):
                tell(f"{event} {path.removeprefix(folder)}")

    sys.addaudithook(hook)


def on_every_commit(tell: Tell) -> None:
    """Calls `tell` before and after every commit of LMDB, whose calls Python does not see."""
    commit = _growing.Growing.commit

    def told(self: _growing.Growing) -> None:
        name = Path(self.env.path()).name
        tell(f"before commit of {name}")
        commit(self)
        tell(f"after commit of {name}")

    _growing.Growing.commit = told  # type: ignore[method-assign]


def on_every_sync(tell: Callable[[int], None]) -> None:
    """Calls `tell` with the descriptor before a file is synced."""
    fsync = os.fsync

    def told(descriptor: int) -> None:
        tell(descriptor)
        fsync(descriptor)

    os.fsync = told


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns in a forked process, or None if that was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            out.write(json.dumps(work()))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as into:
        text = into.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


class Sweep:
    def __init__(self, options: dict[str, Any]) -> None:
        self.folder = Path(options["folder"])
        self.out = self.folder / "swept.lmdb"
        self.old = options.get("old")
        self.lost = options.get("lost", False)
        self.source = AtmaCup(options["train_meta"], options["img_root"])
        self.img_root = options["img_root"]

    def start_over(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        if self.old:
            shutil.copytree(self.old, self.out)

    def killed(self, at: int) -> int:
        """Build, and be killed at operation `at`; how many there were, if there were fewer."""
        done = 0
        log = self.folder.parent / "operation"

        def count(name: str, descriptor: int | None = None) -> None:
            nonlocal done
            done += 1
            if done == at:
                log.write_text(name)
                if descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        if self.lost:
            on_every_sync(lambda descriptor: count("sync", descriptor))
        else:
            on_every_operation(count, str(self.folder))
            on_every_commit(count)
            on_every_sync(lambda _: count("sync"))
        build(self.source, self.out, SETTINGS, overwrite=bool(self.old), num_workers=2)
        return done

    def digest(self) -> str | None:
        if not self.out.exists():
            return None
        with Store(self.out) as store:
            findings = store.verify(deep=True)
            return store.digest if findings.ok else str(findings.problems)

    def resumed(self) -> dict[str, Any]:
        told: dict[str, Any] = {"found": self.digest()}
        opened = 0

        def count(_: str) -> None:
            nonlocal opened
            opened += 1

        on_every_operation(count, f"{self.img_root}{os.sep}")
        try:
            build(self.source, self.out, SETTINGS, resume=True, num_workers=2)
            told["resumed"] = self.digest()
        except LmdbReidError as error:
            told["resumed"] = f"{type(error).__name__}: {error}"
        told |= {"opened": opened, "left": sorted(path.name for path in self.folder.iterdir())}
        build(self.source, self.out, SETTINGS, overwrite=True, num_workers=2)
        return told | {"overwritten": self.digest()}


def main(options: dict[str, Any]) -> None:
    _growing.COMMIT_BYTES = 20_000
    _growing.COMMIT_SECONDS = 1e9  # or a slow machine would have more operations than a fast one
    sweep = Sweep(options)
    sweep.start_over()
    count = in_child(partial(sweep.killed, 0))
    first = max(1, count + 1 - options.get("last", count))
    for at in range(first, count + 1, options.get("step", 1)):
        sweep.start_over()
        if in_child(partial(sweep.killed, at)):
            continue  # threads took another turn, and this build had fewer operations
        told = in_child(sweep.resumed) or {"resumed": "died"}
        operation = (sweep.folder.parent / "operation").read_text()
        print(json.dumps({"operation": operation} | told), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
