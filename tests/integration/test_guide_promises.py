"""What stands behind each row of the table in docs/guide.md, apart from its time."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from builders import AtmaCup, BuildSettings
from builders.game import Game
from builders.negatives import (
    list_negatives,
    load_negatives_from_csv,
    random_negatives,
    write_negatives_csv,
)
from builders.samples import box_samples
from lmdb_reid import CroppedBBoxDataset, LRUCache, ReIDDataset, Store, make_loader
from training import PlayerReIDDataset

COUNT = 252  # samples of the game's store


def test_the_store_has_what_run_time_cropping_cuts(game: Game, sealed: Path) -> None:
    def resized(crop: Image.Image) -> torch.Tensor:
        pixels = np.array(crop.resize((128, 256), Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels).permute(2, 0, 1)

    samples = box_samples(AtmaCup(game.train_meta, game.img_root).read())
    cut = PlayerReIDDataset(samples, resized, expand_ratio=1.2, use_cache=False)
    with Store(sealed) as store:
        rows = [store.row(sample.id) for sample in samples]
        with make_loader(ReIDDataset(store, rows), 60, num_workers=2) as loader:
            batches = [(batch.images.clone(), batch.labels.clone()) for batch in loader]
    images = torch.cat([images for images, _ in batches])
    assert images.dtype == torch.uint8
    assert torch.cat([labels for _, labels in batches]).tolist() == [
        sample.label_id for sample in samples
    ]
    apart = [
        float((image.int() - cut[index][0].int()).abs().float().mean())
        for index, image in enumerate(images)
    ]
    assert max(apart) < 8  # of 255: another resizer, and JPEG once more


def test_negatives_are_made_from_headers_and_loaded_as_they_were(
    own_game: Game, game: Game, tmp_path: Path
) -> None:
    whole, _ = list_negatives(
        AtmaCup(game.train_meta, game.img_root).read(), random_negatives(BuildSettings())
    )
    for frame in own_game.img_root.iterdir():
        os.truncate(frame, 1000)  # the header; no pixel can be decoded
    listing = AtmaCup(own_game.train_meta, own_game.img_root).read()
    made, unread = list_negatives(listing, random_negatives(BuildSettings()))
    assert not unread
    assert len(made) == 132
    assert [(s.id, s.x, s.y, s.w, s.h) for s in made] == [(s.id, s.x, s.y, s.w, s.h) for s in whole]
    write_negatives_csv(tmp_path / "negatives.csv", made)
    assert load_negatives_from_csv(tmp_path / "negatives.csv") == made


def workers_now() -> set[int]:
    """Decoder threads and worker processes of this process."""
    threads = {
        thread.ident
        for thread in threading.enumerate()
        if thread.name.startswith("lmdb_reid-decode") and thread.ident is not None
    }
    return threads | {child.pid for child in multiprocessing.active_children() if child.pid}


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_workers_live_from_epoch_to_epoch(sealed: Path, engine: Any) -> None:
    before = workers_now()
    with (
        Store(sealed) as store,
        make_loader(ReIDDataset(store), 16, engine=engine, num_workers=2) as loader,
    ):
        seen = []
        for _ in range(3):
            assert sum(len(batch.labels) for batch in loader) == COUNT
            seen.append(workers_now() - before)
    assert len(seen[0]) == 2
    assert seen[0] == seen[1] == seen[2]
    assert workers_now() == before


def test_with_threads_one_cache_serves_all(sealed: Path) -> None:
    cache = LRUCache(items=10_000)
    with (
        Store(sealed) as store,
        make_loader(ReIDDataset(store, cache=cache), 16, shuffle=True, num_workers=2) as loader,
    ):
        for _ in range(2):
            assert sum(len(batch.labels) for batch in loader) == COUNT
        assert loader.stats()["cache"] == cache.stats()
    stats = cache.stats()
    assert (stats["misses"], stats["hits"]) == (COUNT, COUNT)


class Counted(CroppedBBoxDataset):
    """An item is (process, hits of its cache so far, label)."""

    def __getitem__(self, index: int) -> Any:
        _, label = super().__getitem__(index)
        assert self.cache is not None
        return os.getpid(), self.cache.stats()["hits"], label


def test_with_processes_each_has_a_cache_of_its_own(sealed: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{row}.jpg" for row in range(20)]
    with Store(sealed) as store:
        for row, path in enumerate(paths):
            path.write_bytes(store.at(row).jpeg)
    dataset = Counted(paths, range(20), use_cache=True)
    # Two batches, one for each worker; the second epoch gives each the other's.
    order = [*range(20), *range(10, 20), *range(10)]
    loader = DataLoader(dataset, 10, sampler=order, num_workers=2)
    processes, hits, _ = zip(*loader, strict=True)
    assert len({int(process[0]) for process in processes}) == 2
    assert [int(count.max()) for count in hits] == [0, 0, 0, 0]
    assert dataset.cache is not None
    assert dataset.cache.stats()["items"] == 0
    in_one = DataLoader(dataset, 10, sampler=order)
    assert [int(count.max()) for _, count, _ in in_one] == [0, 0, 10, 20]
