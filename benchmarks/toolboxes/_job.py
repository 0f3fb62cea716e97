"""What a toolbox's process is given, and what it prints."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WAYS = ("files", "store", "store-uint8")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NAME = re.compile(r"\d+_(\d+)_c(\d+)\.jpg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One way to load, in one process."""

    way: str
    store: str
    split: str
    files: str
    """Of the same crops: train, query and gallery, ROW_LABEL_cCAMERA.jpg."""
    size: tuple[int, int]
    batch_size: int
    num_workers: int
    epochs: int

    def told(self) -> str:
        """As a word of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, word: str) -> Job:
        """As `told` gave it."""
        given = json.loads(word)
        return cls(**given | {"size": tuple(given["size"])})


def listed(folder: Path) -> list[tuple[str, int, int]]:
    """(path, identity, camera) of each file, in the order of rows."""
    found = []
    for file in sorted(folder.iterdir()):
        match = _NAME.fullmatch(file.name)
        assert match is not None, file
        found.append((str(file), int(match[1]), int(match[2])))
    return found


def run(loaders: Callable[[Job], tuple[Iterable[Any], Iterable[Any]]], images_of: Any) -> None:
    """Time whole epochs of the training loader, after one that does not count; print a JSON line.

    Args:
        loaders: makes the loaders of training and of queries.
        images_of: the images [B, 3, H, W] of a batch.
    """
    job = Job.of(sys.argv[1])
    train, query = loaders(job)
    seconds, count = [], 0
    for _ in range(job.epochs + 1):
        began, count = time.perf_counter(), 0
        for batch in train:
            count += len(images_of(batch))
        seconds.append(time.perf_counter() - began)
    first = images_of(next(iter(query))).float()
    if job.way == "store-uint8":
        first = (first / 255 - first.new_tensor(MEAN)[:, None, None]) / first.new_tensor(STD)[
            :, None, None
        ]
    found = {
        "first_epoch": seconds[0],
        "seconds": seconds[1:],
        "crops": count,
        # of images that no random transform has touched: equal for all ways
        "means": first.mean((2, 3)).flatten()[:60].tolist(),
    }
    print("\n" + json.dumps(found), flush=True)
