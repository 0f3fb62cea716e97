"""lmdb_reid itself: each engine cold, and both caches warm; bare, with a preset of `augment=`, and
normalised on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import simplejpeg

from benchmarks.peers._runner import Epochs, Job, main
from lmdb_reid import DecodedTier, LRUCache, ReIDDataset, Store, make_loader
from lmdb_reid.augment import PRESETS


def start(job: Job) -> Epochs:
    """Variants: threads, processes, dataloader; warm: lru, tier. Behind a hyphen each: fast or dct
    (the decoding), bot or guide (the recipe), float32 (normalised).
    """
    engine, *options = job.variant.split("-")
    if "dct" in options:
        decode_as_ffcv()
    store = Store(job.store)
    cache: Any = None
    if engine == "lru":
        engine, cache = "threads", LRUCache(items=job.count)
    elif engine == "tier":
        engine, cache = "threads", DecodedTier(store, job.out)
    loader = make_loader(
        ReIDDataset(store, cache=cache, fast_dct=bool({"fast", "dct"} & {*options})),
        job.batch_size,
        shuffle=True,
        engine=engine,  # type: ignore[arg-type]  # one of its names
        num_workers=job.num_workers,
        augment=next((preset for preset in PRESETS if preset in options), None),
        normalize="imagenet" if "float32" in options else None,
    )

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        loader.set_epoch(number)
        return ((batch.rows, batch.images) for batch in loader)

    return epoch


def decode_as_ffcv() -> None:
    """Make `fast_dct=True` mean what it is to FFCV: the fast DCT with the smooth upsampling.

    For a comparison of equal work; the package has no such option.
    """
    original = simplejpeg.decode_jpeg

    def decode(data: Any, colorspace: str, fast: bool, _upsampling: bool, *others: Any) -> Any:
        return original(data, colorspace, fast, False, *others)

    simplejpeg.decode_jpeg = decode


if __name__ == "__main__":
    main(start, packages=("lmdb_reid", "lmdb"))
