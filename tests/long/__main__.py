"""Long runs: what grows from epoch to epoch, and what many crops, opens and readers take.

    python -m tests.long                          all of it, about a quarter of an hour
    python -m tests.long --only epochs --epochs 60
    python -m tests.long --write                  also the table and the plot of docs/reliability.md

Each run has a process of its own. Exits with 1 if anything grew that must not, was wrong, or took
more memory than allowed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.page import PAGE, write_table

from . import gauges
from .gauges import SETTLED, Gauge

RUNS = ("epochs", "build", "opens", "readers")
_MOST = 1_000_000_000  # bytes of a build
_ROOT = Path(__file__).resolve().parents[2]


class Long:
    """Rows of (what, how often, what came of it)."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder, self.failed = args, folder, 0
        self.rows: list[tuple[str, str, str]] = []
        self.epochs_of: dict[str, list[Gauge]] = {}
        self._store: Path | None = None

    def note(self, what: str, count: str, found: str, wrong: str) -> None:
        """A row; `wrong` is what must not be, "" where nothing is."""
        self.failed += bool(wrong)
        found += f"; WRONG: {wrong}" if wrong else ""
        self.rows.append((what, count, found))
        print(f"{what:28} {count:>24}  {found}", flush=True)

    @property
    def store(self) -> Path:
        """A drawn store, built when it is first asked for."""
        if self._store is None:
            from .epochs import draw_store

            self._store = draw_store(self.folder)
        return self._store

    def epochs(self) -> None:
        """The training recipe on each engine."""
        from .epochs import ENGINES

        for name in self.args.engine or ENGINES:
            found = self._gauges("epochs", name, self.store, self.args.epochs)
            self.epochs_of[name] = found
            self._flat(f'engine "{name}"', f"{len(found)} epochs", found)

    def build(self) -> None:
        """A build of many crops."""
        (found,) = self._lines("large", self.folder / "large", self.args.crops)
        crops, taken = found["crops"], found["bytes"]
        wrong = "" if taken <= _MOST and crops >= self.args.crops else "too much memory, or too few"
        self.note("build", f"{crops:,} crops", f"{taken / 1e6:,.0f} MB at most", wrong)

    def opens(self) -> None:
        """A store is opened, read and closed again and again by one process."""
        found = self._gauges("opens", self.store, self.args.opens)
        self._flat("open, read a sample, close", f"{self.args.opens:,} times", found)

    def readers(self) -> None:
        """Many processes read one store."""
        args = self.args
        (found,) = self._lines("readers", self.store, args.processes, args.reads)
        wrong = "" if found["reads"] == args.processes * args.reads else "reads are missing"
        wrong = wrong if not found["wrong"] else "other samples than sealed"
        told = f"{found['reads']:,} reads, {found['wrong']} wrong"
        self.note("processes that read at once", f"{args.processes} x {args.reads:,}", told, wrong)

    def _flat(self, what: str, count: str, found: list[Gauge]) -> None:
        early, last = found[SETTLED], found[-1]
        changed = gauges.growth([one.memory for one in found])
        told = (
            f"memory {early.memory / 1e6:,.1f} MB, later {changed / 1e6:+.2f} MB; "
            f"descriptors {early.descriptors}, later {last.descriptors}; "
            f"threads {early.threads}, later {last.threads}; "
            f"processes {early.processes}, later {last.processes}; "
            f"shared memory {early.shared / 1e6:.1f} MB, later {last.shared / 1e6:.1f} MB"
        )
        self.note(what, count, told, ", ".join(gauges.grown(found)))

    def _gauges(self, *words: object) -> list[Gauge]:
        return [Gauge(**line) for line in self._lines(*words)]

    def _lines(self, *words: object) -> list[dict[str, Any]]:
        """What a part prints, in a process of its own."""
        command = [sys.executable, "-m", "tests.long", "--part", *map(str, words)]
        done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]


def part(name: str, *words: str) -> None:
    """One run, in this process; prints lines of JSON."""
    if name == "epochs":
        from .epochs import main as run
    else:
        from . import stores

        run = getattr(stores, name)
    run(*words)


def main(words: list[str] | None = None) -> int:
    """Exits with 1 if anything came that must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.long", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--epochs", type=int, default=200, help=f"of each engine, over {2 * SETTLED} (200)")
    add("--engine", action="append", metavar="NAME", help="only this one")
    add("--crops", type=int, default=200_000, help="of the build (200,000)")
    add("--opens", type=int, default=10_000, help="and closes (10,000)")
    add("--processes", type=int, default=64, help="that read at once (64)")
    add("--reads", type=int, default=1000, help="of each (1,000)")
    add("--only", nargs="+", choices=RUNS, metavar="RUN", help=f"of {', '.join(RUNS)}")
    add("--write", action="store_true", help=f"write the table and the plot of {PAGE.name}")
    add("--part", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.part:
        part(*args.part)
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="long-") as folder:
        runs = Long(args, Path(folder))
        for name in args.only or RUNS:
            getattr(runs, name)()
    if args.write:
        from .plot import draw_plot

        image = draw_plot(runs.epochs_of, PAGE.parent / "img" / "long.svg")
        shown = f"![What each engine holds after each epoch](img/{image.name})"
        options = " ".join(sys.argv[1:]).replace("--write", "").strip()
        command = "make long" + (f" LONG='{options}'" if options else "")
        write_table("long", command, ("what", "how often", "what came of it"), runs.rows, shown)
    print(f"{runs.failed} failed, {time.monotonic() - began:.0f} s")
    return int(runs.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
