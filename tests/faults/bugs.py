"""Thirteen bugs, put into the children on purpose: what finds each must find it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.media import _files
from lmdb_reid import _disk
from lmdb_reid.cache import _tier_files
from lmdb_reid.store import _door, _handles, _opening, _pages, _part, _reading, _unfinished

from . import damage, kills, limits, replay, rivals, sweep
from .child import Wrong
from .works import Lab


def no_sync_of_data() -> None:
    sync = _disk.sync
    _disk.sync = lambda at: None if isinstance(at, int) else sync(at)


def no_sync_of_folders() -> None:
    sync = _disk.sync
    _disk.sync = lambda at: sync(at) if isinstance(at, int) else None


def rename_before_sync() -> None:
    @contextlib.contextmanager
    def whole(path: Path, draft: Path | None = None, mode: int = 0o666) -> Iterator[Any]:
        named = draft or path.with_name(f".{path.name}.draft")
        with _disk._file(named, mode) as file:
            yield file
            file.flush()
            _disk.rename(named, path)
            _disk.sync(file.fileno())

    _disk._whole = whole


def image_not_compared() -> None:
    def compare(self: Any, door: Any, row: int, key: bytes, data: Any) -> Any:
        return door.check_length(key, row, data)

    _reading.Reading._compare = compare  # type: ignore[method-assign]


def record_not_compared() -> None:
    def record(self: Any, door: Any, row: int, key: bytes) -> bytes:
        return bytes(door.record(key, row))

    _reading.Reading._record = record  # type: ignore[method-assign]


def lock_not_taken() -> None:
    _disk.fcntl = None  # type: ignore[assignment]


def reader_trusts_names() -> None:
    """Pins are compared when a store is opened, and not when its file is."""
    once = _part.Part._opened
    seen: set[int] = set()

    def opened(self: _part.Part) -> Any:
        if id(self) not in seen:
            seen.add(id(self))
            return once(self)
        return _handles.acquire(self.file)

    _part.Part._opened = opened  # type: ignore[method-assign]
    _opening._LOOKS = 1


def tier_not_compared() -> None:
    """Rows of a decoded tier are served as they are."""

    def copy(self: Any, rows: Any, out: Any) -> tuple[list[int], int]:
        out[...] = self.pixels[rows]
        return [place for place, row in enumerate(rows) if not self.marks[row]], 0

    _tier_files.TierFiles.copy = copy  # type: ignore[method-assign]


def lock_of_a_renamed_folder() -> None:
    """Nobody looks whether the locked folder still has its name."""
    _disk._has_name = lambda *_: True


def passing_errors_skip_frames() -> None:
    """Any error of reading a frame is the frame's."""
    _files._LASTING = set(errno.errorcode)


def length_not_compared() -> None:
    """Only the checksum is, after what LMDB says is the length was read."""
    _door.Door.check_length = lambda _, key, row, data: data  # type: ignore[assignment,method-assign,return-value]


def ends_not_checked() -> None:
    """LMDB follows whatever a page says."""
    _pages.Pages._ends = lambda *_: True  # type: ignore[method-assign]


def resumed_is_trusted() -> None:
    """What an earlier run left is taken as it is."""
    _unfinished.check_structure = lambda _: None
    _unfinished.fill_up = lambda *_: None
    _unfinished.take_out_damaged = lambda *_: None


@dataclass(frozen=True)
class Seeded:
    bug: Callable[[], None]
    what: str
    trials: Callable[[Lab], Iterator[tuple[str, str]]]
    """(section, line) of the trials that look for it, cheapest first."""


def _of(section: str, module: Any, group: str, count: int) -> Any:
    return lambda lab: ((section, line) for line in module.trials(lab, group, count, 0))


def _of_reads(lab: Lab) -> Iterator[tuple[str, str]]:
    for number, call in enumerate(sweep.count_calls(lab, "build"), 1):
        if call == "read":
            yield "sweep", f"build EIO {number}"


def _end(lab: Lab) -> tuple[str, str]:
    """Power is cut when the build is over."""
    return "replay", [*replay.trials(lab, "build least", 1, 0)][-1]


def _backwards(lab: Lab) -> Iterator[tuple[str, str]]:
    """All names are there, and no content that was not synced; from the last call on."""
    lines = [*replay.trials(lab, "build names", 1000, 0)]
    return (("replay", line) for line in reversed(lines))


SEEDED = (
    Seeded(no_sync_of_data, "a file's content is not synced", _backwards),
    Seeded(no_sync_of_folders, "a folder is not synced", lambda lab: iter([_end(lab)])),
    Seeded(rename_before_sync, "renamed before it is synced", _backwards),
    Seeded(
        image_not_compared, "an image's CRC-32 is not compared", _of("damage", damage, "image", 20)
    ),
    Seeded(
        record_not_compared,
        "a record's CRC-32 is not compared",
        _of("damage", damage, "record", 20),
    ),
    Seeded(lock_not_taken, "the lock is not taken", _of("rivals", rivals, "busy", 9)),
    Seeded(
        reader_trusts_names, "a reader trusts the file's name", _of("rivals", rivals, "exchange", 3)
    ),
    Seeded(tier_not_compared, "a tier's rows are not compared", _of("damage", damage, "tier", 40)),
    Seeded(
        lock_of_a_renamed_folder,
        "the lock of a renamed folder",
        _of("rivals", rivals, "renamed", 1),
    ),
    Seeded(passing_errors_skip_frames, "a passing error skips a frame", _of_reads),
    Seeded(
        length_not_compared, "a value's length is not compared", _of("damage", damage, "length", 60)
    ),
    Seeded(
        resumed_is_trusted, "a resumed build is trusted", _of("damage", damage, "unfinished", 60)
    ),
    Seeded(
        ends_not_checked, "a value may end behind the file", _of("damage", damage, "length", 60)
    ),
)
SECTIONS: dict[str, Any] = {
    m.__name__.rpartition(".")[2]: m for m in (sweep, replay, limits, damage, rivals, kills)
}


def find(lab: Lab, seeded: Seeded) -> tuple[int, str]:
    """(how many trials until it was found, which one); ("", of no use) where it was not."""
    number = 0
    lab.bug = seeded.bug
    try:
        for number, (section, line) in enumerate(seeded.trials(lab), 1):
            try:
                SECTIONS[section].trial(lab, line)
            except Wrong:
                return number, f"{section} {line}"
    finally:
        lab.bug = None
    return number, ""
