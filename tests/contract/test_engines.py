"""What every engine of a loader has to keep, for any number of workers; 64 images of 32x16."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import random
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lmdb_reid import LRUCache, ReIDDataset, Store, StoreWriter, codec, make_loader
from lmdb_reid.errors import CorruptSampleError, LoaderClosedError, UsageError
from lmdb_reid.loaders import Batch, Engine, Loader, LoaderConfig, _device, _make
from lmdb_reid.loaders._device_decode import DeviceDecodeEngine
from lmdb_reid.loaders._job import Job
from lmdb_reid.sampling import Shuffled
from lmdb_reid.schema import Rows
from tests.streams import StandIn

COUNT = 64


class Way(NamedTuple):
    """One way to make batches."""

    engine: str
    num_workers: int
    start_method: str = "fork"  # which is quick

    def __str__(self) -> str:
        start = "" if self.start_method == "fork" else f"-{self.start_method}"
        return f"{self.engine}-{self.num_workers}{start}"

    @property
    def in_processes(self) -> bool:
        return self.engine in ("dataloader", "processes") and self.num_workers > 0


IN_PLACE = Way("dataloader", 0)
WAYS = [
    IN_PLACE,
    Way("dataloader", 1),
    Way("dataloader", 2),
    Way("threads", 1),
    Way("threads", 3),
    Way("processes", 2),
]
STARTED = [Way("processes", 1, "spawn"), Way("processes", 2, "forkserver")]
ON_DEVICE = [Way("resident", 1), Way("device decode", 1), Way("sent ahead", 2)]
ways = pytest.mark.parametrize("way", WAYS, ids=str)
ways_however_started = pytest.mark.parametrize("way", [*WAYS, *STARTED], ids=str)
# For what has no transform of single images.
every_way = pytest.mark.parametrize("way", [*WAYS, *ON_DEVICE], ids=str)

MakeLoader = Callable[..., Loader]


def picture(seed: int) -> bytes:
    colours = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), np.uint8)
    return codec.encode(colours.repeat(4, 0).repeat(4, 1))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with StoreWriter(tmp_path_factory.mktemp("engines") / "a.lmdb") as writer:
        for row in range(COUNT):
            record = {"label": row // 4, "camera": f"c{row % 3}", "at": row / 2}
            writer.put(f"f{row:03d}", picture(row), record)
        return writer.seal()


@pytest.fixture
def dataset(path: Path) -> ReIDDataset:
    return ReIDDataset(path)


def decoded_here(jpegs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Stands in for a GPU's decoder."""
    try:
        return [torch.from_numpy(codec.decode(jpeg.numpy())).permute(2, 0, 1) for jpeg in jpegs]
    except ValueError as error:
        raise RuntimeError("nvJPEG: a bad stream") from error


def _stand_in(job: Job, config: LoaderConfig, *_: object) -> tuple[Engine, str]:
    cpu = torch.device("cpu")
    return DeviceDecodeEngine(job, decoded_here, device=cpu, prefetch=config.prefetch), "asked for"


def made(dataset: Any, batch_size: int | None = 10, *, way: Way = IN_PLACE, **kw: Any) -> Loader:
    """make_loader by way."""
    engine, num_workers, start = way
    if way.engine == "resident":
        engine, kw = "threads", {"resident": True, **kw}
    with pytest.MonkeyPatch.context() as patch:
        if way.engine == "device decode":
            engine = "threads"
            patch.setattr(_make, "choose_engine", _stand_in)
        if way.engine == "sent ahead":  # as to a GPU: by a thread, in a stream of its own
            engine = "threads"
            patch.setattr(_device, "side_stream", lambda _: StandIn())
        return make_loader(
            dataset,
            batch_size,
            engine=engine,  # type: ignore[arg-type]
            num_workers=num_workers,
            start_method=start,  # type: ignore[arg-type]
            **kw,
        )


@pytest.fixture
def loader() -> Iterator[MakeLoader]:
    """`made`, whose loaders are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kw: stack.enter_context(made(*args, **kw))


def rows(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


def flat(batches: Iterable[Batch]) -> list[int]:
    return [row for batch in rows(batches) for row in batch]


def alike(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(a, b)
        for one, other in zip(some, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


# -- batches


@pytest.mark.parametrize("way", [*WAYS, *STARTED, *ON_DEVICE], ids=str)
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


@every_way
def test_rows_are_the_stores_and_labels_the_datasets(
    way: Way, path: Path, loader: MakeLoader
) -> None:
    dataset = ReIDDataset(path, rows=[40, 8, 8, 63], labels="relabel", size=(16, 8))
    (batch,) = loader(dataset, way=way)
    assert batch.rows.tolist() == [40, 8, 8, 63]
    assert batch.labels.tolist() == [1, 0, 0, 2]
    assert batch.images.shape == (4, 3, 16, 8)
    assert torch.equal(batch.images[1], batch.images[2])


@every_way
def test_batches_carry_the_columns_that_were_asked_for(
    way: Way, path: Path, loader: MakeLoader
) -> None:
    dataset = ReIDDataset(path, rows=range(COUNT)[::-1], columns=("camera", "at"))
    for batch in loader(dataset, way=way, shuffle=True):
        assert list(batch.columns) == ["camera", "at"]
        names = [
            dataset.store.columns.categories("camera")[code] for code in batch.columns["camera"]
        ]
        assert names == [f"c{row % 3}" for row in batch.rows.tolist()]
        assert batch.columns["at"].tolist() == [row / 2 for row in batch.rows.tolist()]
        assert len(batch) == 3, "it unpacks to three"


@every_way
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


@every_way
def test_a_batch_can_be_written_by_its_holder(way: Way, path: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(path, columns=["at"])
    batches = loader(dataset, 16, way=way)
    for _ in range(3):
        for batch in batches:
            first = int(batch.rows[0])
            assert torch.equal(batch.images[0], dataset[first][0])
            assert int(batch.labels[0]) == first // 4
            assert float(batch.columns["at"][0]) == first / 2
            batch.images.zero_()
            batch.labels.zero_()
            batch.rows.zero_()
            batch.columns["at"].zero_()


@every_way
@pytest.mark.parametrize("dtype", [None, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_the_memory_format_is_the_one_that_was_asked_for(
    memory_format: torch.memory_format,
    dtype: torch.dtype | None,
    way: Way,
    dataset: ReIDDataset,
    loader: MakeLoader,
) -> None:
    given = {"dtype": dtype, "memory_format": memory_format}
    plain = loader(dataset, 40, dtype=dtype)
    for batch, wanted in zip(loader(dataset, 40, way=way, **given), plain, strict=True):
        assert batch.images.is_contiguous(memory_format=memory_format)
        assert torch.equal(batch.images, wanted.images)


# -- order


@every_way
def test_the_order_is_a_pure_function_of_seed_and_epoch(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    torch.manual_seed(len(way.engine))
    batches = loader(dataset, way=way, shuffle=True, seed=5)
    for epoch in range(3):
        assert batches.epoch == epoch
        assert flat(batches) == Shuffled(COUNT, 5).positions(epoch).tolist()
    batches.set_epoch(1)
    assert flat(batches) == Shuffled(COUNT, 5).positions(1).tolist()
    assert batches.epoch == 2


@every_way
def test_a_last_batch_that_is_not_full(way: Way, dataset: ReIDDataset, loader: MakeLoader) -> None:
    whole = loader(dataset, way=way)
    assert len(whole) == len(list(whole)) == 7
    cut = loader(dataset, way=way, drop_last=True)
    assert len(cut) == 6
    assert flat(cut) == list(range(60))
    assert cut.epoch == 1


class DrawsNothing:
    """A sampler whose epochs are empty."""

    batch_size = None

    def __len__(self) -> int:
        return 0

    def positions(self, epoch: int) -> Rows:
        return np.empty(0, np.int64)


@every_way
@pytest.mark.parametrize("drop_last", [False, True])
def test_nothing_to_read(
    way: Way, drop_last: bool, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    empty = loader(dataset, way=way, sampler=DrawsNothing(), drop_last=drop_last)
    for epoch in (1, 2):
        assert len(empty) == 0
        assert list(empty) == []
        assert empty.epoch == epoch


@every_way
@pytest.mark.parametrize("query", ["label == 999", "kind == 3 and label >= 0"])
def test_a_query_that_finds_nothing_makes_no_loader(
    way: Way, query: str, path: Path, loader: MakeLoader
) -> None:
    with pytest.raises(UsageError, match=re.escape(f"the query {query!r} finds none of the 64 in")):
        loader(ReIDDataset(path, query), way=way)
    with pytest.raises(UsageError, match=r"the selection is empty: ReIDDataset\(.*, 0 samples"):
        loader(ReIDDataset(path, ReIDDataset(path, query).rows), way=way)


@every_way
def test_a_batch_larger_than_the_data(way: Way, path: Path, loader: MakeLoader) -> None:
    few = ReIDDataset(path, [3, 1])
    assert rows(loader(few, 100, way=way)) == [[3, 1]]
    with pytest.warns(
        UserWarning, match=r"for 2 samples are fewer than a batch of 100\. Pass a smaller"
    ) as said:
        cut = loader(few, 100, way=way, drop_last=True)
    assert len(said) == 1
    assert (len(cut), list(cut), cut.epoch) == (0, [], 1)


@ways
def test_a_batch_far_larger_than_the_data(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    (batch,) = loader(dataset, 100_000_000, way=way)  # 150 GB, were it taken literally
    assert batch.rows.tolist() == list(range(COUNT))


# -- passes


@every_way
def test_a_new_pass_ends_the_old_one_and_reads_the_next_epoch(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, way=way, shuffle=True)
    old = iter(batches)
    first = Shuffled(COUNT).positions(0).tolist()
    assert rows([next(old), next(old)]) == [first[:10], first[10:20]]
    new = iter(batches)
    with pytest.raises(LoaderClosedError, match="a newer pass of its loader began"):
        next(old)
    assert flat(new) == Shuffled(COUNT).positions(1).tolist()
    with pytest.raises(LoaderClosedError, match="a newer pass"):
        next(old)
    assert list(new) == [], "one that was read to its end stays at its end"
    assert batches.epoch == 2


@every_way
def test_leaving_a_pass_by_break_or_error(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, way=way, shuffle=True)
    for _ in batches:
        break
    with pytest.raises(ZeroDivisionError):
        for _ in batches:
            raise ZeroDivisionError
    assert flat(batches) == Shuffled(COUNT).positions(2).tolist()


@every_way
def test_setting_another_epoch_within_a_pass_ends_it(
    way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    batches = loader(dataset, way=way, shuffle=True)
    seen = 0
    with pytest.raises(LoaderClosedError, match=r"set_epoch\(5\) was called"):
        for _ in batches:
            seen += 1
            batches.set_epoch(5)
    assert (seen, batches.epoch) == (1, 5)
    assert flat(batches) == Shuffled(COUNT, 0).positions(5).tolist()


# -- resuming


@every_way
@pytest.mark.parametrize("taken", [0, 1, 4, 7])
def test_resuming_in_mid_epoch_on_another_engine(
    taken: int, way: Way, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    undisturbed = loader(dataset, shuffle=True, seed=3)
    wanted = rows(undisturbed) + rows(undisturbed)
    first = loader(dataset, shuffle=True, seed=3, way=Way("threads", 2))
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


# -- augmentation


def noise(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(1 << 60, (2,), generator=generator)


def flipped(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    return image.flip(2)


def global_noise(image: torch.Tensor) -> torch.Tensor:
    others = [random.getrandbits(60), int(np.random.randint(1 << 60))]
    return torch.tensor([int(torch.randint(1 << 60, ())), *others])


@pytest.fixture(scope="module")
def augmented(path: Path) -> list[Batch]:
    """Two epochs with noise, made in the caller's thread."""
    dataset = ReIDDataset(path, transform=noise)
    batches = make_loader(dataset, 10, shuffle=True, seed=2, num_workers=0)
    return [*batches, *batches]


def test_augmentation_has_a_seed_for_every_position(augmented: list[Batch]) -> None:
    drawn = torch.cat([batch.images for batch in augmented])
    assert len(set(drawn[:, 0].tolist())) == 2 * COUNT


@ways_however_started
def test_augmentation_by_generator_is_the_same_everywhere(
    way: Way, path: Path, augmented: list[Batch], loader: MakeLoader
) -> None:
    batches = loader(ReIDDataset(path, transform=noise), way=way, shuffle=True, seed=2)
    assert alike([*batches, *batches], augmented)


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
    resumed = loader(dataset, shuffle=True, way=Way("dataloader", 1))
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
    for way in [*WAYS, Way("processes", 1, "forkserver")]:
        if not way.in_processes:
            continue
        batches = loader(dataset, way=way, shuffle=True, seed=2)
        found = [*batches, *batches]
        wanted = wanted or found
        assert alike(found, wanted), f"{way} differs"
    for column in torch.cat([batch.images for batch in wanted]).T.tolist():
        assert len(set(column)) == 2 * COUNT, "a seed for every position"


class OwnNoise:
    """Draws as albumentations does: from generators made with the pipeline."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.python = random.Random(0)
        self.legacy = np.random.RandomState(0)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return torch.tensor(
            [self.rng.random(), self.python.random(), self.legacy.random_sample()],
            dtype=torch.float64,
        )


def closed_over() -> Callable[[torch.Tensor], torch.Tensor]:
    rng = np.random.default_rng(0)
    return lambda image: torch.from_numpy(rng.random(2))


MODULE_RNG = np.random.Generator(np.random.MT19937(0))


def of_its_module(image: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(MODULE_RNG.random(2))


@pytest.mark.parametrize(
    ("make_transform", "ways"),
    [
        (OwnNoise, [Way("processes", 1), Way("processes", 3), Way("dataloader", 2)]),
        (closed_over, [Way("dataloader", 1), Way("dataloader", 2), Way("processes", 2)]),
        (lambda: of_its_module, [Way("processes", 1), Way("dataloader", 2)]),
    ],
    ids=["object", "closure", "module"],
)
def test_augmentation_by_a_generator_of_its_own_is_the_same_in_any_process(
    make_transform: Callable[[], Any], ways: list[Way], path: Path, loader: MakeLoader
) -> None:
    wanted: list[Batch] = []
    for way in ways:
        dataset = ReIDDataset(path, transform=make_transform())
        with pytest.warns(UserWarning, match=r"its own generator \(.*workers seed them for"):
            batches = loader(dataset, way=way, shuffle=True, seed=2)
        found = [*batches, *batches]
        wanted = wanted or found
        assert alike(found, wanted)
    for column in torch.cat([batch.images for batch in wanted]).T.tolist():
        assert len(set(column)) == 2 * COUNT, "a seed for every position"


@pytest.mark.filterwarnings("ignore:the transform has its own generator")
def test_augmentation_by_a_generator_of_its_own_is_the_same_after_a_resume(
    path: Path, loader: MakeLoader
) -> None:
    dataset = ReIDDataset(path, transform=OwnNoise())
    first = loader(dataset, shuffle=True, way=Way("processes", 2))
    running = iter(first)
    next(running)
    state = first.state_dict()
    resumed = loader(dataset, shuffle=True, way=Way("processes", 1))
    resumed.load_state_dict(state)
    assert alike(list(resumed), list(running))


def test_a_generator_of_its_own_is_the_callers_where_there_is_no_other_process(
    path: Path, loader: MakeLoader
) -> None:
    with pytest.warns(UserWarning, match="num_workers=0 draws on from them as they are"):
        batches = loader(ReIDDataset(path, transform=OwnNoise()))
    drawn = torch.cat([batch.images for batch in batches])[:, 0]
    assert drawn.tolist() == np.random.default_rng(0).random(COUNT).tolist()


def draws_from_both(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    return noise(image, generator=generator) + int(MODULE_RNG.integers(2))


def test_threads_that_share_a_generator_are_warned_of(path: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(path, transform=draws_from_both)
    with pytest.warns(UserWarning, match="all threads draw from them in turn"):
        loader(dataset, way=Way("threads", 2))
    for way in (Way("processes", 1), IN_PLACE):  # it can set them by the generator that it is given
        loader(dataset, way=way)


@ways
@pytest.mark.parametrize("transform", [noise, global_noise])
def test_the_callers_generators_are_not_seeded(
    transform: Callable[..., Any], way: Way, path: Path, loader: MakeLoader
) -> None:
    if transform is global_noise and not way.in_processes:
        pytest.skip("it draws from the caller's own generators there")

    def states() -> list[Any]:
        numpy_state = np.random.get_state()
        return [torch.get_rng_state().tolist(), random.getstate(), numpy_state[1].tolist()]

    batches = loader(ReIDDataset(path, transform=transform), way=way, shuffle=True)
    # torch's own loader draws a base seed for its workers, whatever they read.
    before = states()[1 if way.engine == "dataloader" else 0 :]
    list(batches)
    assert states()[1 if way.engine == "dataloader" else 0 :] == before


def half_and_mean(image: torch.Tensor, *, generator: torch.Generator) -> dict[str, Any]:
    return {"half": image[:, ::2].half(), "mean": float(image.float().mean())}


@ways
def test_what_transforms_return_is_collated(way: Way, path: Path, loader: MakeLoader) -> None:
    batch = next(iter(loader(ReIDDataset(path, transform=half_and_mean), way=way)))
    assert batch.images["half"].shape == (10, 3, 16, 16)
    assert batch.images["half"].dtype == torch.float16
    assert batch.images["mean"].shape == (10,)


def mistaken(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    raise ZeroDivisionError("a mistake of the caller's")


@pytest.mark.parametrize("way", [*WAYS, STARTED[1]], ids=str)
def test_errors_of_a_transform_reach_the_consumer(way: Way, path: Path, loader: MakeLoader) -> None:
    with pytest.raises(ZeroDivisionError, match="a mistake of the caller's"):
        list(loader(ReIDDataset(path, transform=mistaken), way=way))


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


@pytest.fixture(scope="module")
def damaged(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_with_flips(path, tmp_path_factory.mktemp("damaged") / "b.lmdb", [17, 33])


@pytest.mark.parametrize("way", [*WAYS, STARTED[1], ON_DEVICE[1]], ids=str)
def test_damage_is_raised_with_its_id(way: Way, damaged: Path, loader: MakeLoader) -> None:
    batches = loader(ReIDDataset(damaged), way=way)
    running = iter(batches)
    assert next(running).rows.tolist() == list(range(10))
    with pytest.raises(CorruptSampleError, match="f017: its image"):
        next(running)
    assert batches.state_dict()["samples"] == 10
    with pytest.raises(LoaderClosedError, match="it failed with CorruptSampleError"):
        next(running)
    with pytest.raises(CorruptSampleError, match="f017"):
        list(batches)
    batches.set_epoch(3)
    assert next(iter(batches)).rows.tolist() == list(range(10))


@every_way
def test_damage_can_be_left_out_and_is_counted(way: Way, damaged: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(damaged, columns=["at"])
    batches = loader(dataset, way=way, on_error="skip")
    found = list(batches)
    assert flat(found) == [row for row in range(COUNT) if row not in (17, 33)]
    assert [len(batch.labels) for batch in found] == [10, 9, 10, 9, 10, 10, 4]
    with Store(damaged) as store:
        for batch in found:
            for image, row in zip(batch.images, batch.rows.tolist(), strict=True):
                assert np.array_equal(image.permute(1, 2, 0).numpy(), store.at(row).image)
            assert batch.columns["at"].tolist() == [row / 2 for row in batch.rows.tolist()]
    assert batches.stats()["skipped"] == 2


def test_too_much_damage_is_an_error_even_where_it_may_be_left_out(
    path: Path, tmp_path: Path, loader: MakeLoader
) -> None:
    damaged = copy_with_flips(path, tmp_path / "b.lmdb", list(range(20, 40)))
    batches = loader(ReIDDataset(damaged), 1, on_error="skip")
    with pytest.raises(CorruptSampleError, match=r"11 samples of this pass are damaged.*f0") as why:
        list(batches)
    assert why.value.ids == ("f028", "f029", "f030")


# -- the end


def helpers() -> set[Any]:
    """Worker processes, and decoder threads."""
    decoders = {t for t in threading.enumerate() if t.name.startswith("lmdb_reid")}
    return {*multiprocessing.active_children(), *decoders}


def gone(some: set[Any]) -> bool:
    """Whether these helpers end; a thread may still be on its last step."""
    for one in some:
        one.join(30)
    return not any(one.is_alive() for one in some)


@pytest.mark.parametrize("way", [*WAYS, *STARTED[1:], *ON_DEVICE], ids=str)
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
        assert helpers() > before or way in (IN_PLACE, ON_DEVICE[0])
    if when == "after a pass":
        assert list(running)
    batches.close()
    assert helpers() == before
    if when == "after a pass":
        assert list(running) == []
    else:
        with pytest.raises(LoaderClosedError, match="its loader was closed"):
            next(running)
    batches.close()
    for use in (iter, batches.plan.__func__):  # type: ignore[attr-defined]
        with pytest.raises(LoaderClosedError, match="this loader was closed"):
            use(batches)


def test_torchs_workers_that_end_between_two_passes_are_started_anew(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    before = {*multiprocessing.active_children()}
    batches = loader(dataset, way=Way("dataloader", 2))
    whole = rows(batches)
    for _ in range(2):
        workers = {*multiprocessing.active_children()} - before
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker.pid or 0, signal.SIGINT)  # as Jupyter does to a whole kernel
        assert gone(workers)
        assert rows(batches) == whole


@every_way
def test_a_loader_that_is_dropped_ends_too(way: Way, dataset: ReIDDataset) -> None:
    gc.collect()
    before = helpers()
    batches = made(dataset, way=way)
    kept = next(iter(batches))
    started = helpers() - before
    assert started or way in (IN_PLACE, *ON_DEVICE)
    del batches
    gc.collect()
    assert gone(started)
    assert torch.equal(kept.images[0], dataset[0][0])


def test_a_loader_is_a_context(dataset: ReIDDataset) -> None:
    with make_loader(dataset, 10, num_workers=1) as batches:
        assert len(list(batches)) == 7
    with pytest.raises(LoaderClosedError, match="closed"):
        list(batches)


# -- what it says of itself


@every_way
def test_it_shows_where_the_time_went(way: Way, dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, way=way, dtype=torch.float32)
    for _ in range(2):
        for _ in batches:
            pass
    stats = batches.stats()
    for stage in ("wait", "gather", "decode", "transform", "transfer"):
        assert 0 <= stats[f"{stage}_ms_p50"] <= stats[f"{stage}_ms_p99"]
    assert stats["transfer_ms_p50"] > 0
    assert stats["transform_ms_p99"] == 0
    resident = way.engine == "resident"
    assert (stats["gather_ms_p50"] > 0) == (stats["cached"] > 0) == resident
    assert (stats["decode_ms_p50"] > 0) != resident
    assert (stats["queue_depth_p50"] is None) == (way.engine in ("dataloader", "resident"))
    assert ("ring" in stats) == (way.engine in ("threads", "processes", "sent ahead"))
    moments = batches.moments()
    assert [moment.samples for moment in moments] == [len(batch.rows) for batch in batches] * 2
    assert all(one.asked <= one.got for one in moments)


@ways
def test_it_shows_what_came_from_a_cache(way: Way, path: Path, loader: MakeLoader) -> None:
    cache = LRUCache(items=COUNT)
    batches = loader(ReIDDataset(path, cache=cache, transform=flipped), way=way)
    for _ in range(3):
        for _ in batches:
            pass
    stats = batches.stats()
    # Worker processes have a cache each, and which of them gets a batch is chance.
    least = 1 if way.in_processes else 2 * COUNT
    assert least <= stats["cached"] <= 2 * COUNT
    assert stats["gather_ms_p50"] > 0 and stats["transform_ms_p50"] > 0


# -- devices and forks


@every_way
def test_batches_go_to_any_device(way: Way, path: Path, loader: MakeLoader) -> None:
    if way.engine == "resident":
        pytest.skip("the meta device has no pixels to keep")
    dataset = ReIDDataset(path, columns=["camera"])
    batch = next(iter(loader(dataset, way=way, device="meta")))
    sent = (batch.images, batch.labels, batch.columns["camera"])
    assert {part.device.type for part in sent} == {"meta"}
    assert batch.rows.tolist() == list(range(10)), "rows stay on the host"


@every_way
def test_a_loader_that_is_being_read_works_in_a_forked_child_too(
    way: Way, path: Path, loader: MakeLoader
) -> None:
    if way.engine == "dataloader" and way.num_workers:
        pytest.skip("torch's worker processes are their parent's alone")
    # Large enough for torch to use threads, which the child has not.
    torch.ones(1 << 20).add_(1)
    batches = loader(ReIDDataset(path, size=(256, 128)), way=way)
    running = iter(batches)
    first = next(running)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 2
        try:
            with pytest.raises(LoaderClosedError, match="before a fork"):
                next(running)
            status = 0 if flat(batches) == list(range(COUNT)) else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert [*first.rows.tolist(), *flat(running)] == list(range(COUNT))
