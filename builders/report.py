"""What a build did: for people, and as report.json beside the manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from builders.sources import LeftOut
from lmdb_reid.machine import size_in_words

_LISTED = 10_000
_SHOWN = 8


@dataclass(slots=True, kw_only=True)
class Report:
    """Counts of a finished build, or of what a dry run expects."""

    out: str
    frames: int
    rows: int
    kinds: dict[str, int] = field(default_factory=dict)
    """Samples by kind."""
    identities: int = 0
    skipped: list[LeftOut] = field(default_factory=list)
    """Rows that could not be used."""
    dropped: list[LeftOut] = field(default_factory=list)
    """Rows left out on purpose."""
    seconds: float = 0.0
    """Wall time of this run (a resumed build: of the last run)."""
    crops_per_second: float = 0.0
    """Crops cut in this run, over its time."""
    size_bytes: int = 0
    """Size on disk; of a dry run, an estimate."""
    dry_run: bool = False

    @property
    def samples(self) -> int:
        """Samples of all kinds."""
        return sum(self.kinds.values())

    def to_json(self) -> bytes:
        """The report as JSON; at most 10,000 rows of each list, with the true counts beside."""
        fields = asdict(self)
        del fields["size_bytes"]  # known when the store is sealed, this file in it
        for name in ("skipped", "dropped"):
            rows: Sequence[LeftOut] = getattr(self, name)
            fields[name] = [asdict(row) for row in rows[:_LISTED]]
            fields[f"{name}_rows"] = len(rows)
        return (
            json.dumps(fields | {"samples": self.samples}, indent=1, ensure_ascii=False).encode()
            + b"\n"
        )

    @classmethod
    def from_json(cls, data: bytes) -> Report:
        """The reverse of `to_json`."""
        fields = json.loads(data)
        for name in ("skipped", "dropped"):
            fields[name] = [LeftOut(**row) for row in fields[name]]
            del fields[f"{name}_rows"]
        del fields["samples"]
        return cls(**fields)

    def lines(self) -> list[str]:
        """The summary that the command prints."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items())
        told = [
            f"{'would write' if self.dry_run else 'wrote'} {self.out}",
            f"  samples     {self.samples:,} ({kinds}) of {self.identities:,} identities,"
            f" from {self.frames:,} frames and {self.rows:,} rows",
        ]
        for title, rows in (("skipped", self.skipped), ("left out", self.dropped)):
            told += [f"  {title:<11} {len(rows):,} rows", *_reasons(rows)]
        about = "about " if self.dry_run else ""
        told.append(f"  size        {about}{size_in_words(self.size_bytes)}")
        rate = f" ({self.crops_per_second:,.0f} crops/s)" if self.crops_per_second else ""
        told.append(f"  time        {about}{self.seconds:,.1f} s{rate}")
        if self.skipped and not self.dry_run:
            told.append(f"  every skipped row, with its line: {Path(self.out) / 'report.json'}")
        return told


def _reasons(rows: Sequence[LeftOut]) -> list[str]:
    if len(rows) <= _SHOWN:
        return [f"    line {row.line}: {row.reason}" for row in rows]
    counted = Counter(row.reason for row in rows).most_common(_SHOWN)
    return [f"    {count:,} x {reason}" for reason, count in counted]
