"""The files of a decoded tier: made in one step, opened only where nobody else could have written
them, each row with the checksum of its pixels.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmdb_reid import _disk
from lmdb_reid.errors import UntrustedError, WriteError
from lmdb_reid.machine import size_in_words
from lmdb_reid.schema import Pixels, Rows

PIXELS, MARKS, META = "pixels.bin", "done.bin", "meta.json"
_VERSION = 2
_MARK = np.dtype("<u4")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644  # whatever the umask: others may read, and no more
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MOST_META = 4096
_ADVICE = ". What it has remains usable. Try again, or pass DecodedTier another dir"
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_AS_FOLDER = getattr(os, "O_DIRECTORY", 0)
_IN_FOLDERS = os.open in os.supports_dir_fd


@dataclass(slots=True, kw_only=True)
class TierFiles:
    """An open tier: maps to read by, descriptors to write by, which close with it."""

    folder: Path
    pixels: Pixels
    """uint8 [rows, bytes of a picture], a map."""
    marks: npt.NDArray[np.uint32]
    """[rows], a map: the CRC-32 of a row's pixels, 0 where there are none."""
    checked: npt.NDArray[np.bool_]
    """[rows]: what this process has compared with its mark, or has written."""
    pixels_fd: int
    marks_fd: int
    writable: bool

    def __del__(self) -> None:
        os.close(self.pixels_fd)
        os.close(self.marks_fd)

    def copy(self, rows: Rows, out: Pixels) -> tuple[list[int], int]:
        """Copy the rows that are there into `out` [B, bytes of a picture].

        A row that this process has not read yet is compared with its mark, as it was copied.

        Returns:
            (the places in `rows` of what is missing or damaged, how many are damaged).
        """
        missing, damaged = [], 0
        marks, checked = self.marks[rows].tolist(), self.checked[rows].tolist()
        for place, row in enumerate(rows.tolist()):
            if not marks[place]:
                missing.append(place)
                continue
            picture = out[place]
            picture[...] = self.pixels[row]
            if not checked[place]:
                if _mark(picture) != marks[place]:
                    missing.append(place)
                    damaged += 1
                    continue
                self.checked[row] = True
        return missing, damaged

    def write(self, rows: Rows, pictures: Pixels) -> int:
        """Keep pictures [B, H, W, 3]: the pixels first, then the mark that they are there; returns
        how many, none where the files can only be read.
        """
        if not self.writable:
            return 0
        with _disk.write_errors(self.folder, _ADVICE):
            for row, picture in zip(rows.tolist(), pictures, strict=True):
                data = np.ascontiguousarray(picture)
                _disk.write_at(self.pixels_fd, data.data.cast("B"), row * data.nbytes)
                mark = _mark(data).to_bytes(_MARK.itemsize, "little")
                _disk.write_at(self.marks_fd, mark, row * _MARK.itemsize)
                self.checked[row] = True
        return len(rows)

    def sync(self) -> None:
        """Bring what was written to the disk; a whole tier survives a restart of the machine."""
        if not self.writable:
            return
        with _disk.write_errors(self.folder, _ADVICE):
            _disk.sync(self.pixels_fd)
            _disk.sync(self.marks_fd)
            if self.marks.all():
                _write_meta(self.folder, None)
                _disk.sync(self.folder.parent)
                with contextlib.suppress(PermissionError):  # of a folder that cannot be listed
                    _disk.sync(self.folder.parent.parent)


def open_files(path: Path, name: str, count: int, nbytes: int) -> TierFiles:
    """The files of `count` pictures of `nbytes` each in the folder `name` of `path`.

    They are made where there are none, and where what is there is of another version, was not
    synced before the machine started again, or could have been written by a group or by everybody.

    Raises:
        UntrustedError: `path` or what lies in it belongs to another user, root excepted.
        WriteError: no room for them, or no permission.
    """
    folder = path / name
    try:
        _disk.make_folder(path, mode=_FOLDER_MODE)
        _check_place(path)
        found = _opened(folder, count, nbytes)  # a whole tier is read where there are no locks, too
        if found is None:
            with _alone(folder):
                found = _opened(folder, count, nbytes)
                if found is None:
                    _disk.remove(folder)
                    _make(folder, count, nbytes)
                    found = _opened(folder, count, nbytes)
    except UntrustedError:
        raise
    except OSError as error:
        raise WriteError(
            (
                f"no decoded tier at {path}: {error.strerror}; it needs"
                f" {size_in_words(count * nbytes)} (pass DecodedTier another dir, or use"
                " LRUCache(bytes=...))"
            ),
            path=path,
        ) from None
    if found is None:
        raise UntrustedError(
            (
                f"a decoded tier must not be writable by others, but in {path} every file is"
                " (its file system may not support permissions). Pass DecodedTier another dir"
            ),
            path=path,
        )
    return found


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes the files, by the lock of a file that other users cannot open: a
    lock that they can take could be held forever.
    """
    file = folder.with_name(folder.name + ".lock")
    with contextlib.ExitStack() as held:
        while True:
            _disk.make_empty(file, mode=0o600)
            try:
                descriptor = _disk.open_to_write(file)
                held.callback(os.close, descriptor)
                _is_ours(os.fstat(descriptor), file)
                held.enter_context(_disk.lock(file, wait=True))
                break
            except FileNotFoundError:  # who held it has removed it
                held.close()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                _disk.remove(file)


def _opened(folder: Path, count: int, nbytes: int) -> TierFiles | None:
    """The files as they are; None where they are not to be used.

    All are opened below one descriptor of the folder, and what was opened is looked at: whoever may
    rename the folder cannot mix two of them.
    """
    with contextlib.ExitStack() as held, contextlib.ExitStack() as kept:
        try:
            at = None
            if _IN_FOLDERS:
                at = os.open(folder, os.O_RDONLY | _FLAGS | _AS_FOLDER)
                held.callback(os.close, at)
                if not _is_ours(os.fstat(at), folder):
                    return None
            meta = os.open(*_name(folder / META, at), os.O_RDONLY | _FLAGS, dir_fd=at)
            held.callback(os.close, meta)
            if not _is_whole(meta, folder / META, None):
                return None
            said = json.loads(os.read(meta, _MOST_META))
            wanted = {"version": _VERSION, "source": folder.name}
            if {key: said[key] for key in wanted} != wanted or said["boot"] not in (None, _boot()):
                return None
            pixels, can_write = _to_write(folder / PIXELS, at)
            kept.callback(os.close, pixels)
            marks, can_mark = _to_write(folder / MARKS, at)
            kept.callback(os.close, marks)
        except UntrustedError:
            raise
        except (
            FileNotFoundError,
            NotADirectoryError,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
        ):
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV):
                return None  # a link, a socket, a folder
            raise
        if not (
            _is_whole(pixels, folder / PIXELS, count * nbytes)
            and _is_whole(marks, folder / MARKS, count * _MARK.itemsize)
        ):
            return None
        maps = _mapped(pixels, count * nbytes), _mapped(marks, count * _MARK.itemsize)
        files = TierFiles(
            folder=folder,
            pixels=maps[0].reshape(count, nbytes),
            marks=maps[1].view(_MARK),
            checked=np.zeros(count, bool),
            pixels_fd=pixels,
            marks_fd=marks,
            writable=can_write and can_mark,
        )
        kept.pop_all()
        return files


def _name(file: Path, folder: int | None) -> tuple[str | Path]:
    return (file if folder is None else file.name,)


def _to_write(file: Path, folder: int | None) -> tuple[int, bool]:
    """(descriptor, whether it can be written): a whole tier on a disk that cannot be written is of
    use.
    """
    try:
        return _disk.open_to_write(file, folder=folder), True
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return os.open(*_name(file, folder), os.O_RDONLY | _FLAGS, dir_fd=folder), False


def _is_whole(descriptor: int, file: Path, size: int | None) -> bool:
    status = os.fstat(descriptor)
    return (
        stat.S_ISREG(status.st_mode) and size in (None, status.st_size) and _is_ours(status, file)
    )


def _is_ours(status: os.stat_result, path: Path) -> bool:
    """Whether nobody but this user and root can write what was opened.

    Raises:
        UntrustedError: it belongs to somebody else.
    """
    if not hasattr(os, "geteuid"):  # Windows
        return True
    if status.st_uid not in (0, os.geteuid()):
        raise UntrustedError(
            (
                f"{path} belongs to the user with number {status.st_uid}, who could put"
                " other pixels there. Remove it, or pass DecodedTier another dir"
            ),
            path=path,
        )
    return not status.st_mode & _OTHERS_WRITE


def _check_place(path: Path) -> None:
    """Refuse a place where everybody may rename what others made; /tmp and its like forbid that."""
    status = path.stat()
    if not _is_ours(status, path) and status.st_mode & stat.S_IWOTH:
        if status.st_mode & stat.S_ISVTX:
            return
        raise UntrustedError(
            (
                f"everybody may rename the files in {path}. Run `chmod o-w` on it, or pass"
                " DecodedTier another dir"
            ),
            path=path,
        )


def _make(folder: Path, count: int, nbytes: int) -> None:
    """Reserve the files under another name and put them in place by one rename."""
    draft = folder.with_name(folder.name + ".partial")
    _disk.remove(draft)
    try:
        _disk.make_folder(draft, new=True, mode=_FOLDER_MODE)
        _disk.reserve(draft / PIXELS, count * nbytes, mode=_FILE_MODE)
        _disk.reserve(draft / MARKS, count * _MARK.itemsize, mode=_FILE_MODE)
        _write_meta(draft, _boot(), folder.name)
        _disk.rename(draft, folder)
    except BaseException:
        with contextlib.suppress(OSError):
            _disk.remove(draft)
        raise


def _write_meta(folder: Path, boot: str | None, source: str | None = None) -> None:
    """In one step: another process may be reading it."""
    said = {"version": _VERSION, "source": source or folder.name, "boot": boot}
    _disk.write_whole(folder / META, json.dumps(said).encode(), mode=_FILE_MODE)


def _mapped(descriptor: int, nbytes: int) -> Pixels:
    """As a plain array: np.memmap takes 10 us to index."""
    return np.frombuffer(mmap.mmap(descriptor, nbytes, access=mmap.ACCESS_READ), np.uint8)


def _mark(pixels: Pixels) -> int:
    """CRC-32 of a contiguous picture; 1 where it is 0, which means that none is there."""
    return zlib.crc32(pixels.data) or 1


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "unknown"
