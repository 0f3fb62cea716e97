"""The fault tests: all of them, a short form, or one of them again.

    python -m tests.faults                      all, at most --count trials a row
    python -m tests.faults --short              seconds, for the gate
    python -m tests.faults --jobs 16            by as many processes
    python -m tests.faults --only cut --rows xfs    of one part, the rows whose name has this word
    python -m tests.faults --replay "sweep build kill 17"
    python -m tests.faults --write              also the tables of docs/reliability.md

What cannot be tried here is NOT RUN, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.page import PAGE, write_table

from . import bugs, damage, kills, limits, replay, rivals, sweep
from .child import ERRORS, Wrong
from .pool import Pool
from .works import WORKS, Lab

PARTS = ("sweep", "cut", "replay", "limits", "damage", "rivals", "kills", "bugs")
_MORE = {"store": 20, "image": 4, "record": 4, "tree": 8, "length": 4, "tier": 4, "exchange": 4}
"""So many times as many trials: these are cheap."""
_ALONE = ("rivals",)
"""Sections whose trials run one after the other: they are of several processes that take turns."""
HEAD = ("what", "trials", "what came of them")
Row = tuple[str, str, str, str]


class Run:
    """Rows of (section, group, trials, what came of them); failures are printed as they come."""

    def __init__(self, lab: Lab, pool: Pool, count: int, seed: int, chosen: list[str]) -> None:
        self.lab, self.pool, self.count, self.seed, self.failed = lab, pool, count, seed, 0
        self.chosen = chosen
        """Names of rows, or words of such; empty for all rows."""
        self.rows: list[Row] = []

    def row(self, section: str, group: str, count: int | None = None, system: str = "") -> None:
        """Do the trials of one group, on a file system of its own where one is named."""
        name = f"{system} {group}".strip()
        if self.chosen and not any(word in (name, *name.split()) for word in self.chosen):
            return
        if system and (why := sweep.missing(system)):
            self.note(section, name, "0", f"NOT RUN: {why}")
            return
        module: Any = bugs.SECTIONS[section]
        if hasattr(module, "why_not") and (why := module.why_not(group)):
            self.note(section, name, "0", f"NOT RUN: {why}")
            return
        came: Counter[str] = Counter()
        count = self.count if count is None else count
        trials = module.trials(self.lab, group, count, self.seed)
        lines = [f"{section} {system} {line}" if system else f"{section} {line}" for line in trials]
        tally: Counter[str] = Counter()
        seconds: list[float] = []
        for one in self.pool.outcomes(lines, apart=section not in _ALONE):
            came[one.what] += 1
            tally += one.tally
            seconds += one.seconds
            if one.wrong:
                self.failed += 1
                print(f'FAILED: python -m tests.faults --replay "{one.line}"\n  {one.wrong}')
        if tally:
            del came[f"{kills.KILLS} kills"]  # `tally` says more
        told = "; ".join(f"{number:,} {what}" for what, number in sorted((came + tally).items()))
        if seconds:
            told += f"; {statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s at most"
        self.note(section, name, f"{len(lines):,}", told)

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
    for group in ("store", "image", "tree", "length", "tier"):
        run.row("damage", group, 4)
    for group in rivals.GROUPS:
        run.row("rivals", group, 2)
    run.bugs([2, 4, 5, 7, 9, 13])


def all_of(run: Run, part: str) -> None:
    """The rows of a table of docs/reliability.md."""
    for section, group, system in _groups(part):
        run.row(section, group, run.count * _MORE.get(group, 1), system)
    if part == "rivals" and not run.chosen:
        exchanges = run.count * _MORE["exchange"]
        try:
            told = rivals.readers(run.lab, exchanges, 4)
        except Wrong as error:
            told, run.failed = f"WRONG: {error}", run.failed + 1
        run.note("rivals", "4 readers beside", f"{exchanges}", told)
    if part == "bugs":
        run.bugs([*range(1, len(bugs.SEEDED) + 1)])


def _groups(part: str) -> list[tuple[str, str, str]]:
    """(section, group, file system) of each row."""
    return {
        "sweep": [("sweep", f"{w} {fault}", "") for w in WORKS for fault in ("kill", *ERRORS)],
        "cut": [("sweep", f"{w} cut", system) for system in sweep.FILE_SYSTEMS for w in WORKS],
        "replay": [("replay", f"{w} {mode}", "") for w in WORKS for mode in replay.MODES],
        "damage": [("damage", group, "") for group in damage.GROUPS],
        "rivals": [("rivals", group, "") for group in rivals.GROUPS],
        "limits": [("limits", group, "") for group in limits.GROUPS],
        "kills": [("kills", group, "") for group in kills.GROUPS],
        "bugs": [],
    }[part]


def main(words: list[str] | None = None) -> int:
    """Exits with 1 if anything came that must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--count", type=int, default=25, help="most trials of a row (25)")
    add("--seed", type=int, default=0, help="chooses which (0)")
    add("--jobs", type=int, default=1, metavar="N", help="processes that do the trials (1)")
    add(
        "--rows",
        nargs="+",
        default=[],
        metavar="WORD",
        help="rows of this name, or with this word in it",
    )
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
        with contextlib.closing(Pool(lab, once, args.jobs)) as pool:
            run = Run(lab, pool, args.count, args.seed, args.rows)
            if args.short:
                short(run)
            for part in [] if args.short else args.only or PARTS:
                run.rows.clear()
                all_of(run, part)
                if args.write and not args.rows:
                    options = f"--only {part} --count {args.count} --seed {args.seed}"
                    cells = [row[1:] for row in run.rows]
                    write_table(part, f"make faults FAULTS='{options}'", HEAD, cells)
    print(f"seed {args.seed}, {run.failed} failed, {time.monotonic() - began:.0f} s")
    return int(run.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
