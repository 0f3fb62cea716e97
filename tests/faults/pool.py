"""Trials in several processes, each with stores that it made itself."""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from . import kills
from .child import Wrong
from .works import Lab

Once = Callable[[Lab, str], str]
_lab: Lab | None = None  # of a process of the pool


class Outcome(NamedTuple):
    """What came of the trial that `line` names; `wrong` says why it must not."""

    line: str
    what: str
    wrong: str
    tally: Counter[str]
    """What came of each of its kills."""
    seconds: list[float]
    """How long each took."""


def outcome(lab: Lab, once: Once, line: str) -> Outcome:
    """Do one trial."""
    kills.TALLY.clear()
    kills.SECONDS.clear()
    what, wrong = "WRONG", ""
    try:
        what = once(lab, line)
    except Wrong as error:
        wrong = str(error)
    return Outcome(line, what, wrong, Counter(kills.TALLY), [*kills.SECONDS])


class Pool:
    """`jobs` processes that do trials; with one, this process does them.

    Args:
        lab: of this process.
        once: does the trial that a line names.
        jobs: how many processes.
    """

    def __init__(self, lab: Lab, once: Once, jobs: int) -> None:
        self._lab, self._once = lab, once
        self._executor: ProcessPoolExecutor | None = None
        if jobs > 1:
            context = multiprocessing.get_context("fork")
            self._executor = ProcessPoolExecutor(
                jobs, context, initializer=_begin, initargs=(lab.folder,)
            )

    def outcomes(self, lines: Iterable[str], *, apart: bool = True) -> Iterator[Outcome]:
        """Of each line, in order; in this process unless `apart`."""
        if self._executor is None or not apart:
            return (outcome(self._lab, self._once, line) for line in lines)
        return self._executor.map(functools.partial(_outcome, self._once), lines)

    def close(self) -> None:
        """End the processes."""
        if self._executor is not None:
            self._executor.shutdown()


def _begin(folder: Path) -> None:
    global _lab  # noqa: PLW0603 - one for each process
    _lab = Lab(Path(tempfile.mkdtemp(prefix="lab-", dir=folder)))


def _outcome(once: Once, line: str) -> Outcome:
    assert _lab is not None
    return outcome(_lab, once, line)
