"""Workers that live from epoch to epoch: what the turn from one to the next costs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from benchmarks.guide_rows._inputs import BATCH, Inputs, Row, later_passes, over, spreads
from benchmarks.harness import told
from lmdb_reid import ReIDDataset, Store, make_loader

TURN_ROWS = 1_000  # of an epoch whose end is looked at


def turn(inputs: Inputs) -> Row:
    """Milliseconds from the end of an epoch to the first batch of the next, three ways."""
    with Store(inputs.store) as store:
        dataset = ReIDDataset(store, range(min(TURN_ROWS, len(store))))
        stock = [
            DataLoader(
                dataset,
                BATCH,
                shuffle=True,
                num_workers=inputs.num_workers,
                persistent_workers=lasting,
            )
            for lasting in (False, True)
        ]
        with make_loader(dataset, BATCH, shuffle=True, num_workers=inputs.num_workers) as ours:
            runs = {
                "DataLoader, new workers": lambda: _turn_ms(stock[0]),
                "DataLoader, persistent": lambda: _turn_ms(stock[1]),
                "make_loader": lambda: _turn_ms(ours),
            }
            taken = later_passes(runs, inputs.repeats)
    return Row(
        promise="second and later epochs with persistent workers",
        claim="50-70 % faster",
        wanted="under 50 ms from the end of an epoch to the first batch of the next",
        measured="; ".join(f"{name} {told(values, 1)}" for name, values in taken.items()) + " ms",
        ratio=f"{told(over(taken['DataLoader, new workers'], taken['make_loader']), 1)}x",
        values=spreads({f"{name}, ms": values for name, values in taken.items()}),
    )


def _turn_ms(loader: Iterable[Any]) -> float:
    for _ in loader:
        pass
    began = time.perf_counter()
    batches = iter(loader)
    next(batches)
    taken = 1e3 * (time.perf_counter() - began)
    for _ in batches:  # a pass that is broken off would be gone on with
        pass
    return taken
