"""All engines compared: every one checked once, then rounds of all, one process at a time."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.peers._course import Course
from benchmarks.peers._field import Entry
from benchmarks.peers._install import interpreter, missing
from benchmarks.peers._process import EngineFailedError, call
from benchmarks.peers._runner import Job

_LIMIT = 900.0  # seconds for one process


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The same for every engine."""

    batch_size: int = 256
    num_workers: int = 2
    repeats: int = 5
    epochs: int = 3
    """Counted in each process, at least."""
    seconds: float = 3.0
    """Likewise."""


@dataclass(slots=True)
class Rounds:
    """What was found, by the engines' keys."""

    rates: dict[str, list[list[float]]] = field(default_factory=dict)
    """crops/s of each counted epoch of each round."""
    first_epochs: dict[str, list[float]] = field(default_factory=dict)
    """Seconds, starting included, of each round."""
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Why an engine is left out; nothing else is then kept of it."""


def run(entries: Sequence[Entry], course: Course, settings: Settings, envs: Path) -> Rounds:
    """Prepare and check every engine, then run the rounds, one forwards, one backwards."""
    done = Rounds()
    for entry in entries:
        reason = missing(entry.environment, envs)
        if reason is not None:
            _leave(done, entry, reason)
            continue
        with _leaving_if_it_fails(done, entry):
            python, job = interpreter(entry.environment, envs), _job(entry, course, settings)
            call(python, entry.module, "prepare", job, limit=_LIMIT)
            said = call(python, entry.module, "run", _checking(job, entry), limit=_LIMIT)
            done.versions[entry.key] = _only(said, "versions")
            if entry.module != "ceiling":
                done.checks[entry.key] = _only(said, "check")
            _say(f"checked {entry.key}")
    os.sync()  # or the disk would still be busy while the first round runs
    for number in range(settings.repeats):
        for entry in entries[:: 1 if number % 2 == 0 else -1]:
            if entry.key in done.skipped:
                continue
            with _leaving_if_it_fails(done, entry):
                python, job = interpreter(entry.environment, envs), _job(entry, course, settings)
                first, rates = taken(call(python, entry.module, "run", job, limit=_LIMIT))
                done.first_epochs.setdefault(entry.key, []).append(first)
                done.rates.setdefault(entry.key, []).append(rates)
                middle = statistics.median(rates)
                _say(f"round {number + 1} of {settings.repeats}: {entry.key} {middle:,.0f} crops/s")
    return done


def taken(said: Sequence[dict[str, Any]]) -> tuple[float, list[float]]:
    """(seconds of the first epoch, crops/s of each later one) of what a process said."""
    epochs = [line for line in said if "epoch" in line]
    if len(epochs) < 2:
        raise EngineFailedError(f"it told of {len(epochs)} epochs")
    return epochs[0]["seconds"], [line["samples"] / line["seconds"] for line in epochs[1:]]


def _job(entry: Entry, course: Course, settings: Settings) -> Job:
    return Job(
        work=str(course.work),
        out=str(course.work / entry.key),
        store=str(course.store),
        variant=entry.variant,
        decoding=entry.decoding,
        output=entry.output,
        count=course.count,
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        epochs=settings.epochs,
        seconds=settings.seconds,
    )


def _checking(job: Job, entry: Entry) -> Job:
    return replace(job, epochs=0, seconds=0.0, check=entry.module != "ceiling")


def _only(said: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    found = [line[name] for line in said if name in line]
    if len(found) != 1:
        raise EngineFailedError(f"it told its {name} {len(found)} times")
    told: dict[str, Any] = found[0]
    return told


@contextlib.contextmanager
def _leaving_if_it_fails(done: Rounds, entry: Entry) -> Iterator[None]:
    try:
        yield
    except EngineFailedError as error:
        _leave(done, entry, str(error))


def _leave(done: Rounds, entry: Entry, reason: str) -> None:
    for kept in (done.rates, done.first_epochs, done.checks, done.versions):
        kept.pop(entry.key, None)
    done.skipped[entry.key] = reason
    _say(f"skip {entry.key}: {reason}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
