"""The one door to the disk: every call that changes a file system passes here.

Stores, decoded tiers, csv files and the locks beside them are written by these functions alone
(LMDB's own files excepted, which LMDB writes). So what survives a power cut is decided in one
place, and a test can count, fail or cut the calls by their number: see `watch`.

All functions raise OSError as the system gives it, except where they say otherwise.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from lmdb_reid.errors import WriteError

try:
    import fcntl
except ImportError:  # Windows: two writers at a time are not kept apart there
    fcntl = None  # type: ignore[assignment]

watch: Callable[[str, Path], None] | None = None
"""Called before each call that changes something, with its name ("open", "write", "fsync",
"rename", "exchange", "mkdir", "rmdir", "unlink", "fallocate", "truncate", "flock") and its path.
None outside of tests; what it raises is raised in place of the call.
"""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CLOSE = getattr(os, "O_CLOEXEC", 0)
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def write_whole(
    path: Path,
    data: bytes | memoryview,
    *,
    draft: Path | None = None,
    sync_folder: bool = True,
    mode: int = 0o666,
) -> None:
    """Write a file that is there whole, or not at all, also after a power cut.

    Args:
        path: the file; what had this name before keeps it until the new one is whole.
        data: all of it.
        draft: the name it has until then, on the same file system (default: beside `path`).
        sync_folder: bring the name to the disk, too. False where the caller calls `sync` on the
            folder after many files.
        mode: who may do what, less what the process's umask takes away.
    """
    with _whole(path, draft, mode) as file:
        file.write(data)
    if sync_folder:
        sync(path.parent)


def write(path: Path, data: bytes | memoryview) -> None:
    """Write a file that a power cut may lose: one of many pictures that can be drawn again."""
    with _file(path) as file:
        file.write(data)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[io.BufferedWriter]:
    """A file to write, which takes the name `path` when the block ends well.

    Until then, and where the block fails, whatever had that name stays as it was. Folders above it
    are made.

    Raises:
        WriteError: the disk or its permissions stand in the way, or `path` is no regular file.
    """
    path = Path(path)
    with write_errors(path):
        if path.exists() and not path.is_file():  # a rename would put a file in a device's place
            raise WriteError(
                f"{path} cannot be written: it is not a regular file. Choose another name",
                path=path,
            )
        make_folder(path.parent)
        with _whole(path) as file:
            yield file
        sync(path.parent)


@contextlib.contextmanager
def write_errors(path: Path, advice: str = "") -> Iterator[None]:
    """What the system says while `path` is written, as a WriteError that ends in `advice`."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {error.strerror or error}{advice}", path=path
        ) from None


@contextlib.contextmanager
def whole_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """`whole_file` of utf-8 text; lines end as they are written."""
    with whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.detach()


@contextlib.contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of a file or folder that is there.

    It goes with the process, so that a killed one leaves none. Once held, it is the lock of what
    has the name `path` now: a folder that was renamed meanwhile is no longer meant.

    Raises:
        BlockingIOError: another process holds it or took the name away, and `wait` is false.
        FileNotFoundError: nothing has the name.
        OSError: also where the file system gives no locks, as clusters' do without `-o flock`.
    """
    while True:
        descriptor = os.open(path, _CLOSE | (os.O_RDONLY if path.is_dir() else os.O_RDWR))
        try:
            if fcntl is not None:
                _tell("flock", path)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except OSError as error:
                    if error.errno not in _NO_LOCKS:
                        raise
                    why = f"its file system supports no locks: {error.strerror}"
                    raise OSError(error.errno, f"{why}. Use another file system") from None
            if _has_name(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)
        if not wait:
            raise BlockingIOError(f"{path} was renamed or removed by another process")


def sync(at: Path | int) -> None:
    """Bring a file's content, or a folder's entries, to the disk; a path or a descriptor."""
    if isinstance(at, int):
        _tell("fsync", at)
        os.fsync(at)
        return
    if sys.platform == "win32" and at.is_dir():
        return
    descriptor = os.open(at, os.O_RDONLY | _CLOSE)
    try:
        _tell("fsync", at)
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # this file system brings names to the disk by itself
            raise
    finally:
        os.close(descriptor)


def rename(old: Path, new: Path) -> None:
    """Give a file or folder another name, in one step; a file or empty folder there is replaced."""
    _tell("rename", new)
    old.replace(new)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    _tell("exchange", other)
    failed: int = renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    return failed == 0


def make_folder(path: Path, *, new: bool = False, mode: int = 0o777) -> None:
    """Make a folder and those above it; one that is there is left alone.

    Args:
        path: the folder.
        new: nothing may have that name yet.
        mode: who may do what in what is made, less what the process's umask takes away.

    Raises:
        FileExistsError: a file has the name, or `new` asks that nothing has it.
        NotADirectoryError: what should be above it is a file.
    """
    if not path.parent.is_dir() and path.parent != path:
        if path.parent.exists():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        make_folder(path.parent, mode=mode)
    if new or not path.is_dir():
        _tell("mkdir", path)
        path.mkdir(mode, exist_ok=not new)


def make_empty(path: Path, *, mode: int = 0o666) -> None:
    """Make a file without content, such as a mark; one that is there is left alone."""
    _tell("open", path)
    path.touch(mode)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that it holds; nothing where nothing is.

    What a link points to stays.
    """
    if path.is_dir() and not path.is_symlink():
        _remove_tree(path)
    else:
        _tell("unlink", path)
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove an empty folder."""
    _tell("rmdir", path)
    path.rmdir()


def reserve(path: Path, size: int, *, mode: int = 0o666) -> None:
    """Make a file of `size` bytes whose place on the disk is taken at once.

    Zeros are read from it. Where the system has no such call the file only has that length.
    """
    with _file(path, mode) as file:
        _tell("fallocate", path)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            os.ftruncate(file.fileno(), size)


def lengthen(path: Path, size: int) -> None:
    """Bring a file that is there to a greater length, with zeros."""
    _tell("truncate", path)
    os.truncate(path, size)


def open_to_write(path: Path, *, folder: int | None = None) -> int:
    """A descriptor of a file that is there, to read and to write; it closes at exec.

    A link is refused, and a pipe is not waited for. `folder`, a descriptor, is where its name is
    looked up.
    """
    _tell("open", path)
    flags = os.O_RDWR | _CLOSE | _PLAIN
    return os.open(path if folder is None else path.name, flags, dir_fd=folder)


def write_at(descriptor: int, data: bytes | memoryview, at: int) -> None:
    """Write all of `data` from byte `at` of an open file on."""
    view = memoryview(data)
    while view:
        _tell("write", descriptor)
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


class _Raw(io.FileIO):
    """A file whose writes are reported to `watch`."""

    def write(self, data: Any) -> int:
        _tell("write", self.fileno())
        return super().write(data)


def _file(path: Path, mode: int = 0o666) -> io.BufferedWriter:
    _tell("open", path)
    return io.BufferedWriter(
        _Raw(os.fspath(path), "w", opener=lambda name, flags: os.open(name, flags, mode))
    )


@contextlib.contextmanager
def _whole(path: Path, draft: Path | None = None, mode: int = 0o666) -> Iterator[io.BufferedWriter]:
    """A file under its draft's name, synced and renamed when the block ends well."""
    named = draft or path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with _file(named, mode) as file:
            yield file
            file.flush()
            sync(file.fileno())
        rename(named, path)
    except BaseException:
        with contextlib.suppress(OSError):  # there may be none
            remove(named)
        raise


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_tree(folder: Path) -> None:
    """By descriptors, so that nobody can put a link in the way of it."""
    if not hasattr(os, "fwalk"):  # Windows
        shutil.rmtree(folder)
        return
    for at, folders, files, descriptor in os.fwalk(folder, topdown=False, onerror=_failed):
        for name in files:
            _tell("unlink", Path(at, name))
            os.unlink(name, dir_fd=descriptor)
        for name in folders:
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                _tell("unlink", Path(at, name))
                os.unlink(name, dir_fd=descriptor)
            else:
                _tell("rmdir", Path(at, name))
                os.rmdir(name, dir_fd=descriptor)
    remove_folder(folder)


def _failed(error: OSError) -> None:
    raise error


def _tell(call: str, at: Path | int) -> None:
    if watch is None:
        return
    if isinstance(at, int):
        with contextlib.suppress(OSError):
            at = Path(f"/proc/self/fd/{at}").readlink()
    watch(call, Path(str(at)))
