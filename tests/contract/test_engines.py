"""What every engine of a loader has to keep, for any number of workers; 64 images of 32x16."""

from __future__ import annotations

import gc
import inspect
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid import LRUCache, ReIDDataset, Store, StoreWriter, codec, make_loader
from lmdb_reid.errors import CorruptSampleError, UnknownRowError, UsageError
from lmdb_reid.loaders import Batch, Loader
from lmdb_reid.sampling import PKSampler, Shuffled

COUNT = 64
# engine, workers: every way to make a batch
WAYS = [
    ("dataloader", 0),
    ("dataloader", 1),
    ("dataloader", 2),
    ("threads", 1),
    ("threads", 3),
    ("processes", 2),
]
IN_PROCESSES = [way for way in WAYS if way[0] != "threads" and way[1]]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0]}-{way[1]}")

Way = tuple[str, int]
MakeLoader = Callable[..., Loader]


def picture(seed: int) -> bytes:
    colours = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), np.uint8)
    return codec.encode(colours.repeat(4, 0).repeat(4, 1))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with StoreWriter(tmp_path_factory.mktemp("engines") / "a.lmdb") as writer:
        for row in range(COUNT):
            writer.put(f"f{row:03d}", picture(row), {"label": row // 4})
        return writer.seal()


@pytest.fixture
def dataset(path: Path) -> ReIDDataset:
    return ReIDDataset(path)


@pytest.fixture
def loader() -> Iterator[MakeLoader]:
    """make_loader by way; its loaders are closed at the end. Workers are forked, which is quick."""
    made: list[Loader] = []

    def make(
        dataset: ReIDDataset, batch_size: int = 10, *, way: Way = ("dataloader", 0), **kw: Any
    ) -> Loader:
        engine, num_workers = way
        made.append(
            make_loader(
                dataset,
                batch_size,
                engine=engine,
                num_workers=num_workers,
                start_method="fork",
                **kw,
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def rows(batches: Any) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


def flat(batches: Any) -> list[int]:
    return [row for batch in rows(batches) for row in batch]


def alike(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(a, b)
        for one, other in zip(some, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


# -- batches


@ways
def test_a_batch_is_images_labels_and_rows(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = list(loader(dataset, way=way))
    assert [len(batch.rows) for batch in batches] == [10] * 6 + [4]
    assert flat(batches) == list(range(COUNT))
    for batch in batches:
        assert isinstance(batch, Batch)
        assert (batch.images.dtype, batch.labels.dtype, batch.rows.dtype) == (
            torch.uint8,
            torch.int64,
            torch.int64,
        )
        assert batch.images.shape == (len(batch.rows), 3, 32, 16)
        for image, label, row in zip(*batch, strict=True):
            assert torch.equal(image, dataset[int(row)][0])
            assert label == int(row) // 4


@ways
def test_rows_are_the_stores_and_labels_the_datasets(
    way: Way, path: Path, loader: MakeLoader
) -> None:
    dataset = ReIDDataset(path, rows=[40, 8, 8, 63], labels="relabel", size=(16, 8))
    (batch,) = loader(dataset, way=way)
    assert batch.rows.tolist() == [40, 8, 8, 63]
    assert batch.labels.tolist() == [1, 0, 0, 2]
    assert batch.images.shape == (4, 3, 16, 8)
    assert torch.equal(batch.images[1], batch.images[2])


@ways
def test_all_batches_of_an_epoch_can_be_kept(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 4, way=way, shuffle=True)
    kept = list(batches)
    for _ in batches:
        pass
    for batch in kept:
        for image, row in zip(batch.images, batch.rows.tolist(), strict=True):
            assert torch.equal(image, dataset[row][0])
    part = [batch.images[1, :, 3:5] for batch in kept]  # a view holds its batch, too
    wanted = [view.clone() for view in part]
    del kept, batch, image
    gc.collect()
    for _ in batches:
        pass
    assert all(torch.equal(a, b) for a, b in zip(part, wanted, strict=True))


@ways
def test_a_batch_can_be_written_by_its_holder(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, 16, way=way)
    for _ in range(3):
        for batch in batches:
            assert torch.equal(batch.images[0], dataset[int(batch.rows[0])][0])
            assert int(batch.labels[0]) == int(batch.rows[0]) // 4
            batch.images.zero_()
            batch.labels.zero_()
            batch.rows.zero_()


# -- order


@ways
def test_the_order_is_a_pure_function_of_seed_and_epoch(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    torch.manual_seed(len(way[0]))
    batches = loader(dataset, way=way, shuffle=True, seed=5)
    for epoch in range(3):
        assert batches.epoch == epoch
        assert flat(batches) == Shuffled(COUNT, 5).rows(epoch).tolist()
    batches.set_epoch(1)
    assert flat(batches) == Shuffled(COUNT, 5).rows(1).tolist()
    assert batches.epoch == 2


@ways
def test_a_last_batch_that_is_not_full(way: Way, dataset: ReIDDataset, loader: MakeLoader) -> None:
    whole = loader(dataset, way=way)
    assert len(whole) == len(list(whole)) == 7
    cut = loader(dataset, way=way, drop_last=True)
    assert len(cut) == 6
    assert flat(cut) == list(range(60))
    assert cut.epoch == 1


@ways
@pytest.mark.parametrize("drop_last", [False, True])
def test_nothing_to_read(way: Way, drop_last: bool, path: Path, loader: MakeLoader) -> None:
    empty = loader(ReIDDataset(path, []), way=way, shuffle=True, drop_last=drop_last)
    for epoch in (1, 2):
        assert len(empty) == 0
        assert list(empty) == []
        assert empty.epoch == epoch


@ways
def test_a_batch_larger_than_the_data(way: Way, path: Path, loader: MakeLoader) -> None:
    few = ReIDDataset(path, [3, 1])
    assert rows(loader(few, 100, way=way)) == [[3, 1]]
    cut = loader(few, 100, way=way, drop_last=True)
    assert (len(cut), list(cut), cut.epoch) == (0, [], 1)


def test_a_sampler_decides_order_length_and_batch_size(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    class Backwards:
        def rows(self, epoch: int) -> np.ndarray:
            return np.arange(COUNT)[::-1][epoch:]

    batches = loader(dataset, sampler=Backwards())
    assert flat(batches) == list(range(63, -1, -1))
    assert flat(batches) == list(range(62, -1, -1))
    batches.set_epoch(60)
    assert len(batches) == 1
    by_identity = loader(dataset, 10, sampler=PKSampler(dataset.labels, p=4, k=2))
    assert by_identity.batch_size == 8
    for batch in by_identity:
        assert np.unique(batch.labels, return_counts=True)[1].tolist() == [2] * 4


def test_a_sampler_gives_positions_in_the_dataset(path: Path, loader: MakeLoader) -> None:
    selection = ReIDDataset(path, [50, 40, 30])
    assert flat(loader(selection, sampler=[2, 0])) == [30, 50]
    for wrong in ([3], [-4]):
        with pytest.raises(IndexError, match="of a dataset of 3"):
            list(loader(selection, sampler=wrong))


def test_torchs_samplers_draw_anew_for_each_epoch(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, sampler=torch.utils.data.RandomSampler(range(COUNT)))
    first, second = flat(batches), flat(batches)
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first != second


# -- passes


@ways
def test_a_new_pass_ends_the_old_one(way: Way, dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, way=way)
    old = iter(batches)
    assert rows([next(old), next(old)]) == [list(range(10)), list(range(10, 20))]
    assert flat(batches) == list(range(COUNT)), "a pass that was given up is begun anew"
    assert list(old) == []
    assert batches.epoch == 1


@ways
def test_a_look_at_the_first_batch_costs_nothing(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, way=way, shuffle=True)
    first = next(iter(batches)).rows.tolist()
    assert next(iter(batches)).rows.tolist() == first
    assert batches.epoch == 0
    assert len(list(batches)) == len(batches)
    assert batches.epoch == 1


@ways
def test_leaving_a_pass_by_break_or_error(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, way=way)
    for _ in batches:
        break
    with pytest.raises(ZeroDivisionError):
        for _ in batches:
            raise ZeroDivisionError
    assert flat(batches) == list(range(COUNT))


@ways
def test_setting_the_epoch_within_a_pass_ends_it(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, way=way, shuffle=True)
    seen = 0
    for _ in batches:
        seen += 1
        batches.set_epoch(5)
    assert (seen, batches.epoch) == (1, 5)
    assert flat(batches) == Shuffled(COUNT, 0).rows(5).tolist()


# -- resuming


@ways
@pytest.mark.parametrize("taken", [0, 1, 4, 7])
def test_resuming_in_mid_epoch_on_another_engine(
    taken: int, way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    undisturbed = loader(dataset, shuffle=True, seed=3)
    wanted = rows(undisturbed) + rows(undisturbed)
    first = loader(dataset, shuffle=True, seed=3, way=("threads", 2))
    running, found = iter(first), []
    state = first.state_dict()
    for _ in range(taken):
        found.append(next(running).rows.tolist())
        state = first.state_dict()
    resumed = loader(dataset, shuffle=True, seed=3, way=way)
    resumed.load_state_dict(state)
    while len(found) < len(wanted):
        found += rows(resumed)
    assert found == wanted


def test_a_state_says_what_was_taken_and_not_what_was_prefetched(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, way=("threads", 2), prefetch=6)
    running = iter(batches)
    states = [batches.state_dict()]
    for _ in range(3):
        next(running)
        states.append(batches.state_dict())
    assert [state["batches"] for state in states] == [0, 1, 2, 3]
    assert {state["epoch"] for state in states} == {0}
    assert list(running)
    last = batches.state_dict()
    assert (last["epoch"], last["batches"]) == (1, 0)


def test_a_state_is_plain_data_also_of_a_sampler_that_draws(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    first = loader(dataset, sampler=torch.utils.data.RandomSampler(range(COUNT)))
    running = iter(first)
    taken = rows([next(running), next(running)])
    state = json.loads(json.dumps(first.state_dict()))
    rest = rows(running)
    second = loader(dataset, sampler=torch.utils.data.RandomSampler(range(COUNT)))
    second.load_state_dict(state)
    assert rows(second) == rest
    assert sorted(row for batch in taken + rest for row in batch) == list(range(COUNT))


@pytest.mark.parametrize(
    "changed",
    [{"seed": 4}, {"batch_size": 9}, {"drop_last": True}, {"world_size": 2, "rank": 0}],
    ids=str,
)
def test_a_state_of_another_order_is_refused(
    changed: dict[str, Any], dataset: ReIDDataset, path: Path, loader: MakeLoader
) -> None:
    state = loader(dataset, shuffle=True).state_dict()
    with pytest.raises(UsageError, match=f"{next(iter(changed))} was "):
        loader(dataset, shuffle=True, **changed).load_state_dict(state)
    with pytest.raises(UsageError, match="samples was 64"):
        loader(ReIDDataset(path, range(63)), shuffle=True).load_state_dict(state)


def test_loading_a_state_within_a_pass_ends_it(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches, other = loader(dataset), loader(dataset)
    running = iter(other)
    next(running)
    for _ in batches:
        batches.load_state_dict(other.state_dict())
    assert flat(batches) == list(range(10, COUNT))


# -- ranks


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_read_as_many_batches_and_all_of_the_data(
    ranks: int, drop_last: bool, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    shares = [
        loader(dataset, 7, shuffle=True, rank=rank, world_size=ranks, drop_last=drop_last)
        for rank in range(ranks)
    ]
    found = [flat(share) for share in shares]
    assert len({len(share) for share in shares}) == 1
    assert len({len(read) for read in found}) == 1
    together = [row for read in found for row in read]
    if drop_last:
        assert len(set(together)) == len(together)
    else:
        assert set(together) == set(range(COUNT))


# -- augmentation


def noise(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(1 << 60, (2,), generator=generator)


def flipped(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    return image.flip(2)


def global_noise(image: torch.Tensor) -> torch.Tensor:
    others = [random.getrandbits(60), int(np.random.randint(1 << 60))]
    return torch.tensor([int(torch.randint(1 << 60, ())), *others])


def test_augmentation_by_generator_is_the_same_everywhere(path: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(path, transform=noise)
    wanted: list[Batch] = []
    for way in WAYS:
        batches = loader(dataset, way=way, shuffle=True, seed=2)
        found = [*batches, *batches]
        drawn = torch.cat([batch.images for batch in found])
        assert len(set(drawn[:, 0].tolist())) == 2 * COUNT, "a seed for every position"
        wanted = wanted or found
        assert alike(found, wanted), f"{way} differs"


def test_augmentation_by_generator_is_the_same_after_a_resume_and_on_ranks(
    path: Path, loader: MakeLoader
) -> None:
    dataset = ReIDDataset(path, transform=noise)
    wanted = {
        row: image
        for batch in loader(dataset, shuffle=True)
        for image, row in zip(batch.images, batch.rows.tolist(), strict=True)
    }
    first = loader(dataset, shuffle=True)
    running = iter(first)
    next(running)
    resumed = loader(dataset, shuffle=True, way=("dataloader", 1))
    resumed.load_state_dict(first.state_dict())
    ranks = [loader(dataset, 3, shuffle=True, rank=rank, world_size=2) for rank in (0, 1)]
    for batch in [*resumed, *ranks[0], *ranks[1]]:
        for image, row in zip(batch.images, batch.rows.tolist(), strict=True):
            assert torch.equal(image, wanted[row])


def test_augmentation_by_global_generators_is_the_same_in_any_process(
    path: Path, loader: MakeLoader
) -> None:
    dataset = ReIDDataset(path, transform=global_noise)
    wanted: list[Batch] = []
    for way in IN_PROCESSES:
        batches = loader(dataset, way=way, shuffle=True, seed=2)
        found = [*batches, *batches]
        wanted = wanted or found
        assert alike(found, wanted), f"{way} differs"
    for column in torch.cat([batch.images for batch in wanted]).T.tolist():
        assert len(set(column)) == 2 * COUNT, "a seed for every position"


@ways
def test_the_callers_generators_are_not_seeded(way: Way, path: Path, loader: MakeLoader) -> None:
    random.seed(3)
    np.random.seed(3)
    states = random.getstate(), np.random.get_state()[1].tolist()
    list(loader(ReIDDataset(path, transform=noise), way=way, shuffle=True))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


@ways
def test_what_transforms_return_is_collated(way: Way, path: Path, loader: MakeLoader) -> None:
    def transform(image: torch.Tensor, *, generator: torch.Generator) -> dict[str, Any]:
        return {"half": image[:, ::2].half(), "mean": float(image.float().mean())}

    batch = next(iter(loader(ReIDDataset(path, transform=transform), way=way)))
    assert batch.images["half"].shape == (10, 3, 16, 16)
    assert batch.images["half"].dtype == torch.float16
    assert batch.images["mean"].shape == (10,)


@ways
def test_errors_of_a_transform_reach_the_consumer(way: Way, path: Path, loader: MakeLoader) -> None:
    def transform(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
        raise ZeroDivisionError("a mistake of the caller's")

    with pytest.raises(ZeroDivisionError, match="a mistake of the caller's"):
        list(loader(ReIDDataset(path, transform=transform), way=way))


# -- damage


def copy_with_flips(path: Path, to: Path, damaged: list[int]) -> Path:
    """A copy of the store with a flipped bit in these rows, and in LMDB's stale copies of them."""
    shutil.copytree(path, to)
    data = bytearray((to / "data.mdb").read_bytes())
    for row in damaged:
        at = data.find(picture(row))
        assert at > 0
        while at > 0:
            end = at + len(picture(row))
            data[at + 300] ^= 8
            at = data.find(picture(row), end)
    (to / "data.mdb").write_bytes(data)
    return to


@ways
def test_damage_is_raised_with_its_id(
    way: Way, path: Path, tmp_path: Path, loader: MakeLoader
) -> None:
    batches = loader(ReIDDataset(copy_with_flips(path, tmp_path / "b.lmdb", [17, 33])), way=way)
    running = iter(batches)
    assert next(running).rows.tolist() == list(range(10))
    with pytest.raises(CorruptSampleError, match="f017: its image"):
        next(running)
    assert batches.state_dict()["batches"] == 1
    with pytest.raises(CorruptSampleError, match="f017"):
        list(batches)
    batches.set_epoch(3)
    assert next(iter(batches)).rows.tolist() == list(range(10))


@ways
def test_damage_can_be_left_out_and_is_counted(
    way: Way, path: Path, tmp_path: Path, loader: MakeLoader
) -> None:
    damaged = copy_with_flips(path, tmp_path / "b.lmdb", [17, 33])
    batches = loader(ReIDDataset(damaged), way=way, on_error="skip")
    found = list(batches)
    assert flat(found) == [row for row in range(COUNT) if row not in (17, 33)]
    assert [len(batch.labels) for batch in found] == [10, 9, 10, 9, 10, 10, 4]
    store = Store(damaged)
    for batch in found:
        for image, row in zip(batch.images, batch.rows.tolist(), strict=True):
            assert np.array_equal(image.permute(1, 2, 0).numpy(), store.at(row).image)
    assert batches.stats()["skipped"] == 2


def test_too_much_damage_is_an_error_even_where_it_may_be_left_out(
    path: Path, tmp_path: Path, loader: MakeLoader
) -> None:
    damaged = copy_with_flips(path, tmp_path / "b.lmdb", list(range(20, 40)))
    with pytest.raises(CorruptSampleError, match=r"11 samples of this pass are damaged.*f0"):
        list(loader(ReIDDataset(damaged), 1, on_error="skip"))


# -- the end


def helpers() -> int:
    """Worker processes, and decoder threads."""
    decoders = [t for t in threading.enumerate() if t.name.startswith("lmdb_reid")]
    return len(multiprocessing.active_children()) + len(decoders)


@ways
@pytest.mark.parametrize("when", ["before a pass", "within a pass", "after a pass"])
def test_closing_leaves_no_process_and_no_thread(
    when: str, way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    gc.collect()
    before = helpers()
    batches = loader(dataset, way=way)
    running = iter(batches)
    if when != "before a pass":
        next(running)
        assert helpers() > before or not way[1]
    if when == "after a pass":
        assert list(running)
    batches.close()
    assert helpers() == before
    assert list(running) == []
    batches.close()
    with pytest.raises(UsageError, match="closed"):
        iter(batches)


@ways
def test_a_loader_that_is_dropped_ends_too(way: Way, dataset: ReIDDataset) -> None:
    gc.collect()
    before = len(multiprocessing.active_children())
    batches = make_loader(dataset, 10, engine=way[0], num_workers=way[1], start_method="fork")  # type: ignore[arg-type]
    kept = next(iter(batches))
    del batches
    gc.collect()
    assert len(multiprocessing.active_children()) == before
    assert torch.equal(kept.images[0], dataset[0][0])


def test_a_loader_is_a_context(dataset: ReIDDataset) -> None:
    with make_loader(dataset, 10, num_workers=1) as batches:
        assert len(list(batches)) == 7
    with pytest.raises(UsageError, match="closed"):
        list(batches)


# -- what is asked of it


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 0},
        {"prefetch": 0},
        {"num_workers": -1},
        {"engine": "gpu"},
        {"on_error": "ignore"},
        {"seed": -1},
        {"shuffle": True, "sampler": [1, 2]},
        {"rank": 0},
        {"world_size": 2},
        {"rank": 2, "world_size": 2},
        {"mean": [0.5] * 3},
        {"dtype": torch.int32},
        {"dtype": torch.float32, "mean": [0.5]},
        {"dtype": torch.float32, "std": np.ones(4)},
    ],
    ids="-".join,
)
def test_arguments_that_cannot_be_meant(arguments: dict[str, Any], dataset: ReIDDataset) -> None:
    with pytest.raises(UsageError):
        make_loader(dataset, **{"num_workers": 0, **arguments})


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OTHER = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, IMAGENET),
        ({"mean": list(OTHER[0]), "std": np.array(OTHER[1])}, OTHER),
        ({"mean": torch.tensor(OTHER[0])}, (OTHER[0], IMAGENET[1])),
    ],
    ids=["imagenet", "given", "mean only"],
)
@pytest.mark.parametrize(
    ("dtype", "off"), [(torch.float32, 1e-5), (torch.float16, 3e-3), (torch.bfloat16, 2e-2)]
)
def test_normalised_into_a_floating_dtype(
    dtype: torch.dtype,
    off: float,
    arguments: dict[str, Any],
    wanted: tuple[tuple[float, ...], tuple[float, ...]],
    dataset: ReIDDataset,
    loader: MakeLoader,
) -> None:
    batch = next(iter(loader(dataset, dtype=dtype, **arguments)))
    assert batch.images.dtype == dtype
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in wanted)
    pixels = torch.stack([dataset[row][0] for row in range(10)]).double() / 255
    assert torch.allclose(batch.images.double(), (pixels - mean) / std, atol=off)


def test_the_signature_that_scripts_rely_on() -> None:
    parameters = inspect.signature(make_loader).parameters
    assert list(parameters)[:2] == ["dataset", "batch_size"]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[2:])
    wanted = {
        "batch_size": 256,
        "shuffle": False,
        "sampler": None,
        "engine": "auto",
        "num_workers": None,
        "prefetch": 3,
        "device": None,
        "dtype": None,
        "mean": None,
        "std": None,
        "drop_last": False,
        "seed": 0,
        "on_error": "raise",
    }
    assert {name: parameters[name].default for name in wanted} == wanted


def test_what_it_tells(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, way=("threads", 1))
    assert "ThreadsEngine" in batches.explain()
    running = iter(batches)
    next(running)
    assert "batches of 10, epoch 0, 1 taken" in repr(batches)
    assert list(running)
    stats = batches.stats()
    assert (stats["batches"], stats["samples"], stats["skipped"]) == (7, COUNT, 0)
    assert stats["samples_per_s"] > 0


@ways
def test_it_tells_where_the_time_went(way: Way, dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, way=way, dtype=torch.float32)
    for _ in range(2):
        for _ in batches:
            pass
    stats = batches.stats()
    for stage in ("wait", "gather", "decode", "transform", "transfer"):
        assert 0 <= stats[f"{stage}_ms_p50"] <= stats[f"{stage}_ms_p99"]
    assert stats["decode_ms_p50"] > 0 and stats["transfer_ms_p50"] > 0
    assert stats["transform_ms_p99"] == stats["gather_ms_p99"] == stats["cached"] == 0
    assert (stats["queue_depth_p50"] is None) == (way[0] == "dataloader")
    assert ("ring" in stats) == (way[0] != "dataloader")
    moments = batches.moments()
    assert [moment.samples for moment in moments] == [len(batch.rows) for batch in batches] * 2
    assert all(one.asked <= one.got for one in moments)


@ways
def test_it_tells_what_came_from_a_cache(way: Way, path: Path, loader: MakeLoader) -> None:
    cache = LRUCache(items=COUNT)
    batches = loader(ReIDDataset(path, cache=cache, transform=flipped), way=way)
    for _ in range(3):
        for _ in batches:
            pass
    stats = batches.stats()
    # Worker processes have a cache each, and which of them gets a batch is chance.
    least = 2 * COUNT if way in (("threads", 1), ("threads", 3), ("dataloader", 0)) else 1
    assert least <= stats["cached"] <= 2 * COUNT
    assert stats["gather_ms_p50"] > 0 and stats["transform_ms_p50"] > 0


# -- orders that cannot be, and orders on ranks --------------------------------------------------


class Given:
    """A sampler that gives what it was told."""

    def __init__(self, rows: Any, batch_size: int | None = None) -> None:
        self._rows = rows
        if batch_size:
            self.batch_size = batch_size

    def rows(self, epoch: int) -> Any:
        return self._rows


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize(
    "given", [[-1, -2], [1, COUNT], np.array([0.5]), np.zeros((2, 2), np.int64)], ids=str
)
def test_positions_that_are_none_are_refused(
    given: Any, resident: bool, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    with pytest.raises((UsageError, UnknownRowError), match=r"rows\(epoch\) of the sampler"):
        list(loader(dataset, sampler=Given(given), resident=resident))


@pytest.mark.parametrize("given", [[5, 3], np.array([5, 3], np.int32), np.array([5, 3], np.uint8)])
def test_whole_numbers_of_any_kind_are_positions(
    given: Any, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    (batch,) = loader(dataset, sampler=Given(given))
    assert batch.rows.tolist() == [5, 3]
    assert batch.rows.dtype == torch.int64


def test_samplers_that_cannot_be_are_refused(dataset: ReIDDataset, loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match="one epoch"):
        loader(dataset, sampler=iter(range(10)))
    with pytest.raises(UsageError, match="rows"):
        loader(dataset, sampler=3)
    batches = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(dataset), 4, False)
    with pytest.raises(UsageError, match="batch_size"):
        list(loader(dataset, sampler=batches))
    with pytest.raises(UsageError, match=r"ReIDDataset\(store\)"):
        make_loader(dataset.store)  # type: ignore[arg-type]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_whole_batches_of_a_sampler_that_makes_them(
    ranks: int, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    sampler = PKSampler(dataset.labels, 3, 2)
    alone = rows(loader(dataset, sampler=sampler))
    shared = [
        rows(loader(dataset, sampler=sampler, rank=rank, world_size=ranks)) for rank in range(ranks)
    ]
    assert len({len(share) for share in shared}) == 1
    together = [batch for step in zip(*shared, strict=True) for batch in step]
    assert together[: len(alone)] == alone
    for share in shared:
        for batch in share:
            labels = dataset.labels[batch].reshape(3, 2)
            assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 3


def test_augmentation_of_shared_batches_is_that_of_one_rank(path: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(path, transform=noise)
    sampler = PKSampler(dataset.labels, 3, 2)
    alone = list(loader(dataset, sampler=sampler))
    for rank in range(2):
        share = list(loader(dataset, sampler=sampler, rank=rank, world_size=2))
        whole = alone[rank::2]
        assert alike(share[: len(whole)], whole)


def test_torchs_samplers_on_ranks(dataset: ReIDDataset, loader: MakeLoader) -> None:
    data = torch.utils.data
    found: list[int] = []
    for rank in range(2):
        sampler = data.DistributedSampler(dataset, 2, rank, shuffle=True, seed=3)
        found += flat(loader(dataset, sampler=sampler, rank=rank, world_size=2))
    assert sorted(found) == list(range(COUNT))
    with pytest.raises(UsageError, match="another order on each rank"):
        loader(dataset, sampler=data.RandomSampler(dataset), rank=0, world_size=2)
    in_order = data.SequentialSampler(dataset)
    assert flat(loader(dataset, sampler=in_order, rank=1, world_size=2)) == list(range(1, COUNT, 2))


# -- states that are none of this order ----------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": None},
        {"batches": "2"},
        {"batches": -3},
        {"batches": 99_999},
        {"epoch": -1},
        {"crc32": 1},
    ],
    ids=str,
)
def test_a_state_that_is_none_is_refused(
    change: dict[str, Any], dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, shuffle=True)
    state = batches.state_dict() | change
    with pytest.raises(UsageError):
        batches.load_state_dict(state)
    with pytest.raises(UsageError):
        batches.load_state_dict({})


def test_a_state_belongs_to_its_order(path: Path, loader: MakeLoader) -> None:
    dataset, backwards = ReIDDataset(path), ReIDDataset(path, range(COUNT)[::-1])
    drawn = loader(dataset, sampler=torch.utils.data.RandomSampler(dataset)).state_dict()
    state = loader(dataset, shuffle=True).state_dict()
    for other in (loader(dataset), loader(backwards, shuffle=True)):
        with pytest.raises(UsageError, match="another order"):
            other.load_state_dict(state)
    with pytest.raises(UsageError):
        loader(dataset, shuffle=True).load_state_dict(drawn)


def test_a_position_is_not_lost_by_a_look(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, shuffle=True)
    whole = rows(batches)
    state = batches.state_dict() | {"epoch": 0, "batches": 5}
    state["crc32"] = loader(dataset, shuffle=True).state_dict()["crc32"]
    batches.load_state_dict(state)
    unused = iter(batches)
    del unused
    assert rows(batches) == whole[5:]
    batches.load_state_dict(state)
    batches.set_epoch(0)  # `for epoch in range(start, n): loader.set_epoch(epoch)`
    assert rows(batches) == whole[5:]
    batches.set_epoch(0)
    assert rows(batches) == whole


# -- more of what can go wrong ------------------------------------------------------------------


@ways
def test_a_batch_far_larger_than_the_data(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    (batch,) = loader(dataset, 100_000_000, way=way)  # 150 GB, were it taken literally
    assert batch.rows.tolist() == list(range(COUNT))


def test_no_memory_for_a_batch_is_raised(dataset: ReIDDataset, loader: MakeLoader) -> None:
    class Broken:
        made = beyond = 0
        longest = COUNT

        def lend(self) -> None:
            raise MemoryError("no page-locked memory")

    batches = loader(dataset, way=("threads", 2))
    batches._engine._ring_for = lambda longest: Broken()  # type: ignore[union-attr]
    with pytest.raises(MemoryError, match="page-locked"):
        list(batches)


def centre_of_light(image: torch.Tensor) -> torch.Tensor:
    """Fails on a black image."""
    return image.nonzero().amax(0).float()


def test_transforms_never_see_made_up_images(path: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(path, transform=centre_of_light)
    assert len(list(loader(dataset, way=("processes", 1)))) == 7


def pair(image: torch.Tensor) -> tuple[torch.Tensor, float]:
    return image, 1.0


def test_what_is_no_tensor_cannot_be_converted(path: Path, loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match="dtype"):
        list(loader(ReIDDataset(path, transform=pair), dtype=torch.float32))


@ways
def test_batches_go_to_any_device(way: Way, dataset: ReIDDataset, loader: MakeLoader) -> None:
    batch = next(iter(loader(dataset, way=way, device="meta")))
    assert {part.device.type for part in batch} == {"meta"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0]}-{way[1]}")
def test_a_loader_that_is_being_read_works_in_a_forked_child_too(
    way: Way, path: Path, loader: MakeLoader
) -> None:
    if way[0] == "dataloader" and way[1]:
        pytest.skip("torch's worker processes are their parent's alone")
    # Large enough for torch to use threads, which the child has not.
    torch.ones(1 << 20).add_(1)
    batches = loader(ReIDDataset(path, size=(256, 128)), way=way)
    running = iter(batches)
    first = next(running)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            found = flat(batches)
            os._exit(0 if found == list(range(COUNT)) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert [*first.rows.tolist(), *flat(running)] == list(range(COUNT))


def slow(image: torch.Tensor) -> torch.Tensor:
    time.sleep(0.2)
    return image


def test_leaving_a_pass_does_not_wait_for_what_is_under_way(path: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(path, range(40), transform=slow)
    batches = loader(dataset, 10, way=("processes", 2))
    next(iter(batches))
    crew = batches._engine._crew  # type: ignore[union-attr]
    assert len(crew._stale) > 0  # still being made
    batches.set_epoch(0)
    assert flat(batches) == list(range(40))
    assert not crew._stale
