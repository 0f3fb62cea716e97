"""Negatives once instead of each run: loading their csv, and making it."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path

from PIL import Image

from benchmarks.guide_rows._inputs import Inputs, Row, over, spreads
from benchmarks.harness import interleaved, seconds, told
from builders import BuildSettings, Files
from builders.negatives import (
    list_negatives,
    load_negatives_from_csv,
    random_negatives,
    write_negatives_csv,
)
from builders.samples import samples_of
from lmdb_reid.schema import NO_LABEL

MANY = 100_000


def negatives(inputs: Inputs, folder: Path) -> Iterator[Row]:
    """Seconds to make the negatives' csv from headers and from pixels, and to load it."""
    csv, other = folder / "negatives.csv", folder / "other.csv"
    boxes = random_negatives(BuildSettings())

    def from_headers() -> None:
        found, _ = list_negatives(inputs.source.read(), boxes, num_workers=inputs.num_workers)
        write_negatives_csv(csv, found)

    def from_pixels() -> None:
        listing = inputs.source.read()
        frames, medium = list(listing.frames), listing.medium
        assert isinstance(medium, Files)
        with ThreadPoolExecutor(inputs.num_workers) as pool:
            sizes = list(pool.map(_opened, map(medium.path, listing.frames.keys)))
        found = [
            sample
            for frame, some in zip(frames, boxes(frames, sizes), strict=True)
            for sample in samples_of(
                frame, medium, [(one.box, NO_LABEL, one.kind, one.id) for one in some]
            )
        ]
        write_negatives_csv(other, sorted(found, key=attrgetter("id")))

    runs = {
        "headers": lambda: seconds(from_headers),
        "pixels": lambda: seconds(from_pixels),
        "load": lambda: 1e3 * seconds(lambda: load_negatives_from_csv(csv)),
    }
    many = folder / "many.csv"
    from_headers()
    some = load_negatives_from_csv(csv)
    write_negatives_csv(many, itertools.islice(itertools.cycle(some), MANY))
    runs["load many"] = lambda: 1e3 * seconds(lambda: load_negatives_from_csv(many))
    gc.freeze()  # the libraries of other rows: the command imports no torch, whose objects count
    taken = interleaved(runs, inputs.repeats)
    gc.unfreeze()
    assert csv.read_bytes() == other.read_bytes()
    ratio = over(taken["pixels"], taken["headers"])
    count = len(load_negatives_from_csv(csv))
    yield Row(
        promise="negatives once instead of each run: loading them",
        claim="5-7 min to 100-500 ms",
        wanted="under 100 ms",
        measured=f"{told(taken['load'], 1)} ms for {count:,}",
        ratio=f"{told(over([1e3 * s for s in taken['pixels']], taken['load']), 0)}x",
        values=spreads({"load, ms": taken["load"]}),
    )
    yield Row(
        promise=f"the same, of {MANY:,}",
        claim="-",
        wanted="under 500 ms",
        measured=f"{told(taken['load many'], 0)} ms",
        ratio="-",
        values=spreads({"load, ms": taken["load many"]}),
    )
    yield Row(
        promise="the same: making them",
        claim="-",
        wanted="10x faster than opening each frame's pixels",
        measured=f"headers {told(taken['headers'])} s; pixels {told(taken['pixels'])} s",
        ratio=f"{told(ratio, 1)}x",
        values=spreads({"headers, s": taken["headers"], "pixels, s": taken["pixels"]})
        | spreads({"times": ratio}),
    )


def _opened(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.height, image.width
