"""A build of many crops, many opens and closes, many processes that read one store."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from builders import AtmaCup, BuildSettings, build
from builders.game import draw_game
from lmdb_reid import Store

from .gauges import gauge

_TOGETHER = 300.0  # seconds until all processes have the store open


def large(folder: str, crops: str) -> None:
    """Build a store of so many crops, 32x16; print their number and the most memory it took.

    The frames of one drawn game come again under other names, as links to the same pictures.
    """
    at = Path(folder)
    game = draw_game(at / "game", quarters=2, frames=6, size=(180, 320))
    with game.train_meta.open(newline="") as file:
        rows = list(csv.DictReader(file))
    settings = BuildSettings(size=(32, 16))
    copies = -(-int(crops) // (2 * len(rows)))  # at least half of the crops are negatives
    images = at / "images"
    images.mkdir()
    with (at / "train_meta.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        for copy in range(copies):
            for row in rows:
                row_now = row | {"quarter": f"{row['quarter']}{copy:04d}"}
                out.writerow(row_now)
                picture = images / _picture(row_now)
                if not picture.exists():
                    os.link(game.img_root / _picture(row), picture)
    build(AtmaCup(at / "train_meta.csv", images), at / "large.lmdb", settings, num_workers=2)
    with Store(at / "large.lmdb") as store:
        found = {"crops": len(store), "bytes": _most_memory()}
        assert store.verify().ok
    print(json.dumps(found))


def _picture(row: dict[str, str]) -> str:
    return f"{row['quarter']}__{row['angle']}__{row['session']:>02}__{row['frame']:>02}.jpg"


def _most_memory() -> int:
    """Bytes that were resident at most since this program began."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def opens(path: str, times: str) -> None:
    """Open a store, read a sample and close it; print a line of JSON in each hundredth."""
    count = int(times)
    for number in range(count):
        with Store(path) as store:
            assert store.at(number % len(store)).jpeg
        if (number + 1) % (count // 100) == 0:
            print(json.dumps(asdict(gauge(os.getpid()))), flush=True)


def readers(path: str, processes: str, reads: str) -> None:
    """So many processes read samples drawn at random, all at the same time; print what was wrong.

    They are forked from one that has read the store, and have it open together.
    """
    with Store(path) as store:
        truth = [_of(store, row) for row in range(len(store))]
        context: Any = multiprocessing.get_context("fork")
        barrier, results = context.Barrier(int(processes)), context.SimpleQueue()
        children = [
            context.Process(target=_reads, args=(path, seed, int(reads), truth, barrier, results))
            for seed in range(int(processes))
        ]
        for child in children:
            child.start()
        answers = [results.get() for _ in children]
        for child in children:
            child.join()
        assert all(child.exitcode == 0 for child in children)
    print(json.dumps({"reads": sum(a[0] for a in answers), "wrong": sum(a[1] for a in answers)}))


def _of(store: Store, row: int) -> tuple[str, int, int]:
    one = store.at(row)
    return one.id, one.label, zlib.crc32(one.jpeg)


def _reads(path: str, seed: int, reads: int, truth: list[Any], barrier: Any, results: Any) -> None:
    wrong = done = 0
    with Store(path) as store:
        assert store.at(0)
        barrier.wait(_TOGETHER)
        for row in np.random.default_rng(seed).integers(0, len(truth), reads):
            wrong += _of(store, int(row)) != truth[row]
            done += 1
        barrier.wait(_TOGETHER)
    results.put((done, wrong))
