"""What the number of samples costs: lookups, opening, the first batch, epochs, a worker's memory.

    python -m benchmarks.scale --keys 1e3,1e4,1e5,1e6,1e7 [--dir DIR] [--parts A,B] [--json]

Stores of tiny samples are built in DIR (a temporary folder unless given) and found there by the
next run: 1e7 samples take some 8 GB with their twins, and twice that while they are built. HDF5 is
measured where h5py is installed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import keep, passport, spread
from benchmarks.scale import _data, _loading, _lookup, _tables

PARTS = ("lookup", "memory", "opening", "batches")
ENGINES = ("processes", "dataloader", _loading.PLAIN)
GOALS = {
    "view lookup, times a raw LMDB get (p50)": 1.5,
    "memory that a worker of engine='processes' gains, MB": 5.0,
    "memory that a worker of engine='dataloader' gains, MB": 5.0,
    "opening, warm, ms": 50.0,
    "opening, cold, ms": 50.0,
}
Result = dict[Any, Any]


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print and keep; 0."""
    args = _arguments(given)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = _measured(folder, args)
    reached = _reached(result)
    if args.json:
        print(json.dumps({"passport": passport(), "goals": reached} | result, indent=1))
    else:
        print("\n".join(_tables.lines(result, reached)))
    if not args.small:
        _tell(f"kept in {keep('scale', result | {'goals': reached})}")
    return 0


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    text = __doc__.splitlines()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=text[0], epilog=" ".join(text[4:])
    )
    parser.add_argument("--keys", type=_keys, metavar="N,N", help="samples (default: 1e3 to 1e7)")
    parser.add_argument("--dir", type=Path, help="where stores are kept from run to run")
    parser.add_argument(
        "--parts", type=lambda text: text.split(","), default=PARTS, metavar=",".join(PARTS)
    )
    parser.add_argument("--repeats", type=int, help="rounds (default: 5; with --small 1)")
    parser.add_argument("--lookups", type=int, default=10_000, help="of a round")
    parser.add_argument("--json", action="store_true", help="print JSON, not tables")
    parser.add_argument(
        "--small", action="store_true", help="1e3 and 1e4, to see that all runs; keeps no result"
    )
    args = parser.parse_args(given)
    args.keys = args.keys or _keys("1e3,1e4" if args.small else "1e3,1e4,1e5,1e6,1e7")
    args.repeats = args.repeats or (1 if args.small else 5)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return args


def _keys(text: str) -> list[int]:
    """Numbers of samples, ascending: "1e3,1e4" is [1000, 10000]."""
    return sorted({int(float(part)) for part in text.split(",")})


def _measured(folder: Path, args: argparse.Namespace) -> Result:
    result: Result = {"keys": args.keys, "repeats": args.repeats}
    ends = _ends(args.keys)
    if "lookup" in args.parts:
        result["lookup"] = {}
        for count in args.keys:
            _tell(f"lookups among {count:,}")
            result["lookup"][count] = _lookup.measure(
                folder, count, repeats=args.repeats, lookups=args.lookups
            )
    stores = {count: _data.store(folder, count) for count in ends}
    if "memory" in args.parts:
        result["memory"] = _memory(stores, args.repeats)
    if "opening" in args.parts:
        result["opening"] = _opening(stores, args.repeats)
    if "batches" in args.parts:
        result["batches"] = _batches(stores, args.repeats)
    return result


def _ends(keys: Sequence[int]) -> list[int]:
    """The most samples and a hundredth of them (or the fewest): between these, growth is told."""
    return sorted({keys[-1] // 100 if keys[-1] // 100 in keys else keys[0], keys[-1]})


def _memory(stores: dict[int, Path], repeats: int) -> Result:
    """way -> samples -> what each worker holds, of all repeats."""
    found: Result = {way: {count: [] for count in stores} for way in ENGINES}
    for number in range(repeats):
        _tell(f"memory of workers, {number + 1} of {repeats}")
        for way in ENGINES:
            for count, path in stores.items():
                found[way][count] += _loading.apart(_loading.worker_memory, path, way)
    return found


def _opening(stores: dict[int, Path], repeats: int) -> Result:
    """samples -> "warm" or "cold" -> step -> seconds of all repeats."""
    found: Result = {}
    for _ in range(repeats):
        for count, path in stores.items():
            _tell(f"opening {count:,}")
            for state in ("cold", "warm"):
                steps: Result = {}
                for work in (_loading.opening, _loading.opening_raw):
                    steps |= _loading.apart(work, path, count, cold=state == "cold")
                _gather(found.setdefault(count, {}).setdefault(state, {}), steps)
    return found


def _batches(stores: dict[int, Path], repeats: int) -> Result:
    """samples -> "first batch", "between epochs" and "permutation"."""
    found: Result = {}
    for count, path in stores.items():
        of: Result = found.setdefault(count, {"first batch": {}})
        for _ in range(repeats):
            _tell(f"first batch of {count:,}")
            for way in ("threads", _loading.PLAIN):
                for state in ("cold", "warm"):
                    times = _loading.apart(_loading.first_batch, path, way, cold=state == "cold")
                    _gather(of["first batch"].setdefault(f"{way}, {state}", {}), times)
        _tell(f"epochs of {count:,}")
        of["between epochs"] = {
            "threads": _loading.apart(_loading.between_epochs, path, count, repeats=repeats),
            _loading.PLAIN: _loading.apart(_loading.between_epochs_plain, path, repeats=repeats),
            "drawing the order alone": _loading.apart(_loading.permutation, count, repeats=repeats),
        }
    return found


def _gather(into: dict[str, list[float]], times: dict[str, float]) -> None:
    for step, taken in times.items():
        into.setdefault(step, []).append(taken)


def _reached(result: Result) -> Result:
    """goal -> what was measured, the limit, and whether it was met."""
    most = result["keys"][-1]
    found: dict[str, list[float]] = {}
    names = iter(GOALS)
    view, processes, dataloader, warm, cold = names
    if "lookup" in result:
        found[view] = _ratio(result["lookup"][most], _lookup.VIEW, _lookup.RAW, "p50")
    if "memory" in result:
        for name, engine in ((processes, "processes"), (dataloader, "dataloader")):
            found[name] = [gained(result["memory"][engine], "private_dirty")]
    if "opening" in result:
        for name, state in ((warm, "warm"), (cold, "cold")):
            found[name] = [s * 1000 for s in result["opening"][most][state]["Store(path)"]]
    return {
        name: spread(values) | {"limit": GOALS[name], "met": median(values) <= GOALS[name]}
        for name, values in found.items()
    }


def gained(of_counts: dict[int, list[dict[str, float]]], field: str) -> float:
    """Megabytes by which workers' median grows from the fewest samples to the most."""
    medians = [median(worker[field] for worker in of_counts[count]) for count in sorted(of_counts)]
    return medians[-1] - medians[0]


def _ratio(at: Result, name: str, twin: str, field: str) -> list[float]:
    """Round by round, so that drift hits both."""
    return [a[field] / b[field] for a, b in zip(at[name], at[twin], strict=True)]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
