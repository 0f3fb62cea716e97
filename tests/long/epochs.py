"""Epoch after epoch of one engine, as training reads them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from builders import AtmaCup, BuildSettings, build
from builders.game import draw_game
from lmdb_reid import PKSampler, ReIDDataset, make_loader

from .gauges import gauge

ENGINES: dict[str, dict[str, Any]] = {
    "threads": {"engine": "threads"},
    "processes": {"engine": "processes"},
    "dataloader": {"engine": "dataloader"},
    "resident": {"engine": "threads", "resident": True},
}
_P, _K = 8, 4
_SIZE = (64, 32)


def draw_store(folder: Path) -> Path:
    """960 people, 32 batches an epoch, and as many negatives."""
    game = draw_game(folder / "game", quarters=4, frames=12, size=(180, 320))
    out = folder / "game.lmdb"
    build(AtmaCup(game.train_meta, game.img_root), out, BuildSettings(size=_SIZE), num_workers=1)
    return out


def main(name: str, path: str, epochs: str) -> None:
    """Print a line of JSON after each epoch: what the process and its children hold."""
    torch.set_num_threads(1)
    dataset = ReIDDataset(path, "label >= 0", labels="relabel")
    with make_loader(
        dataset,
        sampler=PKSampler(dataset, p=_P, k=_K),
        augment="bot",
        normalize="imagenet",
        num_workers=2,
        **ENGINES[name],
    ) as loader:
        for _ in range(int(epochs)):
            count = 0
            for images, labels, _ in loader:
                assert images.shape == (_P * _K, 3, *_SIZE), images.shape
                assert len(labels.unique()) == _P, labels
                count += 1
            assert count == len(loader), count
            del images, labels
            print(json.dumps(asdict(gauge(os.getpid()))), flush=True)
