"""How fast a store is built, beside what libjpeg-turbo alone would take for its share.

    python -m benchmarks.build --data DIR      DIR holds train_meta.csv and images/ (atmaCup layout)

The twin, on as many threads: decode every frame once into a kept buffer, and encode every crop
once from memory; nothing is read, cut, resized, hashed or written.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import interleaved, keep, seconds, spread, told
from builders import AtmaCup, BuildSettings, build
from lmdb_reid import Store, codec
from lmdb_reid.machine import available_cores


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    source = AtmaCup(args.data / "train_meta.csv", args.data / "images", bbox_mode="keep")
    listing = source.read()
    frames = [picture() for picture in listing.medium.run(listing.frames.keys)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "games.lmdb"
        build(source, out, num_workers=args.num_workers)
        with Store(out) as store:
            crops = [store.at(row).image for row in range(len(store))]
        runs = {
            "decode": lambda: seconds(lambda: _decode_all(frames, args.num_workers)),
            "encode": lambda: seconds(lambda: _encode_all(crops, args.num_workers)),
            "build": lambda: seconds(lambda: _build(source, out, args.num_workers)),
        }
        taken = interleaved(runs, args.repeats)
    alone = [d + e for d, e in zip(taken["decode"], taken["encode"], strict=True)]
    share = [a / b for a, b in zip(alone, taken["build"], strict=True)]
    print(
        f"{len(frames)} frames, {len(crops)} crops, {args.num_workers} threads,"
        f" {args.repeats} repeats"
    )
    print(
        f"libjpeg-turbo alone: decoding {told(taken['decode'])} s + encoding"
        f" {told(taken['encode'])} s"
    )
    print(f"build                {told(taken['build'])} s")
    print(f"build's speed, of libjpeg-turbo's alone: {told(share)}")
    result: dict[str, Any] = {name: spread(values) for name, values in taken.items()}
    file = keep(
        "build", result | {"share": spread(share), "frames": len(frames), "crops": len(crops)}
    )
    print(f"kept in {file}")


def _build(source: AtmaCup, out: Path, num_workers: int) -> None:
    shutil.rmtree(out)
    build(source, out, BuildSettings(), num_workers=num_workers)


def _decode_all(frames: list[bytes], num_workers: int) -> None:
    kept = threading.local()

    def decode(data: bytes) -> None:
        height, width, _, _ = codec.header(data)
        if getattr(kept, "pixels", np.empty(0)).shape != (height, width, 3):
            kept.pixels = np.empty((height, width, 3), np.uint8)
        codec.decode(data, kept.pixels)

    _all(decode, frames, num_workers)


def _encode_all(crops: list[np.ndarray[Any, np.dtype[np.uint8]]], num_workers: int) -> None:
    _all(codec.encode, crops, num_workers)


def _all(work: Callable[[Any], object], items: Sequence[Any], num_workers: int) -> None:
    """Each thread takes its share in one go, so that nothing but the work is timed."""

    def share(number: int) -> None:
        for item in items[number::num_workers]:
            work(item)

    with ThreadPoolExecutor(num_workers) as pool:
        list(pool.map(share, range(num_workers)))


if __name__ == "__main__":
    main()
