"""Loaders beside a GPU: what a training step waits for, and how engines grow with cores.

    python -m benchmarks.devices                         on the first CUDA device
    python -m benchmarks.devices --device cpu --small    to see that it runs; keeps no result

Three tables. The first trains ResNet-50 in bfloat16 with the recipe on (`augment="bot"`, normalised
on the device), fed by decoder threads, by a decoded tier, by the decoder of the device and by
resident pixels: how long `next()` takes while the device has nothing to do, since each step is
waited for before the next batch is asked for. An epoch of 20,000 crops has 78 steps; its first
batch is waited for, and its wait counts in one of two shares alone. The second lets the device's
decoder run alone, with its one host thread. The third gives threads and processes 1, 2, 4, ...
cores (by affinity), bare, with the recipe, and with the recipe over the tier, and says from where
on more cores gain under a tenth for each doubling.

Crops are drawn, 256x128 and some 10 kB each, so that it runs anywhere; `--store` takes others.
What this machine cannot run is listed under "not run".
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.device_tables import tables
from benchmarks.harness import keep
from benchmarks.resnet import resnet50
from lmdb_reid import DecodedTier, ReIDDataset, Store, StoreWriter, codec, make_loader
from lmdb_reid.errors import LmdbReidError
from lmdb_reid.loaders import Loader
from lmdb_reid.schema import Size, parse_size

_CLASSES = 751  # Market-1501's training identities
_RECIPE = "bot"
_WARM = 3  # steps that are not counted: kernels are chosen, threads start
_GAIN = 1.1  # of twice the cores, at least


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print and keep; 0, or 2 for wrong use."""
    args = arguments(words)
    try:
        with tempfile.TemporaryDirectory(prefix="lmdb_reid-devices-") as folder:
            store = Store(args.store or drawn_store(Path(folder) / "s.lmdb", args.crops, args.size))
            result = measured(store, Path(folder), args)
    except LmdbReidError as error:
        print(f"benchmarks.devices: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=1) if args.json else tables(result))
    if not args.small:
        print(f"kept in {keep('devices', result)}", file=sys.stderr)
    return 0


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.devices", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("--device", default="cuda", help="cuda, cuda:1, cpu (default: cuda)")
    add("--store", type=Path, help="a store whose crops have one size; drawn unless given")
    add("--crops", type=int, help="to draw (default: 20000; with --small 96)")
    add("--size", type=parse_size, help="of drawn ones (default: 256x128; with --small 32x16)")
    add("--batch-size", type=int, help="(default: 256; with --small 16)")
    add("--steps", type=int, help="of training, counted (default: 200; with --small 2)")
    add("--num-workers", type=int, help="that feed the steps (default: make_loader's own)")
    add("--most-cores", type=int, default=16, help="for the third table (default: 16)")
    add("--without-cores", action="store_true", help="leave the third table out")
    add("--small", action="store_true", help="to see that it runs; keeps no result")
    add("--json", action="store_true", help="print the result as JSON, not as tables")
    args = parser.parse_args(words)
    for name, small, whole in (
        ("crops", 96, 20_000),
        ("size", (32, 16), (256, 128)),
        ("batch_size", 16, 256),
        ("steps", 2, 200),
    ):
        if getattr(args, name) is None:
            setattr(args, name, small if args.small else whole)
    for name in ("crops", "batch_size", "steps", "num_workers", "most_cores"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: give 1 or more")
    try:
        args.device = torch.device(args.device)
    except RuntimeError as error:
        parser.error(f"--device {args.device}: {error}")
    if args.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("this torch sees no GPU: --device cpu --small shows that all else runs")
    return args


def drawn_store(path: Path, count: int, size: Size) -> Path:
    """Crops of coloured patches under fine noise: some 10 kB each at 256x128, as photographs."""
    draws = np.random.default_rng(0)
    coarse = (max(size[0] // 16, 1), max(size[1] // 16, 1))
    with StoreWriter(path) as writer:
        for number in range(count):
            patches = draws.integers(0, 256, (*coarse, 3)).astype(np.uint8)
            noise = draws.integers(0, 7, (*size, 3)).astype(np.uint8)
            picture = codec.resize(patches, size) // 2 + noise + 60
            record = {"label": number % _CLASSES}
            writer.put(f"{number:07d}", codec.encode(picture), record)
        writer.seal()
    return path


def measured(store: Store, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All tables, and what could not be run."""
    result: dict[str, Any] = {
        "device": _name_of(args.device),
        "crops": len(store),
        "size": list(ReIDDataset(store).size),
        "batch_size": args.batch_size,
        "recipe": _RECIPE,
        "not_run": [],
    }
    tier = DecodedTier(store, folder / "tier")
    ways: dict[str, dict[str, Any]] = {
        "threads": {"engine": "threads"},
        "decoded tier": {"engine": "threads"},
        "device decode": {"decode": "cuda"},
        "resident": {"resident": True},
    }
    with _plain(ReIDDataset(store, cache=tier), args) as loader:
        for _ in loader:  # fills the tier
            pass
    model = Training(args.device)
    result["waits"] = []
    for name, options in ways.items():
        dataset = ReIDDataset(store, cache=tier if name == "decoded tier" else None)
        try:
            loader = _loader(dataset, args, device=args.device, **options)
        except LmdbReidError as error:
            result["not_run"].append(f"{name}: {error}")
            continue
        with loader:
            row = waits(loader, model, args.steps)
            words = {"asked": _asked(options, name), "num_workers": loader.plan().num_workers}
        result["waits"].append({"way": name} | words | row)
    result["decode"] = None
    try:
        alone = _plain(ReIDDataset(store), args, device=args.device, decode="cuda")
    except LmdbReidError as error:
        result["not_run"].append(f"device decode alone: {error}")
    else:
        with alone:
            result["decode"] = decoding(alone)
    result["cores"] = None if args.without_cores else cores(store, tier, args)
    return result


def _asked(options: dict[str, Any], name: str) -> str:
    """How a way is asked for, in words."""
    cache = "cache=DecodedTier" if name == "decoded tier" else ""
    words = [f"{key}={value!r}" for key, value in options.items()]
    return ", ".join([*words, cache] if cache else words)


class Training:
    """ResNet-50 and its steps; bfloat16 and channels-last on a GPU, contiguous on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        on_gpu = device.type == "cuda"
        torch.manual_seed(0)
        self._model = resnet50(_CLASSES).to(device)
        if on_gpu:
            self._model = self._model.to(memory_format=torch.channels_last)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=0.01, momentum=0.9)
        self._loss = nn.CrossEntropyLoss()

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """One step, waited for."""
        on_gpu = self.device.type == "cuda"
        memory = torch.channels_last if on_gpu else torch.contiguous_format
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on_gpu):
            scores = self._model(images.contiguous(memory_format=memory))
            loss = self._loss(scores, labels % _CLASSES)
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize(self.device)


def waits(loader: Loader, model: Training, steps: int) -> dict[str, Any]:
    """How long `next()` takes, in milliseconds, and its share of the time: of all of it, and of all
    but the first batches of epochs, which nothing was made ahead for.
    """
    waited: list[float] = []
    worked: list[float] = []
    within: list[float] = []
    batches, epoch = _endless(loader), len(loader)
    for step in range(_WARM + steps):
        began = time.perf_counter()
        batch = next(batches)
        got = time.perf_counter()
        model.step(batch.images, batch.labels)
        if step >= _WARM:
            waited.append(got - began)
            worked.append(time.perf_counter() - got)
            within.append(got - began if step % epoch else 0.0)
    p50, p99 = (1e3 * float(value) for value in np.percentile(waited, [50, 99]))
    return {
        "wait_ms_p50": p50,
        "wait_ms_p99": p99,
        "step_ms_p50": 1e3 * float(np.median(worked)),
        "wait_share": sum(waited) / (sum(waited) + sum(worked)),
        "wait_share_within_epochs": sum(within) / (sum(within) + sum(worked)),
    }


def decoding(loader: Loader) -> dict[str, Any]:
    """Crops per second of the device's decoder, and how long a batch takes."""
    for _ in loader:  # threads start, the allocator grows
        pass
    times: list[float] = []
    count = 0
    began = last = time.perf_counter()
    for batch in loader:
        torch.cuda.synchronize(batch.images.device)
        now = time.perf_counter()
        times.append(now - last)
        last, count = now, count + len(batch.rows)
    p50, p99 = (1e3 * float(value) for value in np.percentile(times, [50, 99]))
    return {"crops_per_s": count / (last - began), "batch_ms_p50": p50, "batch_ms_p99": p99}


def cores(store: Store, tier: DecodedTier, args: argparse.Namespace) -> dict[str, Any]:
    """Crops per second by engine, work and number of cores, on the host alone."""
    mine = sorted(os.sched_getaffinity(0))
    most = min(len(mine), args.most_cores)
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= most]
    works: dict[str, tuple[DecodedTier | None, str | None]] = {
        "cold, bare": (None, None),
        "cold, recipe": (None, _RECIPE),
        "tier, recipe": (tier, _RECIPE),
    }
    rows = []
    for engine in ("threads", "processes"):
        for work, (cache, augment) in works.items():
            speeds: list[float] = []
            for count in counts:
                with _only(mine[:count]):
                    loader = _plain(
                        ReIDDataset(store, cache=cache),
                        args,
                        engine=engine,
                        num_workers=count,
                        augment=augment,
                        start_method="spawn",  # a fork server would keep its first cores
                    )
                    with loader:
                        speeds.append(_speed(loader))
            row = {"engine": engine, "work": work, "crops_per_s": speeds}
            rows.append(row | {"stops_at": stops_at(counts, speeds)})
    return {"counts": counts, "rows": rows}


def stops_at(counts: Sequence[int], speeds: Sequence[float]) -> int | None:
    """The number of cores from which twice as many gain under a tenth; None if none is."""
    for count, speed, twice in zip(counts, speeds, speeds[1:], strict=False):
        if twice < _GAIN * speed:
            return count
    return None


def _plain(dataset: ReIDDataset, args: argparse.Namespace, **options: Any) -> Loader:
    return make_loader(dataset, args.batch_size, shuffle=True, **options)


def _loader(dataset: ReIDDataset, args: argparse.Namespace, **options: Any) -> Loader:
    return make_loader(
        dataset,
        args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=args.num_workers,
        augment=_RECIPE,
        normalize="imagenet",
        **options,
    )


def _endless(loader: Loader) -> Iterator[Any]:
    while True:
        yield from loader


def _speed(loader: Loader) -> float:
    """Crops per second of the second epoch."""
    for _ in loader:
        pass
    began = time.perf_counter()
    count = sum(len(batch.rows) for batch in loader)
    return count / (time.perf_counter() - began)


@contextmanager
def _only(cores_of: Sequence[int]) -> Iterator[None]:
    """Threads and processes begun inside run on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores_of)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _name_of(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    name = torch.cuda.get_device_name(device)
    return f"{name}, CUDA {torch.version.cuda}, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
