"""How long a split of a million crops is searched for leaks, and in how much memory.

    python -m benchmarks.leaks                  1,000,000 crops, 1 % of which were planted
    python -m benchmarks.leaks --crops 100000

All kinds of leak are looked for, in five parts. Hashes are drawn in two ways: "even", each bit 0
or 1 by chance; "crowded", each crop one of 2,000 poses, every bit of which is wrong in 1 of 8
crops: so bits depend on each other, as those of photographs do. Beside it, on "even" hashes
alone, stands the textbook's pigeonhole for near-duplicates: five bands of 13 bits, hashes
compared where one band agrees. Both find the same. Each measurement runs in a process of its own;
on a machine that others use too, the seconds of the cores say more than those of the clock.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import interleaved, keep, spread, told
from training.splits import Facts, Split, find_leaks
from training.splits._near import bit_count

Hashes = npt.NDArray[np.uint64]

DISTANCE, BITS, PARTS = 4, 64, ("train", "val", "unknown", "query", "gallery")
_WAYS = ("even", "crowded", "five bands")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--crops", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=_WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(_measured(args.only, args.crops)))
        return
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in _WAYS}

    def in_process(way: str) -> float:
        command = [sys.executable, "-m", "benchmarks.leaks", "--only", way]
        command += ["--crops", str(args.crops)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found[way].append(json.loads(run.stdout))
        return float(found[way][-1]["seconds"])

    taken = interleaved({way: lambda way=way: in_process(way) for way in _WAYS}, args.repeats)
    ours, theirs = found["even"][0]["near"], found["five bands"][0]["near"]
    assert ours == theirs, (ours, theirs)
    result: dict[str, Any] = {"crops": args.crops, "repeats": args.repeats}
    for way, times in taken.items():
        cpu = [run["cpu_seconds"] for run in found[way]]
        memory = max(run["bytes"] for run in found[way])
        result[way] = {"seconds": spread(times), "cpu_seconds": spread(cpu), "bytes": memory}
        print(f"{way:10} {told(times)} s, of the cores {told(cpu)} s, {memory / 1e9:.2f} GB")
    print(f"kept in {keep('leaks', result)}")


def _measured(way: str, count: int) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    hashes = _crowded(draw, count) if way == "crowded" else _even(draw, count)
    part = draw.integers(0, len(PARTS), count)
    split = Split(
        parts={name: np.flatnonzero(part == number) for number, name in enumerate(PARTS)},
        labels=[],
    )
    facts = Facts(
        labels=np.arange(count) // 16,
        groups=np.arange(count) // 4096,
        tracks=np.arange(count) // 64,
        copies=draw.integers(0, 2**62, count).astype(np.uint64),
        hashes=hashes,
    )
    before, cpu = time.perf_counter(), time.process_time()
    if way == "five bands":
        near = _five_bands(hashes, part)
    else:
        leaks = find_leaks(split, facts, distance=DISTANCE)
        near = sorted(each.parts + each.samples for each in leaks.shared if each.kind == "near")
    return {
        "seconds": time.perf_counter() - before,
        "cpu_seconds": time.process_time() - cpu,
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "near": [list(each) for each in near],
    }


def _even(draw: np.random.Generator, count: int) -> Hashes:
    hashes = draw.integers(0, 2**64, count, dtype=np.uint64)
    for place in range(count // 100):  # the last 1 % look like the first 1 %
        bits = draw.choice(BITS, int(draw.integers(0, DISTANCE + 1)), replace=False)
        flips = sum(1 << int(bit) for bit in bits)
        hashes[count - 1 - place] = int(hashes[place]) ^ flips
    return hashes


def _crowded(draw: np.random.Generator, count: int) -> Hashes:
    poses = draw.integers(0, 2**64, 2_000, dtype=np.uint64)[draw.integers(0, 2_000, count)]
    wrong = np.full(count, 2**64 - 1, np.uint64)
    for _ in range(3):  # a bit is wrong where three drawings are
        wrong &= draw.integers(0, 2**64, count, dtype=np.uint64)
    return poses ^ wrong


def _five_bands(hashes: Hashes, part: npt.NDArray[np.int64]) -> list[tuple[Any, ...]]:
    touches = np.zeros((len(hashes), len(PARTS)), bool)
    touches[np.arange(len(hashes)), part] = True
    starts = np.linspace(0, BITS, 6).astype(int).tolist()
    for low, high in itertools.pairwise(starts):
        keys = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(keys, kind="stable")
        ordered, keys = hashes[order], keys[order]
        firsts = np.flatnonzero(keys[1:] == keys[:-1])
        step = 1
        while len(firsts):
            near = bit_count(ordered[firsts] ^ ordered[firsts + step]) <= DISTANCE
            one, other = order[firsts[near]], order[firsts[near] + step]
            touches[one, part[other]] = touches[other, part[one]] = True
            step += 1
            firsts = firsts[: np.searchsorted(firsts, len(keys) - step)]
            firsts = firsts[keys[firsts + step] == keys[firsts]]
    return sorted(
        (
            PARTS[one],
            PARTS[other],
            int(touches[part == one, other].sum()),
            int(touches[part == other, one].sum()),
        )
        for one in range(len(PARTS))
        for other in range(one + 1, len(PARTS))
        if touches[part == one, other].any()
    )


if __name__ == "__main__":
    main()
