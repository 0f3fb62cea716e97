"""The LRU: its hit rate and gain, in threads and in processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, default_collate

from benchmarks.guide_rows._inputs import (
    BATCH,
    Inputs,
    Row,
    later_passes,
    over,
    rate,
    spreads,
    stock_passes,
)
from benchmarks.harness import told
from lmdb_reid import CroppedBBoxDataset, LRUCache, ReIDDataset, Store, make_loader


class WithHits:
    """Collates as usual, and tells the cache of the process it does so in."""

    def __init__(self, dataset: CroppedBBoxDataset) -> None:
        self.dataset = dataset

    def __call__(self, items: list[Any]) -> tuple[Any, int, dict[str, int]]:
        assert self.dataset.cache is not None
        return default_collate(items), os.getpid(), self.dataset.cache.stats()


def lru(inputs: Inputs) -> Iterator[Row]:
    """Hit rate and gain of later epochs: one cache for all threads, and one in each process."""
    labels = [sample.label_id for sample in inputs.samples]
    cache = LRUCache(items=len(labels))
    with Store(inputs.store) as store:
        rows = [store.row(sample.id) for sample in inputs.samples]
        plain, kept = ReIDDataset(store, rows), ReIDDataset(store, rows, cache=cache)
        with (
            make_loader(plain, BATCH, shuffle=True, num_workers=inputs.num_workers) as without,
            make_loader(kept, BATCH, shuffle=True, num_workers=inputs.num_workers) as with_cache,
        ):
            runs = {"without": lambda: rate(without), "with": lambda: rate(with_cache)}
            taken = later_passes(runs, inputs.repeats)
    passes = inputs.repeats + 1  # the first one filled it
    hits = cache.stats()["hits"] / (len(labels) * (passes - 1))
    yield _cache_row("threads, one for all", "one cache serves all threads", taken, [hits])
    yield _cache_row("processes, one in each", "-", *_process_caches(inputs, labels))


def _process_caches(
    inputs: Inputs, labels: Sequence[int]
) -> tuple[dict[str, list[float]], list[float]]:
    """Crops per second without and with, and the hit rate in the second epoch."""
    dataset = CroppedBBoxDataset(inputs.files, labels, use_cache=True, cache_size=len(labels))
    loader = DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        num_workers=inputs.num_workers,
        persistent_workers=inputs.num_workers > 0,
        collate_fn=WithHits(dataset),
    )
    hits: list[float] = []
    told_before = 0

    def with_cache() -> float:
        nonlocal told_before
        last: dict[int, int] = {}
        began = time.perf_counter()
        for _, process, stats in loader:
            last[process] = stats["hits"]
        taken = time.perf_counter() - began
        hits.append((sum(last.values()) - told_before) / len(labels))
        told_before = sum(last.values())
        return len(labels) / taken

    runs = {
        "without": stock_passes(inputs, CroppedBBoxDataset(inputs.files, labels)),
        "with": with_cache,
    }
    taken = later_passes(runs, inputs.repeats)
    return taken, hits[1:2]


def _cache_row(where: str, wanted: str, taken: dict[str, list[float]], hits: list[float]) -> Row:
    gain = over(taken["with"], taken["without"])
    return Row(
        promise=f"the LRU, in {where}",
        claim="-",
        wanted=f"hit rate and gain shown; {wanted}" if wanted != "-" else "hit rate and gain shown",
        measured=f"hit rate {hits[0]:.0%} (second epoch on); with {told(taken['with'], 0)},"
        f" without {told(taken['without'], 0)} crops/s",
        ratio=f"{told(gain, 1)}x",
        values=spreads(taken) | spreads({"hit rate": hits, "times": gain}),
    )
