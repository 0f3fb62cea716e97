"""What an earlier run left of a build, compared before this one resumes it.

LMDB's pages and the lengths of the files come first, for LMDB reads what its pages say. Then every
sample is compared with what was noted when it was put. A group of which anything is missing or
differs is taken out with its mark, so that whoever resumes puts it again.
"""

from __future__ import annotations

import json
import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import msgpack

from lmdb_reid import _disk
from lmdb_reid._regular import opened, read_limited
from lmdb_reid.errors import ResumeError, StoreDamagedError
from lmdb_reid.store._format import (
    IMAGES_DB,
    MANIFEST,
    RECORDS_DB,
    Facts,
    journal_body,
    journal_entry,
    sample_digest,
)
from lmdb_reid.store._growing import Growing
from lmdb_reid.store._manifest import read_manifest
from lmdb_reid.store._prepared import difference
from lmdb_reid.store._sealing import FACTS_DB, LAST, MARKS_DB, STATE_DB, UNORDERED
from lmdb_reid.store._verify import structure_problems

_MOST_SETTINGS = 1 << 22  # bytes; what may be given has a quarter of a million characters
_MOST_MISSING = 1 << 26  # bytes at a file's end; a transaction has some 16 MB
_AGAIN = "--overwrite discards the build and begins again"


class NotedMark(NamedTuple):
    """A mark as the journal has it."""

    samples: int
    """How many were put under it."""
    note: Any


def packed_entry(key: bytes, count: int, note: bytes) -> bytes:
    """The journal's entry of a mark; `note` is packed already."""
    return journal_entry(key, msgpack.packb(count) + note)


def unpacked_mark(key: bytes, entry: bytes | memoryview) -> NotedMark:
    """The reverse of `packed_entry`.

    Raises:
        StoreDamagedError: the entry is not what was noted.
    """
    unpacker = msgpack.Unpacker()
    unpacker.feed(journal_body(key, entry))
    return NotedMark(unpacker.unpack(), unpacker.unpack())


def check_settings(partial: Path, file: Path, settings: Mapping[str, Any]) -> bool:
    """Refuse to continue an unfinished build that has other settings than these.

    Args:
        partial: its folder.
        file: where it noted its settings; removed where it cannot be read.
        settings: what this run would build with.

    Returns:
        Whether it could be read. If not, nothing may have been put yet.

    Raises:
        ResumeError: they differ; the message says where.
        StoreDamagedError: the manifest of a finished build is damaged.
    """
    if (partial / MANIFEST).exists():
        earlier: Any = read_manifest(partial).build
    else:
        try:
            earlier = json.loads(read_limited(file, _MOST_SETTINGS))
            if not isinstance(earlier, dict):
                raise ValueError("no map")
        except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
            _disk.remove(file)
            return False
    differences = [
        difference(name, earlier.get(name), settings.get(name))
        for name in sorted({*earlier, *settings})
        if earlier.get(name) != settings.get(name)
    ]
    if differences:
        raise ResumeError(
            (
                f"cannot resume {partial}: {'; '.join(differences)}. Use the settings it"
                " was begun with, or --overwrite"
            ),
            path=partial,
        )
    return True


def check_structure(file: Path) -> None:
    """Walk LMDB's pages of a file, if it is there, without mapping it.

    Raises:
        StoreDamagedError: a page is not what LMDB wrote.
    """
    try:
        with opened(file) as (_, size):
            if size < 2 * mmap.PAGESIZE:  # begun again by `Growing`
                return
    except FileNotFoundError:
        return
    except ValueError as error:
        raise StoreDamagedError(f"{file} is damaged: {error}; {_AGAIN}", path=file) from None
    if problems := structure_problems(file):
        raise StoreDamagedError(f"{file} is damaged: {problems[0]}; {_AGAIN}", path=file)


def fill_up(growing: Growing, file: Path) -> None:
    """Bring a file to the end of LMDB's last page: what is beyond the end ends the process.

    LMDB never writes a page that it took and freed again in one transaction, so a sound file may be
    shorter. Zeros stand for what is missing; where pages in use are, the samples are found damaged.

    Raises:
        StoreDamagedError: far more is missing than a transaction holds.
        OSError: the disk fails.
    """
    wanted = (growing.env.info()["last_pgno"] + 1) * growing.env.stat()["psize"]
    size = file.stat().st_size
    if wanted - size > _MOST_MISSING:
        raise StoreDamagedError(
            f"{file} has {size} bytes; its last page ends at {wanted}: {_AGAIN}", path=file
        )
    if size < wanted:
        _disk.lengthen(file, wanted)


@dataclass(slots=True)
class _Findings:
    """What is wrong in an unfinished build."""

    sound: Counter[str] = field(default_factory=Counter)
    """Whole samples of each mark."""
    bad: dict[bytes, str | None] = field(default_factory=dict)
    """Samples that are not what was put, and their marks; None where that cannot be read."""
    marks: list[bytes] = field(default_factory=list)
    """Marks that cannot be read, or lack samples."""


def take_out_damaged(data: Growing, journal: Growing) -> None:
    """Take out every group that is not what was put, with its mark; commits.

    Raises:
        StoreDamagedError: a sample without a mark is damaged, so that nobody would put it again.
    """
    found = _compared(data, journal)
    kept, lacking, unread = _compared_marks(journal, found)
    lost = {mark for mark in found.sound if mark and mark not in kept}
    if not (found.bad or found.marks or lost):
        return
    without = [key for key, mark in found.bad.items() if mark == ""]
    unknown = [key for key, mark in found.bad.items() if mark is None]
    if not without and not unread and len(unknown) > lacking:
        without = unknown
    if without:
        name = without[0].decode(errors="backslashreplace")
        raise StoreDamagedError(
            f"{name!r} of the unfinished build is damaged, and was put without a mark: {_AGAIN}",
            ids=[name],
        )
    _take_out(data, journal, [*found.bad, *_of_marks(journal, lost)], found.marks)


def _compared(data: Growing, journal: Growing) -> _Findings:
    found = _Findings()
    images, records, facts_db = data.dbs[IMAGES_DB], data.dbs[RECORDS_DB], journal.dbs[FACTS_DB]
    with data.env.begin(buffers=True) as stored, journal.env.begin(buffers=True) as noted:
        with stored.cursor(images) as cursor:
            for view, image in cursor:
                key = bytes(view)
                record, facts = stored.get(key, db=records), _facts(noted, key, facts_db)
                whole = (
                    facts is not None
                    and record is not None
                    and sample_digest(key, image, record) == facts.sha256
                )
                if whole and facts is not None:
                    found.sound[facts.mark] += 1
                else:
                    found.bad[key] = None if facts is None else facts.mark
        for others, txn in ((records, stored), (facts_db, noted)):
            for key in _without_image(txn, others, stored, images):
                facts = _facts(noted, key, facts_db)
                found.bad[key] = None if facts is None else facts.mark
    return found


def _facts(noted: Any, key: bytes, database: Any) -> Facts | None:
    entry = noted.get(key, db=database)
    try:
        return None if entry is None else Facts.unpack(key, entry)
    except StoreDamagedError:
        return None


def _without_image(txn: Any, database: Any, stored: Any, images: Any) -> Iterator[bytes]:
    with txn.cursor(database) as cursor:
        for view in cursor.iternext(values=False):
            key = bytes(view)
            if stored.get(key, db=images) is None:
                yield key


def _compared_marks(journal: Growing, found: _Findings) -> tuple[set[str], int, int]:
    """(marks whose samples are all there, how many samples the others lack, how many marks cannot
    be read).
    """
    kept: set[str] = set()
    lacking = unread = 0
    with journal.env.begin() as txn, txn.cursor(journal.dbs[MARKS_DB]) as cursor:
        for key, entry in cursor:
            try:
                mark, count = key.decode(), unpacked_mark(key, entry).samples
            except (StoreDamagedError, UnicodeDecodeError):
                found.marks.append(key)
                unread += 1
                continue
            if found.sound[mark] == count:
                kept.add(mark)
            else:
                found.marks.append(key)
                lacking += max(0, count - found.sound[mark])
    return kept, lacking, unread


def _of_marks(journal: Growing, marks: set[str]) -> list[bytes]:
    """The samples that were put under some marks."""
    keys = []
    with journal.env.begin(buffers=True) as txn, txn.cursor(journal.dbs[FACTS_DB]) as cursor:
        for view, _ in cursor:
            key = bytes(view)
            facts = _facts(txn, key, journal.dbs[FACTS_DB])
            if facts is not None and facts.mark in marks:
                keys.append(key)
    return keys


def _take_out(data: Growing, journal: Growing, keys: list[bytes], marks: list[bytes]) -> None:
    state = journal.dbs[STATE_DB]
    while True:
        try:
            for key in keys:
                data.txn.delete(key, db=data.dbs[IMAGES_DB])
                data.txn.delete(key, db=data.dbs[RECORDS_DB])
                journal.txn.delete(key, db=journal.dbs[FACTS_DB])
            for mark in marks:
                journal.txn.delete(mark, db=journal.dbs[MARKS_DB])
            journal.txn.put(UNORDERED, b"1", db=state)  # their pages are gaps now
            data.commit()
            journal.txn.put(LAST, str(data.last_transaction).encode(), db=state)
            journal.commit()
            return
        except lmdb.MapFullError:
            data.grow()
            journal.grow()
