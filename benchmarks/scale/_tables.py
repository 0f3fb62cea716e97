"""The result as text."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.harness import told
from benchmarks.scale._lookup import RAW, RAW_DECODED

Result = dict[str, Any]
_FIELDS = ("private_dirty", "uss", "pss", "page_tables")


def lines(result: Result, reached: Result) -> Iterator[str]:
    """The tables of what was measured; every number is median (min to max) over the repeats."""
    for count, at in result.get("lookup", {}).items():
        yield f"\nlookups among {count:,}, us less the clock; each process had touched every page"
        yield from _lookups(at)
    if "memory" in result:
        yield "\nMB of a worker process; private_dirty is its own, the rest of uss is page cache"
        for way, of_counts in result["memory"].items():
            yield from _memory(way, of_counts)
    for count, states in result.get("opening", {}).items():
        for state, steps in states.items():
            yield f"\nopening {count:,}, {state}, ms"
            yield from _steps(steps)
    for count, of in result.get("batches", {}).items():
        for way, steps in of["first batch"].items():
            yield f"\nfirst batch of {count:,}, {way}, ms"
            yield from _steps(steps)
        yield f"\nfrom the end of an epoch of {count:,} to the next one's first batch, ms"
        for way, taken in of["between epochs"].items():
            yield f"  {way:42} {_ms(taken)}"
    yield f"\ngoals, which are set for 10,000,000 samples, at {result['keys'][-1]:,}"
    for name, goal in reached.items():
        verdict = "met" if goal["met"] else "MISSED"
        yield f"  {name:58} {goal['median']:8.2f}  at most {goal['limit']:g}: {verdict}"


def _lookups(at: Result) -> Iterator[str]:
    yield f"  {'':24} {'p50':26} {'p99':30} {'p50, of the raw get'}"
    for name, rounds in at.items():
        if isinstance(rounds, str):
            yield f"  {name:24} {rounds}"
            continue
        twin = at[RAW_DECODED if "image" in name else RAW]
        times = [a["p50"] / b["p50"] for a, b in zip(rounds, twin, strict=True)]
        of = f"{told(times)}{' (decoded)' if 'image' in name else ''}"
        p50, p99 = (told([taken[field] for taken in rounds]) for field in ("p50", "p99"))
        yield f"  {name:24} {p50:26} {p99:30} {of}"


def _memory(way: str, of_counts: dict[int, list[dict[str, float]]]) -> Iterator[str]:
    for field in _FIELDS:
        each = [[worker[field] for worker in of_counts[count]] for count in sorted(of_counts)]
        ends = "; ".join(
            f"{count:,}: {told(values, 1)}"
            for count, values in zip(sorted(of_counts), each, strict=True)
        )
        yield f"  {way:38} {field:14} {ends}; gained {median(each[-1]) - median(each[0]):.1f}"


def _steps(steps: dict[str, list[float]]) -> Iterator[str]:
    for step, taken in steps.items():
        yield f"  {step:42} {told(taken) if step.startswith('share') else _ms(taken)}"


def _ms(taken: list[float]) -> str:
    return told([second * 1000 for second in taken], 1)
