"""Every loader on the same JPEG bytes, cores and batch size, beside the speed of the decoder.

    python -m benchmarks.loaders --install                 once: the peers' environments
    python -m benchmarks.loaders --store games.lmdb        all engines
    python -m benchmarks.loaders --store games.lmdb --recipe bot      the same with augmentation

Each engine runs in a process of its own. First each is checked: its pixels against ours (of a
recipe's output, how much is mirrored, moved and erased), and that every crop comes once in an
epoch. Then come the rounds, one forwards, one backwards. The first epoch of a process is reported
apart and not counted; a ratio is taken within a round, never across two.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks import chart
from benchmarks.harness import keep, passport, spread
from benchmarks.peers._course import SMALL, lay_out, read_crops, read_store, spread_out
from benchmarks.peers._field import ENTRIES, PEERS, Entry, chosen, peers_of
from benchmarks.peers._install import install
from benchmarks.peers._recipe_field import RECIPE_COMPARISONS, RECIPE_ENTRIES
from benchmarks.peers._rounds import Rounds, Settings, run
from lmdb_reid.errors import LmdbReidError

ENVS = Path("~/.cache/lmdb_reid-peers")
CACHE_STATE = (
    "page cache warm: all files were written, and read by each engine, before the first round; cold"
    " engines decode every JPEG in every epoch, warm ones serve pixels that were decoded before"
)
_BUSY = 1.5  # laying the course out takes one core by itself
# (what, of which engine, over which one or in crops/s, at least)
COMPARISONS: tuple[tuple[str, str, str | None, float], ...] = (
    ("accurate DCT, of the decode ceiling", "ours-threads", "ceiling-accurate", 0.92),
    ("fast DCT and upsampling, of their ceiling", "ours-threads-fast", "ceiling-fast", 0.92),
    ("fast_dct=True, against FFCV", "ours-threads-fast", "ffcv-jpg", 1.1),
    ("decoding as FFCV does, against FFCV", "ours-threads-dct", "ffcv-jpg", 1.1),
    ("accurate DCT, against FFCV's fast one", "ours-threads", "ffcv-jpg", 1.0),
    ("against LMDB + DataLoader one by one", "ours-threads", "plain_lmdb-turbo", 1.5),
    ("against JPEG files + PIL + DataLoader", "ours-threads", "files-pil", 3.0),
    ("decoded tier, crops/s", "ours-tier", None, 100_000.0),
    ("decoded tier, of a bare index_select", "ours-tier", "gather-bare", 0.8),
    ("decoded tier, against FFCV's raw pixels", "ours-tier", "ffcv-raw", 1.3),
)


def main(words: Sequence[str] | None = None) -> int:
    """Install, or measure, print and keep.

    Returns:
        0; 1 where something of ours failed or gave wrong pixels or shares, or an environment cannot
        be had; 2 for wrong use.
    """
    args = arguments(words)
    try:
        field = ENTRIES if args.recipe is None else RECIPE_ENTRIES
        if args.install:
            field = ENTRIES + RECIPE_ENTRIES
        entries = chosen(named(args.peers, field), field)
        if args.install:
            return _install(entries, args.envs)
        result = measured(entries, args)
    except LmdbReidError as error:
        print(f"benchmarks.loaders: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"passport": passport()} | result, indent=1) if args.json else told(result))
    if not args.small:
        file = keep("loaders" if args.recipe is None else f"loaders-{args.recipe}", result)
        chart.save(result, file.with_suffix(".svg"))
        print(f"kept in {file}, drawn beside it", file=sys.stderr)
    wrong = faults(result, entries)
    for line in wrong:
        print(f"benchmarks.loaders: {line}", file=sys.stderr)
    return 1 if wrong else 0


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loaders",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--store", type=Path, help="a store whose crops have one size")
    what.add_argument("--crops", type=Path, metavar="DIR", help="a folder of JPEGs of one size")
    what.add_argument("--install", action="store_true", help="make the peers' environments")
    add("--recipe", choices=("bot",), help="augment: flip, pad 10 and crop, random erasing")
    add("--peers", default="all", help=f"all, none, or names: {','.join(PEERS)} (default: all)")
    add("--envs", type=Path, default=ENVS, metavar="DIR", help=f"environments (default: {ENVS})")
    add("--work", type=Path, metavar="DIR", help="for the peers' files, 0.6 MB a crop")
    add("--repeats", type=int, help="rounds (default: 5; with --small 1)")
    add("--epochs", type=int, help="counted in each process, at least (default: 3; --small 2)")
    add("--seconds", type=float, help="counted in each process, at least (default: 3; --small 0)")
    add("--batch-size", type=int, default=256)
    add("--num-workers", type=int, default=2, help="threads or processes that decode (default: 2)")
    add("--small", action="store_true", help="1,000 crops, to see that all run; keeps no result")
    add("--json", action="store_true", help="print the result as JSON, not as tables")
    args = parser.parse_args(words)
    for name, small, whole in (("repeats", 1, 5), ("epochs", 2, 3), ("seconds", 0.0, 3.0)):
        if getattr(args, name) is None:
            setattr(args, name, small if args.small else whole)
    for name in ("repeats", "epochs", "batch_size", "num_workers"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: give 1 or more")
    args.envs = args.envs.expanduser().absolute()
    return args


def named(peers: str, field: Sequence[Entry] = ENTRIES) -> list[str]:
    """The peers of a field that `--peers` names."""
    if peers in ("all", "none"):
        return list(peers_of(field)) if peers == "all" else []
    return [name for name in peers.split(",") if name]


def measured(entries: Sequence[Entry], args: argparse.Namespace) -> dict[str, Any]:
    """Lay out the course, do the rounds, and sum up."""
    jpegs = read_store(args.store) if args.store else read_crops(args.crops)
    taken = spread_out(jpegs, SMALL) if args.small else jpegs
    settings = Settings(
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        repeats=args.repeats,
        epochs=args.epochs,
        seconds=args.seconds,
    )
    with tempfile.TemporaryDirectory(prefix="lmdb_reid-loaders-", dir=args.work) as folder:
        store = args.store if len(taken) == len(jpegs) else None
        course = lay_out(taken, Path(folder).absolute(), store)
        load = os.getloadavg()[0]
        if load > _BUSY:
            print(f"this machine is busy (load {load:.1f}): its figures mislead", file=sys.stderr)
        done = run(entries, course, settings, args.envs)
    return {
        "crops": course.count,
        "size": course.size,
        "jpeg_bytes": course.nbytes,
        "settings": asdict(settings),
        "cache_state": CACHE_STATE,
        "load_before": load,
    } | summary(done, entries)


def summary(done: Rounds, entries: Sequence[Entry]) -> dict[str, Any]:
    """What is kept of the rounds: each engine's rates and ratios, and the comparisons."""
    middle = {key: [statistics.median(r) for r in rounds] for key, rounds in done.rates.items()}
    engines = {
        entry.key: {
            "title": entry.title,
            "group": entry.group,
            "decoding": entry.decoding,
            "output": entry.output,
            "warm": entry.warm,
            "crops_per_s": spread(list(chain(*done.rates[entry.key]))),
            "of_ceiling": _ratio(middle, entry.key, entry.ceiling),
            "first_epoch_s": spread(done.first_epochs[entry.key]),
            "pixels": done.checks.get(entry.key),
            "versions": done.versions[entry.key],
            "rounds": done.rates[entry.key],
        }
        for entry in entries
        if entry.key in done.rates
    }
    comparisons = [
        {"what": what, "of": of, "over": over, "at_least": least, "found": found}
        for what, of, over, least in COMPARISONS + RECIPE_COMPARISONS
        if (found := _ratio(middle, of, over)) is not None
    ]
    return {"engines": engines, "comparisons": comparisons, "skipped": done.skipped}


def _ratio(middle: dict[str, list[float]], of: str, over: str | None) -> dict[str, float] | None:
    """min, median and max, over the rounds, of one engine's median rate over another's."""
    if of not in middle or (over is not None and over not in middle):
        return None
    below = [1.0] * len(middle[of]) if over is None else middle[over]
    return spread([a / b for a, b in zip(middle[of], below, strict=True)])


def faults(result: dict[str, Any], entries: Sequence[Entry]) -> list[str]:
    """What must not be: something of ours that failed, or whose pixels or crops are not right."""
    own = {entry.key for entry in entries if entry.group != "peer"}
    failed = [f"{key}: {why}" for key, why in result["skipped"].items() if key in own]
    wrong = [
        f"{key}: {pixels_told(engine)}"
        for key, engine in result["engines"].items()
        if key in own and engine["pixels"] and not is_right(engine["pixels"])
    ]
    return failed + wrong


def is_right(check: dict[str, Any]) -> bool:
    """Whether pixels are equal, or a recipe's shares as expected, and every crop came once."""
    apart = check["off"] if "off" in check else check["largest"]
    return not (apart or check["missing"] or check["repeated"])


def pixels_told(engine: dict[str, Any]) -> str:
    """How an engine's output compares with ours of the same decoding, or with the recipe."""
    check = engine["pixels"]
    if check is None:
        return "-"
    if "off" in check:
        told = ", ".join(
            f"{name} {share:.3f}"
            + (f" (not {check['expected'][name]:.3f})" if name in check["off"] else "")
            for name, share in check["found"].items()
        )
    else:
        largest, mean = check["largest"], check["mean"]
        told = "equal" if largest == 0 else f"up to {largest}, mean {mean:.2f} off"
    for what in ("missing", "repeated"):
        if check[what]:
            told += f", {check[what]} crops {what}"
    return told


def told(result: dict[str, Any]) -> str:
    """The result as tables."""
    lines = [
        f"{result['crops']:,} crops, {result['jpeg_bytes'] / result['crops'] / 1e3:.1f} kB each;"
        f" {', '.join(f'{name} {value}' for name, value in result['settings'].items())}",
        "",
        f"{'':46}{'crops/s':>9}{'min':>9}{'max':>9}   {'of ceiling':19}{'first':>7}  pixels",
    ]
    for engine in result["engines"].values():
        rate, ratio = engine["crops_per_s"], engine["of_ceiling"]
        share = "{median:.3f} ({min:.3f}-{max:.3f})".format(**ratio) if ratio else "-"
        lines.append(
            f"{engine['title']:46}{rate['median']:9,.0f}{rate['min']:9,.0f}{rate['max']:9,.0f}"
            f"   {share:19}{engine['first_epoch_s']['median']:6.1f}s  {pixels_told(engine)}"
        )
    lines += ["", f"{'lmdb_reid':46}{'median':>9}{'min':>9}{'max':>9}   at least"]
    for row in result["comparisons"]:
        form = ",.0f" if row["over"] is None else ".3f"
        low, middle, high = (format(row["found"][name], form) for name in ("min", "median", "max"))
        lines.append(
            f"{row['what']:46}{middle:>9}{low:>9}{high:>9}   {format(row['at_least'], ',')}"
        )
    lines += [f"skip {key}: {why}" for key, why in result["skipped"].items()]
    return "\n".join(lines)


def _install(entries: Sequence[Entry], envs: Path) -> int:
    environments = dict.fromkeys(entry.environment for entry in entries if entry.environment)
    there = [install(environment, envs) for environment in environments]
    return 0 if all(there) else 1


if __name__ == "__main__":
    sys.exit(main())
