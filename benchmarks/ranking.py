"""How fast rankings are scored, and in how much memory.

    python -m benchmarks.ranking               Market-1501's size, beside the textbook's way
    python -m benchmarks.ranking --rerank      and k-reciprocal re-ranking of 19,281 features
    python -m benchmarks.ranking --big 1.0     and 20,000 queries x 200,000 gallery entries; of 0.1,
                                               2,000 x 20,000

Features are random, 512 numbers of float32. Each measurement runs in a process of its own, which
makes them, then takes the time of what follows, and at its end its greatest resident memory. The
textbook's way is what toolboxes do in Python: a whole matrix of float32 distances, its rows
sorted by argsort, a walk through each query's list. Both give the same scores. On a machine that
others use too, the seconds of the cores say more than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import interleaved, keep, seconds, spread, told
from training.ranking import Entries, FeatureDistances, rank, rerank

QUERIES, GALLERY, NUMBERS, IDENTITIES, CAMERAS = 3_368, 15_913, 512, 751, 6
BIG = (20_000, 200_000)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rerank", action="store_true")
    parser.add_argument("--big", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=list(_WAYS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    big = tuple(max(1, int(args.big * count)) for count in BIG)
    if args.only:
        size = big if args.only == "big" else (QUERIES, GALLERY)
        print(json.dumps(_measured(_WAYS[args.only], *size)))
        return
    found: dict[str, list[dict[str, Any]]] = {}

    def in_process(way: str) -> float:
        command = [sys.executable, "-m", "benchmarks.ranking", "--only", way]
        command += ["--big", str(args.big)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found.setdefault(way, []).append(json.loads(run.stdout))
        return float(found[way][-1]["seconds"])

    ways = ["market", "textbook"] + ["rerank"] * args.rerank
    taken = interleaved({way: lambda way=way: in_process(way) for way in ways}, args.repeats)
    if args.big:
        taken |= interleaved({"big": lambda: in_process("big")}, 1)
    ours, theirs = (found[way][0]["mAP"] for way in ("market", "textbook"))
    assert abs(ours - theirs) < 1e-6, (ours, theirs)
    result: dict[str, Any] = {}
    for way, times in taken.items():
        memory = max(run["bytes"] for run in found[way])
        queries, gallery = found[way][0]["size"]
        cpu = [run["cpu_seconds"] for run in found[way]]
        result[way] = {
            "seconds": spread(times),
            "cpu_seconds": spread(cpu),
            "bytes": memory,
            "size": [queries, gallery],
        }
        size = f"{queries:,} x {gallery:,}"
        taken_by = f"{told(times)} s, of the cores {told(cpu)} s, {memory / 1e9:.2f} GB"
        print(f"{way:9} {size:>17}  {taken_by}  {_GOALS[way]}")
    print(f"kept in {keep('ranking', result | {'repeats': args.repeats})}")


def _measured(way: Callable[..., float], queries: int, gallery: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    features = [
        random.standard_normal((count, NUMBERS), dtype=np.float32) for count in (queries, gallery)
    ]
    sides = [
        Entries(
            labels=random.integers(0, IDENTITIES, count), cameras=random.integers(0, CAMERAS, count)
        )
        for count in (queries, gallery)
    ]
    score = 0.0

    def work() -> None:
        nonlocal score
        score = way(*features, *sides)

    before = time.process_time()
    taken = seconds(work)
    cpu = time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": taken,
        "cpu_seconds": cpu,
        "bytes": memory,
        "mAP": score,
        "size": [queries, gallery],
    }


def _rank(queries: Any, gallery: Any, query: Entries, entries: Entries) -> float:
    return rank(FeatureDistances(queries, gallery), query, entries).mAP


def _rerank(queries: Any, gallery: Any, query: Entries, entries: Entries) -> float:
    return rank(rerank(queries, gallery), query, entries).mAP


def _textbook(queries: Any, gallery: Any, query: Any, entries: Any) -> float:
    squares = [np.square(side).sum(1) for side in (queries, gallery)]
    distances = squares[0][:, None] + squares[1][None] - 2 * queries @ gallery.T
    order = np.argsort(distances, axis=1)
    matches = entries.labels[order] == query.labels[:, None]
    precisions = []
    for row, match in enumerate(matches):
        kept = ~(match & (entries.cameras[order[row]] == query.cameras[row]))
        right = match[kept]
        if right.any():
            places = 1 + np.flatnonzero(right)
            precisions.append(np.mean(np.arange(1, len(places) + 1) / places))
    return float(np.mean(precisions))


_WAYS = {"market": _rank, "textbook": _textbook, "rerank": _rerank, "big": _rank}
_GOALS = {
    "market": "(under 10 s)",
    "textbook": "",
    "rerank": "(under 60 s and 2 GB)",
    "big": "(under 4 GB)",
}


if __name__ == "__main__":
    main()
