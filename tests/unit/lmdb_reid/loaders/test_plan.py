"""loader.plan(): what an epoch takes, before it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import SubsetRandomSampler

from lmdb_reid import DecodedTier, Loader, LRUCache, PKSampler, ReIDDataset, Store
from lmdb_reid.loaders import Plan, _workers

MakeLoader = Callable[..., Loader]
CROP = 32 * 16 * 3


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            {"engine": "threads", "num_workers": 2, "prefetch": 4},
            {"buffers": 10, "buffer_bytes": 100 * CROP, "copies": ()},
        ),
        (
            {"engine": "processes", "num_workers": 2, "prefetch": 4},
            {"buffers": 12, "buffer_bytes": 120 * CROP, "copies": ()},
        ),
        (
            {"engine": "dataloader", "num_workers": 2, "pin_memory": True},
            {"buffers": 0, "copies": ("into shared memory", "into page-locked memory")},
        ),
        (
            {"engine": "dataloader", "num_workers": 0, "pin_memory": False},
            {"buffers": 0, "buffer_bytes": 0, "copies": ()},
        ),
        (
            {"engine": "resident", "resident": True, "num_workers": 1},
            {
                "buffers": 1,
                "buffer_bytes": 64 * CROP,
                "copies": ("gather from the resident pixels",),
            },
        ),
    ],
    ids=["threads", "processes", "dataloader", "in place", "resident"],
)
def test_the_plan_of_each_engine(
    arguments: dict[str, Any], wanted: dict[str, Any], dataset: ReIDDataset, loader: MakeLoader
) -> None:
    engine = arguments["engine"]
    given = {"engine": "threads", **arguments} if engine != "resident" else dict(arguments)
    if engine == "resident":
        given["engine"] = "threads"
    plan = loader(dataset, 10, **given).plan()
    assert isinstance(plan, Plan)
    assert {name: getattr(plan, name) for name in wanted} == wanted
    assert plan.engine == engine
    assert (plan.samples, plan.steps, plan.batch_size) == (64, 7, 10)
    assert (plan.batch_shape, plan.batch_dtype) == ((10, 3, 32, 16), "uint8")
    assert (plan.rank, plan.world_size, plan.device) == (0, 1, "cpu")
    assert plan.num_workers == arguments["num_workers"]


def test_it_holds_what_the_epoch_then_gives(dataset: ReIDDataset, loader: MakeLoader) -> None:
    for arguments in (
        {"batch_size": 10},
        {"batch_size": 10, "drop_last": True},
        {"batch_size": 7, "rank": 1, "world_size": 3},
        {"batch_size": 7, "rank": 2, "world_size": 3, "drop_last": True},
        {"sampler": PKSampler(dataset, 3, 2)},
        {"batch_size": 1000},
    ):
        batches = loader(dataset, **arguments)
        plan = batches.plan()
        found = list(batches)
        assert plan.steps == len(batches) == len(found)
        assert plan.samples == sum(len(batch.rows) for batch in found)
        assert plan.batch_shape == found[0].images.shape


def test_it_prints(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(
        dataset,
        10,
        engine="threads",
        num_workers=2,
        dtype=torch.float16,
        normalize="imagenet",
        memory_format=torch.contiguous_format,
        rank=1,
        world_size=2,
    )
    assert str(batches.plan()).splitlines() == [
        "engine   threads: it was asked for",
        "workers  2",
        "steps    4 of 10 (32 samples)",
        "ranks    rank 1 of 2",
        "batch    float16 10x3x32x16 on cpu",
        "buffers  9, 138.2 kB",
        "augment  none",
        "copies   convert to float16 and normalise; make contiguous",
    ]
    plain = str(loader(dataset, 10, pin_memory=False).plan())
    assert "buffers  none" in plain
    assert "copies   none: decoded in the thread of the consumer" in plain


def test_it_says_where_batches_go(dataset: ReIDDataset, loader: MakeLoader) -> None:
    plan = loader(dataset, 10, device="meta", dtype=torch.float32).plan()
    assert plan.device == "meta"
    assert plan.copies == ("copy to meta", "convert to float32 and scale to 0..1")
    assert plan.batch_dtype == "float32"


@pytest.mark.parametrize(
    ("words", "cache", "count"),
    [
        ({}, None, 8),
        ({"num_workers": "auto", "engine": "threads"}, None, 8),
        ({"augment": "bot"}, None, 4),
        ({"augment": "bot"}, "tier", 2),
        ({}, "tier", 8),
        ({"augment": "bot"}, "lru", 4),
    ],
)
def test_no_more_threads_than_gain(
    words: dict[str, Any],
    cache: str | None,
    count: int,
    path64: Path,
    tmp_path: Path,
    loader: MakeLoader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(path64)
    caches = {None: None, "tier": DecodedTier(store, tmp_path), "lru": LRUCache("1MB")}
    dataset = ReIDDataset(store, cache=caches[cache])
    for cores in (16, count + 1):
        monkeypatch.setattr(_workers, "available_cores", lambda: cores)  # noqa: B023
        plan = loader(dataset, 10, **{"num_workers": None, **words}).plan()
        assert plan.num_workers == count
        assert f"; {count} of them on {cores} cores, since more would wait" in plan.why
    monkeypatch.setattr(_workers, "available_cores", lambda: count)
    plan = loader(dataset, 10, **{"num_workers": None, **words}).plan()
    assert plan.num_workers == count
    assert "cores" not in plan.why


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ({"num_workers": 12}, 12),
        ({"engine": "processes"}, 16),
        ({"engine": "dataloader"}, 16),
        ({"resident": True}, 4),
    ],
)
def test_workers_that_are_asked_for_and_processes_are_not_limited(
    words: dict[str, Any],
    count: int,
    dataset: ReIDDataset,
    loader: MakeLoader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_workers, "available_cores", lambda: 16)
    plan = loader(dataset, 10, augment="bot", **{"num_workers": None, **words}).plan()
    assert plan.num_workers == count
    assert "cores" not in plan.why


def small(image: torch.Tensor) -> torch.Tensor:
    return image[:, ::2].float()


def pair(image: torch.Tensor) -> tuple[torch.Tensor, float]:
    return image, 1.0


@pytest.mark.parametrize("engine", ["processes", "dataloader"])
def test_a_transform_decides_what_a_batch_is(engine: str, path64: Path, loader: MakeLoader) -> None:
    plan = loader(ReIDDataset(path64, transform=small), 10, engine=engine, num_workers=1).plan()
    assert (plan.batch_shape, plan.batch_dtype) == ((10, 3, 16, 16), "float32")
    assert plan.copies[0] == "stack the transformed images"
    if engine == "processes":
        assert plan.buffer_bytes == plan.buffers * 10 * 3 * 16 * 16 * 4
    other = loader(ReIDDataset(path64, transform=pair), 10, engine=engine, num_workers=1).plan()
    assert (other.batch_shape, other.batch_dtype) == (None, "tuple")
    assert other.buffers == 0
    assert "tuple as transformed on cpu" in str(other)


def test_nothing_is_started_for_it(
    dataset: ReIDDataset, loader: MakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("threading.Thread.start", started)
    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", started)
    for engine in ("threads", "processes", "dataloader"):
        loader(dataset, 10, engine=engine, num_workers=2).plan()


def test_an_empty_epoch_has_a_plan(dataset: ReIDDataset, loader: MakeLoader) -> None:
    plan = loader(dataset, 10, sampler=SubsetRandomSampler([])).plan()
    assert (plan.samples, plan.steps) == (0, 0)
    assert "0 of 10 (0 samples)" in str(plan)


def test_what_a_loader_prints_and_counts(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, 10, engine="threads", num_workers=1)
    running = iter(batches)
    next(running)
    assert repr(batches).endswith("threads with 1 worker on cpu, epoch 0, 10 samples taken)")
    assert list(running)
    stats = batches.stats()
    assert (stats["batches"], stats["samples"], stats["skipped"]) == (7, 64, 0)
    assert stats["samples_per_s"] > 0


def test_buffers_come_back(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, 4, engine="threads", num_workers=2)
    for _ in range(6):
        for _ in batches:
            pass
    stats = batches.stats()
    assert stats["ring"] <= batches.plan().buffers < 96
    assert stats["beyond_ring"] == 0
