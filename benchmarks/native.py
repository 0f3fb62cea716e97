"""How fast crops of differing sizes are read at one size, beside the decoder and resizer alone.

    python -m benchmarks.native --data DIR     DIR holds train_meta.csv and images/ (atmaCup layout)

The store is built with --size native. The twin calls the same decoder (scaled where a crop is at
least twice as large as wanted) and the same resizer on bytes in memory, on as many threads, each
into a batch-sized buffer that it keeps. No batch is handed over, nothing is checked.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import interleaved, keep, spread, told
from builders import AtmaCup, BuildSettings, build
from lmdb_reid import ReIDDataset, Store, codec, make_loader
from lmdb_reid.machine import available_cores

SIZE, BATCH, SPAN = (256, 128), 256, 32
GOAL = 0.85


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    source = AtmaCup(args.data / "train_meta.csv", args.data / "images", bbox_mode="keep")
    with tempfile.TemporaryDirectory() as folder:
        build(source, Path(folder) / "native.lmdb", BuildSettings(size=None))
        with Store(Path(folder) / "native.lmdb") as store:
            taken = _measured(store, args.num_workers, args.repeats)
            count = len(store)
    share = [ours / alone for ours, alone in zip(taken["loader"], taken["alone"], strict=True)]
    print(f"{count} crops of their own sizes at {SIZE[0]}x{SIZE[1]}, {args.num_workers} threads")
    print(f"decoder and resizer alone  {told(taken['alone'], 0)} crops/s")
    print(f"make_loader                {told(taken['loader'], 0)} crops/s")
    print(f"share                      {told(share)} (at least {GOAL})")
    result: dict[str, Any] = {name: spread(rates) for name, rates in taken.items()}
    settings = {
        "crops": count,
        "num_workers": args.num_workers,
        "batch": BATCH,
        "repeats": args.repeats,
    }
    file = keep("native", result | {"share": spread(share), "at_least": GOAL} | settings)
    print(f"kept in {file}")


def _measured(store: Store, num_workers: int, repeats: int) -> dict[str, list[float]]:
    """Crops per second of epochs of both, in turns, after one of each."""
    jpegs = [store.at(row).jpeg for row in range(len(store))]
    buffers = [np.empty((BATCH, *SIZE, 3), np.uint8) for _ in range(num_workers)]
    dataset = ReIDDataset(store, size=SIZE)
    _check_equal(dataset, jpegs)
    with make_loader(
        dataset, BATCH, shuffle=True, engine="threads", num_workers=num_workers
    ) as loader:
        runs = {
            "alone": lambda: _rate(len(jpegs), lambda: _alone(jpegs, buffers)),
            "loader": lambda: _rate(len(jpegs), lambda: _read(loader)),
        }
        for run in runs.values():
            run()
        return interleaved(runs, repeats)


def _rate(count: int, work: Any) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def _read(loader: Any) -> None:
    for batch in loader:
        del batch


def _alone(jpegs: list[bytes], buffers: list[Any]) -> None:
    order = np.random.default_rng().permutation(len(jpegs)).tolist()
    spans = itertools.count(0, SPAN)  # each next() of it is atomic

    def work(spans: Iterator[int], buffer: Any) -> None:
        for first in spans:
            if first >= len(order):
                return
            for place, row in enumerate(order[first : first + SPAN], first):
                _decode(jpegs[row], buffer[place % BATCH])

    threads = [threading.Thread(target=work, args=(spans, buffer)) for buffer in buffers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _decode(jpeg: bytes, out: Any) -> None:
    codec.resize(codec.decode_scaled(jpeg, SIZE), SIZE, out)


def _check_equal(dataset: ReIDDataset, jpegs: list[bytes]) -> None:
    """Both make the same pixels: else their rates say nothing."""
    one, other = (np.empty((BATCH, *SIZE, 3), np.uint8) for _ in range(2))
    rows = np.linspace(0, len(jpegs) - 1, BATCH).astype(np.int64)
    dataset.crops.read(rows, one)
    for row, out in zip(rows, other, strict=True):
        _decode(jpegs[row], out)
    assert np.array_equal(one, other)


if __name__ == "__main__":
    main()
