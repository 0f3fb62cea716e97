"""A child process in which the N-th call that changes a file system ends, fails, or cuts the power.

`Calls` stands behind `_disk.watch`. LMDB's own writing does not pass `_disk`, so that each of its
commits counts as a call before it ("commit") and one after it ("committed"); so does the reading of
each frame ("read").
"""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import select
import signal
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from builders.media import _files
from lmdb_reid import _disk
from lmdb_reid.errors import LmdbReidError
from lmdb_reid.store import _growing

ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EMFILE", "ESTALE", "ENOLCK")
LASTING = ("ENOSPC", "EDQUOT")  # the disk stays full; the others come once
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
_NO_FLUSH = struct.pack("I", 2)
_LIMIT = 120.0  # seconds, for a machine that does much else


class Wrong(Exception):
    """What must never come of a fault."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: "done" (`value` is what it returned), "killed" by us, "typed" (an error of
    the project), "untyped", "signal", "hung".
    """

    how: str
    value: Any = None


def in_child(
    work: Callable[[], Any], *, before: Callable[[], None] | None = None, limit: float = _LIMIT
) -> Ended:
    """Do `work` in a forked process, whatever may become of that; it hangs after `limit` s."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            if before is not None:
                before()
            answer = Ended("done", work())
        except LmdbReidError as error:
            answer = Ended("typed", f"{type(error).__name__}: {error}")
        except Wrong as error:
            answer = Ended("wrong", str(error))
        except BaseException:
            answer = Ended("untyped", traceback.format_exc())
        with os.fdopen(writer, "wb") as out:
            pickle.dump(answer, out)
        os._exit(0)
    os.close(writer)
    return ended(child, reader, limit)


def ended(child: int, reader: int, limit: float = _LIMIT) -> Ended:
    """Wait for a child that answers through a pipe."""
    data, hung = b"", False
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while not hung:
            hung = not select.select([pipe], [], [], limit)[0]
            block = b"" if hung else pipe.read(1 << 20)
            if not block:
                break
            data += block
    if hung:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if hung:
        return Ended("hung", f"no answer in {limit:.0f} s")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Ended("killed" if number == signal.SIGKILL else "signal", number)
    answer: Ended = pickle.loads(data)
    return answer


def value_of(end: Ended) -> Any:
    """What a child returned that had to end well.

    Raises:
        Wrong: it did not.
    """
    if end.how != "done":
        raise Wrong(f"{end.how}: {end.value}")
    return end.value


class Calls:
    """Counts the calls below `folder`; at number `at` it does what `fault` names: "kill", "cut" the
    power of the file system, the name of an error, or anything callable. 0 only counts.
    """

    def __init__(self, folder: Path, fault: str | Callable[[], None] = "kill", at: int = 0) -> None:
        self.folder, self.fault, self.at = str(folder), fault, at
        self.names: list[str] = []

    def __call__(self, call: str, path: Path) -> None:
        if not (str(path).startswith(self.folder) or call == "read"):
            return
        self.names.append(call)
        number = len(self.names)
        if number == self.at or (0 < self.at < number and self.fault in LASTING):
            self.do(call, path)

    def do(self, call: str, path: Path) -> None:
        if callable(self.fault):
            self.fault()
        elif self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.fault == "cut":
            cut_power(Path(self.folder))
            os.kill(os.getpid(), signal.SIGKILL)
        elif call == "commit":
            text = os.strerror(getattr(errno, self.fault))
            raise lmdb.DiskError(f"mdb_txn_commit: {text}")
        elif call != "committed":
            code = getattr(errno, self.fault)
            raise OSError(code, os.strerror(code), str(path))

    def arm(self) -> None:
        """Count from now on, in this process."""
        arm(self)


def arm(tell: Callable[[str, Path], None]) -> None:
    """Call `tell` before every call of this process that changes something."""
    commit, opened, regular = _growing.Growing.commit, _growing.Growing.__init__, None
    regular = _files.check_regular

    def told_commit(self: _growing.Growing) -> None:
        file = Path(os.fsdecode(self.env.path()))
        try:
            tell("commit", file)
        except lmdb.Error:
            self.abort()
            raise
        commit(self)
        tell("committed" if self.env.flags()["sync"] else "written", file)

    def told_open(self: _growing.Growing, file: Path, *rest: Any, **more: Any) -> None:
        opened(self, file, *rest, **more)
        tell("committed", file)

    def told_read(path: Path) -> None:
        tell("read", path)
        regular(path)

    _growing.COMMIT_BYTES, _growing.COMMIT_SECONDS = 75_000, 1e9  # the same on every machine
    _growing.Growing.commit = told_commit  # type: ignore[method-assign]
    _growing.Growing.__init__ = told_open  # type: ignore[method-assign]
    _files.check_regular = told_read
    _disk.watch = tell


def cut_power(folder: Path) -> None:
    """Nothing that is not on the disk now ever gets there (needs root)."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.ioctl(descriptor, _SHUTDOWN, _NO_FLUSH)
