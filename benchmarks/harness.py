"""What every benchmark shares: interleaved repeats, the machine's passport, dated results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    "lmdb_reid",
    "numpy",
    "lmdb",
    "simplejpeg",
    "opencv-python-headless",
    "pillow",
    "torch",
)


def interleaved(runs: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """What each callable returns, over several rounds: A B C, A B C, ... so that drift hits all
    alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(run())
    return taken


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spread(values: list[float]) -> dict[str, float]:
    """min, median and max."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def told(values: list[float], digits: int = 2) -> str:
    """The same as one short text."""
    low, middle, high = (f"{v:,.{digits}f}" for v in spread(values).values())
    return f"{middle} ({low} to {high})"


def passport() -> dict[str, Any]:
    """The machine and the versions that a number belongs to."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": found,
    }


def keep(name: str, result: Mapping[str, Any]) -> Path:
    """Write a result as a dated file."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"
    file.write_text(json.dumps({"passport": passport()} | dict(result), indent=1) + "\n")
    return file


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "?")
