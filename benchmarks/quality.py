"""What a JPEG quality costs and gives: bytes a crop, crops per second, how near to the original.

    python -m benchmarks.quality --data DIR            DIR holds train_meta.csv and images/
    python -m benchmarks.quality --store games.lmdb    crops that were JPEGs before

For each quality the same crops are encoded as a build encodes them and stored. They are decoded
alone, from memory, as the ceiling of benchmarks.loaders is, and read by `make_loader` in batches
of 256; all of these take turns. The peak signal-to-noise ratio is 10 log10(255^2 / mean squared
error) of a crop's own pixels: of --data those before any JPEG of ours, of --store those that it
decodes to.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import interleaved, keep, told
from builders import AtmaCup
from builders.cutting import cut
from builders.settings import BuildSettings
from lmdb_reid import ReIDDataset, Store, StoreWriter, codec, make_loader
from lmdb_reid.errors import LmdbReidError, UsageError
from lmdb_reid.machine import available_cores

Pixels = npt.NDArray[np.uint8]
_BATCH = 256


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print and keep; 0, or 2 for wrong use."""
    args = arguments(words)
    try:
        crops = _from_frames(args.data, args.crops) if args.data else _from_store(args)
        rows = measured(crops, args.quality, args.num_workers, args.repeats)
    except LmdbReidError as error:
        print(f"benchmarks.quality: {error}", file=sys.stderr)
        return 2
    height, width, _ = crops[0].shape
    print(f"{len(crops)} crops of {height}x{width}, {args.num_workers} threads,", end=" ")
    print(f"{args.repeats} rounds; median (min to max)")
    print(table(rows))
    if not args.small:
        settings = {"num_workers": args.num_workers, "repeats": args.repeats, "batch": _BATCH}
        original = "frames" if args.data else "store"
        result = {"crops": len(crops), "original": original, "rows": rows} | settings
        print(f"kept in {keep('quality', result)}")
    return 0


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=(__doc__ or "").splitlines()[0]
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, metavar="DIR", help="frames and boxes (atmaCup layout)")
    what.add_argument("--store", type=Path, help="a store whose crops have one size")
    add = parser.add_argument
    add("--quality", type=_qualities, default=[75, 85, 90, 95], help="(default: 75,85,90,95)")
    add("--crops", type=int, help="at most, from all over (default: 4000; with --small 300)")
    add("--repeats", type=int, help="rounds (default: 5; with --small 1)")
    add("--num-workers", type=int, default=available_cores(), help="(default: the cores)")
    add("--small", action="store_true", help="to see that it runs; keeps no result")
    args = parser.parse_args(words)
    for name, small, whole in (("crops", 300, 4000), ("repeats", 1, 5)):
        if getattr(args, name) is None:
            setattr(args, name, small if args.small else whole)
    for name in ("crops", "repeats", "num_workers"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: give 1 or more")
    return args


def measured(
    crops: Sequence[Pixels], qualities: Sequence[int], num_workers: int, repeats: int
) -> list[dict[str, Any]]:
    """A row for each quality: bytes a crop, crops/s of the decoder and of the loader, PSNR."""
    rows: list[dict[str, Any]] = []
    runs: dict[str, Callable[[], float]] = {}
    with tempfile.TemporaryDirectory(prefix="lmdb_reid-quality-") as folder:
        for quality in qualities:
            jpegs = [codec.encode(crop, quality=quality) for crop in crops]
            noise = [
                psnr(crop, codec.decode(jpeg)) for crop, jpeg in zip(crops, jpegs, strict=True)
            ]
            rows.append(
                {
                    "quality": quality,
                    "bytes": sum(map(len, jpegs)) / len(jpegs),
                    "psnr": float(np.median(noise)),
                    "psnr_of_worst_20th": float(np.quantile(noise, 0.05)),
                }
            )
            store = _stored(jpegs, Path(folder) / f"{quality}.lmdb")
            loader = make_loader(
                ReIDDataset(store), _BATCH, shuffle=True, engine="threads", num_workers=num_workers
            )
            runs[f"decode {quality}"] = functools.partial(_decoding, jpegs, num_workers)
            runs[f"loader {quality}"] = functools.partial(_reading, loader)
        for run in runs.values():
            run()  # threads start, buffers come
        taken = interleaved(runs, repeats)
    for row in rows:
        for name in ("decode", "loader"):
            row[name] = taken[f"{name} {row['quality']}"]
    return rows


def psnr(original: Pixels, shown: Pixels) -> float:
    """Peak signal-to-noise ratio in decibels; infinite for equal pixels."""
    error = float(np.mean((original.astype(np.float32) - shown) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| quality | bytes a crop | decoder alone, crops/s | make_loader, crops/s |"
        " PSNR, median; worst twentieth |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['quality']} | {row['bytes']:,.0f} | {told(row['decode'], 0)}"
        f" | {told(row['loader'], 0)} | {row['psnr']:.1f}; {row['psnr_of_worst_20th']:.1f} dB |"
        for row in rows
    ]
    return "\n".join(lines)


def _qualities(text: str) -> list[int]:
    qualities = [int(word) for word in text.split(",")]
    if not all(1 <= quality <= 100 for quality in qualities):
        raise argparse.ArgumentTypeError(f"{text}: give numbers from 1 to 100")
    return list(dict.fromkeys(qualities))


def _from_store(args: argparse.Namespace) -> list[Pixels]:
    with Store(args.store) as store:
        rows = np.linspace(0, len(store) - 1, min(args.crops, len(store))).astype(int)
        crops: list[Pixels] = [store.at(row).image for row in rows.tolist()]
    sizes = {crop.shape for crop in crops}
    if len(sizes) != 1:
        raise UsageError(f"{args.store} must hold crops of one size, got {len(sizes)}.")
    return crops


def _from_frames(data: Path, most: int) -> list[Pixels]:
    """Crops cut and resized as a build does it, never encoded."""
    source = AtmaCup(data / "train_meta.csv", data / "images", bbox_mode="keep")
    listing, settings = source.read(), BuildSettings()
    frames = list(listing.frames)
    boxes = [sum(row.box is not None for row in frame.rows) for frame in frames]
    wanted = set(np.linspace(0, sum(boxes) - 1, min(most, sum(boxes))).astype(int).tolist())
    crops: list[Pixels] = []
    number = 0
    keys = [frame.key for frame in frames]
    for frame, picture in zip(frames, listing.medium.run(keys), strict=True):
        read = picture()
        pixels = codec.read_source(read) if isinstance(read, bytes) else read
        for row in frame.rows:
            if row.box is None:
                continue
            crop = None
            if number in wanted:
                crop = cut(pixels, row.box, expand=settings.expand, size=settings.size)
            if crop is not None:
                crops.append(np.array(crop))
            number += 1
    return crops


def _stored(jpegs: Sequence[bytes], path: Path) -> Store:
    with StoreWriter(path) as writer:
        writer.put_group("", ((f"{row:08d}", jpeg, {}) for row, jpeg in enumerate(jpegs)))
        writer.seal()
    return Store(path)


def _reading(loader: Any) -> float:
    began = time.perf_counter()
    count = sum(len(batch.rows) for batch in loader)
    return count / (time.perf_counter() - began)


def _decoding(jpegs: Sequence[bytes], num_workers: int) -> float:
    """Each thread into a buffer that it keeps."""
    height, width, *_ = codec.header(jpegs[0])

    def share(number: int) -> None:
        buffer = np.empty((_BATCH, height, width, 3), np.uint8)
        for at, jpeg in enumerate(jpegs[number::num_workers]):
            codec.decode(jpeg, buffer[at % _BATCH])

    threads = [threading.Thread(target=share, args=(number,)) for number in range(num_workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(jpegs) / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
