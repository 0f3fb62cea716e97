"""From a folder in Market-1501's layout to mAP in three commands, beside colour histograms.

    python -m benchmarks.search --data DIR      DIR holds bounding_box_test, query, ...

The commands are `lmdb-reid build`, `split --rule identity` and `train`; the last line of the third
is the mAP. Beside it: a histogram of the colours of each crop, 8 bins a channel in an upper and a
lower half, compared by the square root of its shares (Hellinger's distance); and features drawn at
random. All rank the same queries and gallery by the same rules.
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

import numpy as np

from benchmarks.harness import keep
from lmdb_reid.store import Store
from training.data import StoreData
from training.ranking import FeatureDistances, RankScores, rank

_BINS, _HALVES = 8, 2


def main() -> None:
    """Run, compare and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", default="128x64")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, split = Path(folder, "s.lmdb"), Path(folder, "split.json")
        taken = {
            "build": _run(
                ["build", "--format", "market1501", "--root", args.data, "--out", store],
                ["--size", args.size],
            )[0],
            "split": _run(["split", store, "--rule", "identity", "-o", split])[0],
        }
        taken["train"], said = _run(
            ["train", "--store", store, "--split", split, "--out", Path(folder, "run"), "--json"],
            ["--max-epochs", args.epochs, "--seed", args.seed],
        )
        ours = json.loads(said)
        histograms, chance = _baselines(store, split, args.seed)
    print(", ".join(f"{command} {seconds:.1f} s" for command, seconds in taken.items()))
    print(f"trained     mAP {ours['mAP']:.4f}, CMC-1 {ours['cmc']['1']:.4f}")
    print(f"histograms  mAP {histograms.mAP:.4f}, CMC-1 {histograms.cmc[1]:.4f}")
    print(f"at random   mAP {chance.mAP:.4f}, CMC-1 {chance.cmc[1]:.4f}")
    print(
        f"{ours['queries']} queries, {ours['left_out']} left out, {chance.gallery} in the gallery"
    )
    result: dict[str, Any] = {
        "seconds": taken,
        "trained": {name: ours[name] for name in ("mAP", "mINP", "cmc", "queries", "left_out")},
        "histograms": histograms.summary(),
        "random": chance.summary(),
        "epochs": args.epochs,
        "size": args.size,
        "seed": args.seed,
    }
    print(f"kept in {keep('search', result)}")


def _run(*words: list[Any]) -> tuple[float, str]:
    """Seconds that a command takes, and what it prints."""
    command = [
        sys.executable,
        "-m",
        "lmdb_reid.cli",
        *(str(word) for part in words for word in part),
    ]
    before = time.perf_counter()
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - before, run.stdout


def _baselines(store: Path, split: Path, seed: int) -> tuple[RankScores, RankScores]:
    data = StoreData(store, split)
    data.setup()
    draw = np.random.default_rng(seed)
    rows = [data.split[part] for part in ("query", "gallery")]
    entries = [data.entries(some) for some in rows]
    with Store(store) as opened:
        colours = [np.stack([_histogram(opened.at(row).image) for row in some]) for some in rows]
    noise = [draw.standard_normal((len(some), 64)) for some in rows]
    found = [rank(FeatureDistances(*features), *entries) for features in (colours, noise)]
    return found[0], found[1]


def _histogram(image: Any) -> Any:
    """The square roots of the shares of colours, float [2 * 512], in two halves of a crop."""
    bins = image.astype(np.int64) * _BINS // 256
    codes = (bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2]
    halves = np.array_split(codes, _HALVES)
    counts = [np.bincount(half.ravel(), minlength=_BINS**3) / half.size for half in halves]
    return np.sqrt(np.concatenate(counts))


if __name__ == "__main__":
    main()
