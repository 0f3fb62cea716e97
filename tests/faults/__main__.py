"""The fault tests: all of them, a short form, or one of them again.

    python -m tests.faults                      all, at most --count trials a row
    python -m tests.faults --short              seconds, for the gate
    python -m tests.faults --replay "sweep build kill 17"
    python -m tests.faults --write              also the tables of docs/reliability.md

What cannot be tried here is NOT RUN, with the reason.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from . import bugs, damage, replay, rivals, sweep
from .child import ERRORS, Wrong
from .works import WORKS, Lab

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
PARTS = ("sweep", "cut", "replay", "damage", "rivals", "bugs")
_MORE = {"store": 20, "image": 4, "record": 4, "tree": 8, "length": 4, "tier": 4, "exchange": 4}
"""So many times as many trials: these are cheap."""
Row = tuple[str, str, str, str]


class Run:
    """Rows of (section, group, trials, what came of them); failures are printed as they come."""

    def __init__(self, lab: Lab, count: int, seed: int) -> None:
        self.lab, self.count, self.seed, self.failed = lab, count, seed, 0
        self.rows: list[Row] = []

    def row(self, section: str, group: str, count: int | None = None, system: str = "") -> None:
        """Do the trials of one group, on a file system of its own where one is named."""
        name = f"{system} {group}".strip()
        if system and (why := sweep.missing(system)):
            self.note(section, name, "0", f"NOT RUN: {why}")
            return
        came: Counter[str] = Counter()
        count = self.count if count is None else count
        for line in bugs.SECTIONS[section].trials(self.lab, group, count, self.seed):
            whole = f"{section} {system} {line}" if system else f"{section} {line}"
            try:
                came[once(self.lab, whole)] += 1
            except Wrong as error:
                came["WRONG"] += 1
                self.failed += 1
                print(f'FAILED: python -m tests.faults --replay "{whole}"\n  {error}', flush=True)
        told = "; ".join(f"{number:,} {what}" for what, number in sorted(came.items()))
        self.note(section, name, f"{came.total():,}", told)

    def note(self, section: str, name: str, count: str, told: str) -> None:
        self.rows.append((section, name, count, told))
        print(f"{section:8} {name:24} {count:>6}  {told}", flush=True)

    def bugs(self, numbers: list[int]) -> None:
        """Each seeded bug has to be found; what finds it has to hold without it."""
        found = 0
        for number in numbers:
            seeded = bugs.SEEDED[number - 1]
            trials, line = bugs.find(self.lab, seeded)
            sound = bool(line) and _holds(self.lab, line)
            found += sound
            told = f"found by `{line}`" if sound else f"NOT FOUND ({line or 'no trial failed'})"
            self.note("bugs", f"{number} {seeded.what}", f"{trials}", told)
        self.failed += len(numbers) - found
        self.note("bugs", "found", f"{len(numbers)}", f"{found} of {len(numbers)}")


def once(lab: Lab, line: str) -> str:
    """One trial, by the line that names it."""
    section, _, rest = line.partition(" ")
    system, _, inner = rest.partition(" ")
    if system in sweep.FILE_SYSTEMS:
        return sweep.cut_trial(lab, system, inner)
    if section == "bug":
        seeded = bugs.SEEDED[int(system) - 1]
        return f"{seeded.what}: {bugs.find(lab, seeded)}"
    return bugs.SECTIONS[section].trial(lab, rest)  # type: ignore[no-any-return]


def _holds(lab: Lab, line: str) -> bool:
    try:
        return bool(once(lab, line))
    except Wrong:
        return False


def short(run: Run) -> None:
    """A few of each: one call in forty, and the cheap ones of the seeded bugs."""
    for work, fault in (("build", "kill"), ("over", "kill"), ("merge", "EIO"), ("warm", "ENOSPC")):
        run.row("sweep", f"{work} {fault}", 2)
    for mode in ("names", "any"):
        run.row("replay", f"build {mode}", 2)
    for group in ("store", "image", "tier"):
        run.row("damage", group, 4)
    for group in rivals.GROUPS:
        run.row("rivals", group, 2)
    run.bugs([2, 4, 5, 7, 9])


def all_of(run: Run, part: str) -> None:
    """The rows of a table of docs/reliability.md."""
    for section, group, system in _groups(part):
        run.row(section, group, run.count * _MORE.get(group, 1), system)
    if part == "rivals":
        exchanges = run.count * _MORE["exchange"]
        try:
            told = rivals.readers(run.lab, exchanges, 4)
        except Wrong as error:
            told, run.failed = f"WRONG: {error}", run.failed + 1
        run.note("rivals", "4 readers beside", f"{exchanges}", told)
    if part == "bugs":
        run.bugs([*range(1, 13)])


def _groups(part: str) -> list[tuple[str, str, str]]:
    """(section, group, file system) of each row."""
    return {
        "sweep": [("sweep", f"{w} {fault}", "") for w in WORKS for fault in ("kill", *ERRORS)],
        "cut": [("sweep", f"{w} cut", system) for system in sweep.FILE_SYSTEMS for w in WORKS],
        "replay": [("replay", f"{w} {mode}", "") for w in WORKS for mode in replay.MODES],
        "damage": [("damage", group, "") for group in damage.GROUPS],
        "rivals": [("rivals", group, "") for group in rivals.GROUPS],
        "bugs": [],
    }[part]


def write_page(run: Run, section: str, command: str) -> None:
    """Put the table of a section between its marks in docs/reliability.md."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    table = "\n".join(_table(run, command))
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")


def _table(run: Run, command: str) -> Iterator[str]:
    yield f"`{command}`, {datetime.datetime.now(datetime.UTC).date()}:"
    yield ""
    yield "| what | trials | what came of them |"
    yield "| --- | ---: | --- |"
    yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row[1:])} |" for row in run.rows)


def main(words: list[str] | None = None) -> int:
    """Exits with 1 if anything came that must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--count", type=int, default=25, help="most trials of a row (25)")
    add("--seed", type=int, default=0, help="chooses which (0)")
    add("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    add("--short", action="store_true", help="seconds")
    add("--write", action="store_true", help=f"write the tables of {PAGE.name}")
    add("--replay", metavar="LINE", help="one trial again")
    args = parser.parse_args(words)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        lab = Lab(Path(folder))
        if args.replay:
            print(once(lab, args.replay))
            return 0
        run = Run(lab, args.count, args.seed)
        if args.short:
            short(run)
        for part in [] if args.short else args.only or PARTS:
            run.rows.clear()
            all_of(run, part)
            if args.write:
                options = f"--only {part} --count {args.count} --seed {args.seed}"
                write_page(run, part, f"make faults FAULTS='{options}'")
    print(f"seed {args.seed}, {run.failed} failed, {time.monotonic() - began:.0f} s")
    return int(run.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
