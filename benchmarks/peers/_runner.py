"""The child's side: one engine, its epochs timed, its pixels checked.

Runs under each peer's own interpreter, so it imports numpy and the standard library only.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers._outputs import as_bytes, statistics

_MOST_EPOCHS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process is asked to do. Picture i is `jpegs/%08d.jpg`, and row i of every array."""

    work: str
    """The folder shared by all: jpegs/, and {accurate,dct,fast}.npy of uint8 [N, H, W, 3]."""
    out: str
    """The engine's own folder, which `prepare` fills."""
    store: str
    """The lmdb_reid store of the same bytes."""
    variant: str
    decoding: str
    """Which of the references its pixels should equal."""
    output: str = "pixels"
    """The pixels as they are (or normalised), or the recipe that was run on them."""
    count: int
    batch_size: int = 256
    num_workers: int = 2
    epochs: int = 5
    seconds: float = 3.0
    """Go on counting epochs until these are over: for engines whose epochs are short."""
    check: bool = False

    def file(self, row: int) -> Path:
        """The JPEG file of a row."""
        return Path(self.work) / "jpegs" / f"{row:08d}.jpg"

    def files(self) -> list[Path]:
        """All of them, in the order of rows."""
        return [self.file(row) for row in range(self.count)]

    def pixels(self, kind: str) -> Any:
        """The reference of a decoding, memory-mapped uint8 [N, H, W, 3]."""
        return np.load(Path(self.work) / f"{kind}.npy", mmap_mode="c")

    def told(self) -> str:
        """The job as the child's argument."""
        return json.dumps(asdict(self))


Epochs = Callable[[int], Iterable[tuple[Any, Any]]]
"""Takes the epoch's number; gives (rows, images) of each batch: int64 [B] and [B, H, W, 3] or
[B, 3, H, W], uint8 or normalised floats."""


def main(
    start: Callable[[Job], Epochs],
    prepare: Callable[[Job], None] | None = None,
    packages: tuple[str, ...] = (),
) -> None:
    """`MODULE prepare JOB` writes the engine's files; `MODULE run JOB` prints a JSON line for each
    epoch: number, seconds, samples. Epoch 0 begins with the engine's start, the others do not.
    """
    task, job = sys.argv[1], Job(**json.loads(sys.argv[2]))
    if task == "prepare":
        if prepare is not None:
            Path(job.out).mkdir()
            prepare(job)
        return
    say(versions=_versions((*packages, "torch", "numpy", "simplejpeg", "pillow")))
    began = time.perf_counter()
    epoch = start(job)
    counted = 0.0
    for number in range(_MOST_EPOCHS):
        if number:
            began = time.perf_counter()
        samples = 0
        for rows, _ in epoch(number):
            samples += len(rows)
        took = time.perf_counter() - began
        say(epoch=number, seconds=took, samples=samples)
        counted += took if number else 0.0
        if number >= job.epochs and counted >= job.seconds:
            break
    if job.check:
        say(check=check(epoch(number + 1), job))


def check(batches: Iterable[tuple[Any, Any]], job: Job) -> dict[str, Any]:
    """One more epoch, not timed: how far its pixels are from ours of the same decoding (the
    largest and the mean difference), and which crops did not come once. Of a recipe's output, what
    `statistics` finds.
    """
    if job.output != "pixels":
        return statistics(batches, job.pixels(job.decoding), job.output)
    ours = job.pixels(job.decoding)
    times = np.zeros(job.count, np.int64)
    largest = total = 0
    for rows, images in batches:
        chosen = np.asarray(rows).reshape(-1)
        np.add.at(times, chosen, 1)
        shown = as_bytes(np.asarray(images))
        if not np.array_equal(shown, ours[chosen]):
            apart = np.abs(shown.astype(np.int16) - ours[chosen])
            largest, total = max(largest, int(apart.max())), total + int(apart.sum())
    return {
        "missing": int((times == 0).sum()),
        "repeated": int((times > 1).sum()),
        "largest": largest,
        "mean": total / max(int(times.sum()) * int(np.prod(ours.shape[1:])), 1),
    }


def say(**what: Any) -> None:
    """One line to the parent."""
    print(json.dumps(what), flush=True)


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
