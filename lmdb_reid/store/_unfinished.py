"""The growing data of a build and its journal, kept in step over full maps and crashes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lmdb

from lmdb_reid.errors import DuplicateSampleError
from lmdb_reid.store import _growing
from lmdb_reid.store._format import IMAGES_DB, RECORDS_DB
from lmdb_reid.store._growing import Growing
from lmdb_reid.store._prepared import Mark, Row
from lmdb_reid.store._resumed import (
    check_structure,
    fill_up,
    packed_entry,
    take_out_damaged,
    unpacked_mark,
)
from lmdb_reid.store._sealing import FACTS_DB, LAST, MARKS_DB, STATE_DB, UNORDERED


class Unfinished:
    """Samples and marks of a build that is not sealed.

    Data is committed first, the journal second; samples that the journal does not know after a
    crash are taken out when the files are opened again.

    Args:
        data: the file of images and records.
        journal: the file of what is done.
        resumed: whether they are of an earlier run: then all that they hold is compared first.

    Raises:
        StoreDamagedError: what an earlier run left cannot be resumed.
        lmdb.Error, OSError: the disk fails, from every method. Nothing more may be put then.
    """

    def __init__(self, data: Path, journal: Path, *, resumed: bool) -> None:
        for file in (data, journal) if resumed else ():
            check_structure(file)
        self.data = Growing(data, (IMAGES_DB, RECORDS_DB))
        try:
            self.journal = Growing(journal, (FACTS_DB, MARKS_DB, STATE_DB))
        except BaseException:
            self.data.close()
            raise
        self._pending: list[tuple[list[Row], Mark]] = []
        self._pending_bytes = 0
        self._committed = time.monotonic()
        try:
            if resumed:
                fill_up(self.data, data)
                fill_up(self.journal, journal)
            self._take_out_unknown()
            if resumed:
                self.commit()
                take_out_damaged(self.data, self.journal)
            self._greatest = self._greatest_stored()  # key put so far
            self.count = self.journal.entries(FACTS_DB)  # samples put so far
        except BaseException:
            self.close()
            raise

    def put(self, rows: list[Row], mark: Mark) -> None:
        """Add sorted rows and their mark; committed every 16 MB or 2 s.

        Raises:
            DuplicateSampleError: an id is there already; nothing of these rows stays.
        """
        while True:  # a full map is grown, however often it takes
            try:
                self._put_into_txns(rows, mark)
                break
            except lmdb.MapFullError:
                self._grow_and_replay()
        self._pending.append((rows, mark))
        self.count += len(rows)
        self._pending_bytes += sum(len(image) for _, image, _, _ in rows)
        late = time.monotonic() - self._committed >= _growing.COMMIT_SECONDS
        if late or self._pending_bytes >= _growing.COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        """Bring everything put so far to the disk."""
        while True:
            try:
                self.data.commit()
                last = str(self.data.last_transaction).encode()
                self.journal.txn.put(LAST, last, db=self.journal.dbs[STATE_DB])
                self.journal.commit()
                break
            except lmdb.MapFullError:
                self._grow_and_replay()
        self._pending.clear()
        self._pending_bytes = 0
        self._committed = time.monotonic()

    def marks(self) -> dict[str, Any]:
        """The marks of earlier runs and this one, with their notes; commits first."""
        self.commit()
        marks = self.journal.dbs[MARKS_DB]
        with self.journal.env.begin() as txn, txn.cursor(marks) as cursor:
            return {key.decode(): unpacked_mark(key, entry).note for key, entry in cursor}

    def close(self) -> None:
        """Close both files; what was not committed is forgotten."""
        self.data.close()
        self.journal.close()

    def _put_into_txns(self, rows: list[Row], mark: Mark) -> None:
        data, journal = self.data, self.journal
        images, records = data.dbs[IMAGES_DB], data.dbs[RECORDS_DB]
        facts_db = journal.dbs[FACTS_DB]
        for at, (key, image, record, facts) in enumerate(rows):
            if not data.txn.put(key, image, db=images, overwrite=False):
                for earlier, *_ in rows[:at]:  # leave nothing of the group behind
                    data.txn.delete(earlier, db=images)
                    data.txn.delete(earlier, db=records)
                    journal.txn.delete(earlier, db=facts_db)
                raise DuplicateSampleError(
                    f"two samples have the id {key.decode()!r}; the second was not written",
                    ids=[key.decode()],
                )
            data.txn.put(key, record, db=records)
            journal.txn.put(key, facts, db=facts_db)
        if mark is not None:
            key, note = mark
            earlier = journal.txn.get(key, db=journal.dbs[MARKS_DB])
            count = 0 if earlier is None else unpacked_mark(key, earlier).samples
            journal.txn.put(
                key, packed_entry(key, count + len(rows), note), db=journal.dbs[MARKS_DB]
            )
        if rows:
            if rows[0][0] < self._greatest:
                journal.txn.put(UNORDERED, b"1", db=journal.dbs[STATE_DB])
            self._greatest = max(self._greatest, rows[-1][0])

    def _grow_and_replay(self) -> None:
        """A map is full: give up both transactions, double the maps, put again what they held.

        What `data` committed before the journal's map was full is found there again, so replaying
        overwrites nothing: it is put again only where it is missing.
        """
        while True:
            for env in (self.data, self.journal):
                env.grow()
            self._take_out_unknown()
            self._greatest = self._greatest_stored()  # or what is put again would seem unordered
            try:
                for rows, mark in self._pending:
                    self._put_into_txns(rows, mark)
                return
            except lmdb.MapFullError:
                continue

    def _greatest_stored(self) -> bytes:
        with (
            self.data.env.begin() as txn,
            txn.cursor(self.data.dbs[RECORDS_DB]) as cursor,
        ):
            key: bytes = cursor.key() if cursor.last() else b""
        return key

    def _take_out_unknown(self) -> None:
        """Take samples out of data that were committed when the journal was not."""
        data, journal = self.data, self.journal
        with journal.env.begin() as txn:
            last = txn.get(LAST, db=journal.dbs[STATE_DB])
            if last == str(data.last_transaction).encode():
                return
            with data.env.begin() as stored, stored.cursor(data.dbs[IMAGES_DB]) as cursor:
                keys = cursor.iternext(values=False)
                unknown = [k for k in keys if txn.get(k, db=journal.dbs[FACTS_DB]) is None]
        for key in unknown:
            data.txn.delete(key, db=data.dbs[IMAGES_DB])
            data.txn.delete(key, db=data.dbs[RECORDS_DB])
        if unknown:  # their pages are gaps now
            journal.txn.put(UNORDERED, b"1", db=journal.dbs[STATE_DB])
