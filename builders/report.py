"""What a build did: for people, and as report.json beside the manifest; and how many rows may go
unused.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from builders.settings import MAX_SKIPPED
from builders.sources import Listing, Rejected
from lmdb_reid.errors import SourceError, TooManySkippedError, UsageError
from lmdb_reid.machine import size_in_words
from lmdb_reid.schema import Kind

_LISTS = ("skipped", "dropped", "doubled")
_LISTED = 10_000
_SHOWN = 8
_DIGITS = re.compile(r"(\d+)")


@dataclass(slots=True, kw_only=True)
class Report:
    """Counts of a finished build, or of what a dry run expects."""

    out: str
    frames: int
    rows: int
    kinds: dict[str, int] = field(default_factory=dict)
    """Samples by kind."""
    identities: int = 0
    skipped: list[Rejected] = field(default_factory=list)
    """Rows that could not be used."""
    dropped: list[Rejected] = field(default_factory=list)
    """Rows left out on purpose."""
    doubled: list[Rejected] = field(default_factory=list)
    """Rows that were cut, though their frame has their label in another row."""
    given_up: int = 0
    """Places for negatives for which 20 candidates failed, or that had no room for one."""
    seconds: float = 0.0
    """Wall time of this run (a resumed build: of the last run)."""
    crops_per_second: float = 0.0
    """Crops cut in this run, over its time."""
    size_bytes: int = 0
    """Size on disk; of a dry run, an estimate."""
    dry_run: bool = False
    was_complete: bool = False
    """Whether the store was finished before, and nothing was left to build."""

    @property
    def samples(self) -> int:
        """Samples of all kinds."""
        return sum(self.kinds.values())

    def as_json(self) -> dict[str, object]:
        """All of it as JSON values."""
        lists = {name: rejected_json(getattr(self, name)) for name in _LISTS}
        return asdict(self) | lists | {"samples": self.samples}

    def to_json(self) -> bytes:
        """The report as a file; at most 10,000 rows of each list, with the true counts beside."""
        fields = self.as_json()
        del fields["size_bytes"]  # known when the store is sealed, this file in it
        del fields["was_complete"]
        for name in _LISTS:
            rows: Sequence[Rejected] = getattr(self, name)
            fields[name] = rejected_json(rows[:_LISTED])
            fields[f"{name}_rows"] = len(rows)
        return json.dumps(fields, indent=1, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Report:
        """The reverse of `to_json`."""
        fields = json.loads(data)
        for name in _LISTS:
            fields[name] = [Rejected(**row) for row in fields[name]]
            del fields[f"{name}_rows"]
        del fields["samples"]
        return cls(**fields)

    def lines(self) -> list[str]:
        """The summary that the command prints."""
        if self.was_complete:
            return [f"{self.out} is complete ({self.samples:,} samples): nothing is left to build"]
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items())
        lines = [
            f"{'would write' if self.dry_run else 'wrote'} {self.out}",
            f"  samples     {self.samples:,} ({kinds}) of {self.identities:,} identities,"
            f" from {self.frames:,} frames and {self.rows:,} rows",
        ]
        for title, rows in (("skipped", self.skipped), ("left out", self.dropped)):
            lines += [f"  {title:<11} {len(rows):,} rows", *_reasons(rows)]
        if self.doubled:
            lines += [f"  doubled     {len(self.doubled):,} rows", *_reasons(self.doubled)]
        if self.given_up:
            lines.append(f"  negatives   {self.given_up:,} places had room for none")
        about = "about " if self.dry_run else ""
        lines.append(f"  size        {about}{size_in_words(self.size_bytes)}")
        rate = f" ({self.crops_per_second:,.0f} crops/s)" if self.crops_per_second else ""
        lines.append(f"  time        {about}{self.seconds:,.1f} s{rate}")
        if self.skipped and not self.dry_run:
            lines.append(f"  every skipped row: {Path(self.out) / 'report.json'}")
        return lines


class Tally:
    """Counts over all frames, and the limits on what may be skipped.

    Args:
        listing: what it lists as skipped and dropped is counted at once.
        strict: one skipped row is too many.
        max_skipped: the largest share of rows that may be skipped.

    Raises:
        UsageError: `max_skipped` is no share.
        SourceError: as `add`.
    """

    def __init__(
        self, listing: Listing, *, strict: bool = False, max_skipped: float = MAX_SKIPPED
    ) -> None:
        self._listing = listing
        self._skipped = list(listing.skipped)
        self._kinds: Counter[int] = Counter()
        self._labels: set[int] = set()
        self._given_up = 0
        self._strict, self._share = strict, max_skipped
        self._check()

    def add(
        self,
        kinds: Mapping[int, int],
        labels: Iterable[int],
        skipped: Sequence[Rejected],
        given_up: int,
    ) -> None:
        """Count one frame in.

        Raises:
            SourceError: a row was skipped under strict.
            TooManySkippedError: more rows than allowed were skipped.
        """
        self._kinds.update(kinds)
        self._labels.update(labels)
        self._given_up += given_up
        if skipped:
            self._skipped += skipped
            self._check()

    def report(self, *, out: str, seconds: float, crops_per_second: float = 0.0) -> Report:
        """What was counted."""
        return Report(
            out=out,
            frames=len(self._listing.frames),
            rows=self._listing.rows,
            kinds={kind.title: self._kinds[kind] for kind in Kind if self._kinds[kind]},
            identities=len(self._labels),
            skipped=in_reading_order(self._skipped),
            dropped=list(self._listing.dropped),
            doubled=list(self._listing.doubled),
            given_up=self._given_up,
            seconds=seconds,
            crops_per_second=crops_per_second,
        )

    def _check(self) -> None:
        check_skipped(
            self._skipped, self._listing.rows, strict=self._strict, max_skipped=self._share
        )


def check_skipped(
    skipped: Sequence[Rejected],
    rows: int,
    *,
    strict: bool = False,
    max_skipped: float = MAX_SKIPPED,
) -> None:
    """Accept the rows skipped so far, or not.

    Args:
        skipped: all of them.
        rows: how many rows the source has.
        strict: one is too many.
        max_skipped: the largest share of rows that may be skipped.

    Raises:
        UsageError: `max_skipped` is no share.
        SourceError: a row was skipped under `strict`.
        TooManySkippedError: more rows were skipped than allowed.
    """
    if not 0 <= max_skipped <= 1:
        raise UsageError(f"max_skipped must be a share from 0 to 1, got {max_skipped}.")
    if strict and skipped:
        first = skipped[0]
        raise SourceError(f"{first.where} cannot be used (--strict): {first.reason}")
    if len(skipped) > max_skipped * rows:
        raise TooManySkippedError(
            f"{len(skipped):,} of {rows:,} rows cannot be used, more than {max_skipped:.0%}"
            f" (--max-skipped): {some_of_rejected(skipped)}"
        )


def accept_skipped(skipped: Sequence[Rejected], rows: int) -> None:
    """Go on without rows that cannot be used, where they are few; never without a word.

    Raises:
        TooManySkippedError: they are not few.
    """
    check_skipped(skipped, rows)
    if skipped:
        warnings.warn(
            f"{len(skipped):,} of {rows:,} rows cannot be used and are left out; the first,"
            f" {skipped[0].where}: {skipped[0].reason}",
            stacklevel=4,
        )


def in_reading_order(rows: Iterable[Rejected]) -> list[Rejected]:
    """Sorted by where they are, numbers as numbers: line 9 before line 10."""
    return sorted(rows, key=lambda row: [_by_number(part) for part in _DIGITS.split(row.where)])


def rejected_json(rows: Iterable[Rejected]) -> list[dict[str, str]]:
    """Rejected rows as JSON objects."""
    return [row._asdict() for row in rows]


def some_of_rejected(rows: Sequence[Rejected]) -> str:
    """The first few rows with their reasons; "" where there are none."""
    some = "; ".join(f"{row.where}: {row.reason}" for row in rows[:3])
    return f"{some}{' ...' if len(rows) > 3 else ''}"


def _by_number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def _reasons(rows: Sequence[Rejected]) -> list[str]:
    if len(rows) <= _SHOWN:
        return [f"    {row.where}: {row.reason}" for row in rows]
    counted = Counter(row.reason for row in rows).most_common(_SHOWN)
    return [f"    {count:,} x {reason}" for reason, count in counted]
