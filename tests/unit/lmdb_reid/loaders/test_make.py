"""What make_loader takes, refuses, and says of what it will do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    random_split,
)

from lmdb_reid import Batch, CroppedBBoxDataset, Loader, LRUCache, PKSampler, ReIDDataset, codec
from lmdb_reid import make_loader as make
from lmdb_reid.errors import UnknownRowError, UsageError
from lmdb_reid.loaders import _choice

MakeLoader = Callable[..., Loader]
COUNT = 64


def flat(batches: Iterable[Batch]) -> list[int]:
    return [row for batch in batches for row in batch.rows.tolist()]


def together(batches: Iterable[Batch]) -> torch.Tensor:
    return torch.cat([batch.images for batch in batches])


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number, at least 1, got 0"),
        ({"batch_size": 1.5}, r"batch_size must be a whole number, at least 1, got 1\.5"),
        ({"prefetch": 0}, "prefetch must be a whole number, at least 1, got 0"),
        ({"num_workers": -1}, "num_workers must be a whole number, at least 0, got -1"),
        ({"num_workers": "2"}, "num_workers must be a whole number, at least 0, got '2'"),
        ({"seed": -1}, "seed must be a whole number, at least 0, got -1"),
        ({"engine": "gpu"}, "engine must be one of 'auto', 'threads', .*; got 'gpu'"),
        ({"on_error": "ignore"}, "on_error must be one of 'raise', 'skip'; got 'ignore'"),
        ({"start_method": "thread"}, "start_method must be one of .*; got 'thread'"),
        ({"shuffle": True, "sampler": [1, 2]}, "shuffle and sampler exclude each other"),
        ({"rank": 0}, "rank and world_size must be passed together"),
        ({"world_size": 2}, "rank and world_size must be passed together"),
        ({"rank": 2, "world_size": 2}, r"rank must be 0\.\.1 of world size 2; got 2"),
        ({"dtype": torch.int32}, r"dtype must be a floating dtype.*got torch\.int32"),
        ({"normalize": "coco"}, "normalize must be one of 'imagenet'; got 'coco'"),
        ({"normalize": [0.5] * 3}, r"normalize must be 'imagenet' or \(mean, std\)"),
        ({"normalize": 5}, r"normalize must be 'imagenet' or \(mean, std\)"),
        ({"normalize": ("a", "b")}, r"normalize must"),
        ({"normalize": (None, [1, 1, 1])}, r"normalize must"),
        ({"normalize": ([0.5], [0.5])}, "one mean and one std, not 0, for each of three"),
        ({"normalize": ([0.5] * 3, [0.1, 0, 0.1])}, "one mean and one std, not 0"),
        ({"normalize": ([0.5] * 3, np.ones(4))}, "one mean and one std, not 0"),
        ({"normalize": ([float("nan")] * 3, [1] * 3)}, "normalize must"),
        ({"memory_format": torch.preserve_format}, "memory_format must be"),
        ({"decode": "gpu"}, "decode must be one of 'cpu', 'cuda'; got 'gpu'"),
        ({"decode": "cuda"}, "decode='cuda' needs device='cuda'"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_named(
    arguments: dict[str, Any], said: str, dataset: ReIDDataset
) -> None:
    with pytest.raises(UsageError, match=said):
        make(dataset, **{"num_workers": 0, **arguments})


def test_a_gpu_that_is_not_there(dataset: ReIDDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="device='cuda': this torch sees no GPU"):
        make(dataset, device="cuda")
    for device in ("hpu", "vulkan"):
        with pytest.raises(UsageError, match=f"device='{device}' cannot be used here: "):
            make(dataset, device=device)


def test_the_signature_that_scripts_rely_on() -> None:
    parameters = inspect.signature(make).parameters
    assert list(parameters)[:2] == ["dataset", "batch_size"]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[2:])
    wanted = {
        "batch_size": None,  # 256, or the sampler's
        "shuffle": False,
        "sampler": None,
        "engine": "auto",
        "num_workers": None,
        "prefetch": 3,
        "device": None,
        "dtype": None,
        "normalize": None,
        "drop_last": False,
        "seed": 0,
        "on_error": "raise",
    }
    assert {name: parameters[name].default for name in wanted} == wanted


# -- the batch size


def test_the_batch_size_is_the_samplers_or_256(dataset: ReIDDataset, loader: MakeLoader) -> None:
    assert loader(dataset).batch_size == 256
    assert loader(dataset, sampler=[1, 2]).batch_size == 256
    assert loader(dataset, np.int64(7)).batch_size == 7
    pk = PKSampler(dataset, 4, 2)
    assert loader(dataset, sampler=pk).batch_size == loader(dataset, 8, sampler=pk).batch_size == 8
    for batch in loader(dataset, sampler=pk):
        assert np.unique(batch.labels, return_counts=True)[1].tolist() == [2] * 4
    with pytest.raises(UsageError, match="batch_size=10 differs from the sampler's own 8"):
        loader(dataset, 10, sampler=pk)


def test_a_torch_sampler_that_makes_batches_says_how_large(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    class PerClass(list):  # type: ignore[type-arg]  # as pytorch-metric-learning's
        batch_size = 4

    batches = loader(dataset, sampler=PerClass(range(12)))
    assert [len(batch.rows) for batch in batches] == [4, 4, 4]
    with pytest.raises(UsageError, match="differs from the sampler's own 4"):
        loader(dataset, 6, sampler=PerClass(range(12)))


@pytest.mark.parametrize(
    ("more", "ranks"),
    [({}, ""), ({"rank": 1, "world_size": 2}, " on each of 2 ranks"), ({"shuffle": True}, "")],
)
def test_a_loader_without_a_batch_is_warned_of(
    more: dict[str, Any], ranks: str, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    said = (
        rf"^the loader has no batch: .* for 64 samples are fewer than a batch of 65{ranks}\. Pass"
    )
    with pytest.warns(UserWarning, match=said) as warned:
        assert len(loader(dataset, 65, drop_last=True, **more)) == 0
    assert len(warned) == 1
    assert len(loader(dataset, 32, drop_last=True, **more)) > 0
    assert len(loader(dataset, 65, **more)) == 1


def test_a_sampler_without_a_length_is_not_drawn_for_a_warning(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    class Unsized:
        draws = 0

        def __iter__(self) -> Iterator[int]:
            self.draws += 1
            return iter(range(3))

    sampler = Unsized()
    batches = loader(dataset, 8, sampler=sampler, drop_last=True)
    assert sampler.draws == 0
    assert list(batches) == []


# -- samplers


class Given:
    """A sampler that gives what it was made with."""

    batch_size = None

    def __init__(self, positions: Any) -> None:
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def positions(self, epoch: int) -> Any:
        return self._positions


def test_a_sampler_decides_order_and_length(dataset: ReIDDataset, loader: MakeLoader) -> None:
    class Backwards(Given):
        def positions(self, epoch: int) -> Any:
            return np.roll(np.arange(10)[::-1], epoch)

    batches = loader(dataset, 4, sampler=Backwards(range(10)))
    assert len(batches) == 3
    assert flat(batches) == list(range(9, -1, -1))
    assert flat(batches) == [0, *range(9, 0, -1)]


def test_a_sampler_gives_positions_in_the_dataset(path64: Path, loader: MakeLoader) -> None:
    selection = ReIDDataset(path64, [50, 40, 30])
    assert flat(loader(selection, sampler=[2, 0])) == [30, 50]
    for wrong in ([3], [-4]):
        with pytest.raises(IndexError, match=r"positions\(epoch\) .* must be 0\.\.2"):
            list(loader(selection, sampler=wrong))


def test_torchs_samplers_draw_anew_for_each_epoch(dataset: ReIDDataset, loader: MakeLoader) -> None:
    batches = loader(dataset, sampler=RandomSampler(range(COUNT)))
    first, second = flat(batches), flat(batches)
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first != second


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize(
    "given", [[-1, -2], [1, COUNT], np.array([0.5]), np.zeros((2, 2), np.int64)], ids=str
)
def test_positions_that_are_none_are_refused(
    given: Any, resident: bool, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    with pytest.raises((UsageError, UnknownRowError), match=r"positions\(epoch\) of the sampler"):
        list(loader(dataset, sampler=Given(given), resident=resident))


@pytest.mark.parametrize("size", [0, 2.5, "4"])
def test_a_samplers_batch_size_is_a_whole_number(
    size: Any, dataset: ReIDDataset, loader: MakeLoader
) -> None:
    sampler = Given([1, 2])
    sampler.batch_size = size
    with pytest.raises(UsageError, match="batch_size of the sampler must be a whole number"):
        loader(dataset, sampler=sampler)


class Flat:
    """Two pictures whose size and labels are what a test wants."""

    def __init__(self, size: Any, labels: Any = None) -> None:
        self.size, self._labels = size, labels

    def __len__(self) -> int:
        return 2

    def read(self, positions: Any, out: Any, damaged: list[int] | None = None) -> None:
        out[:] = 7

    def names(self, positions: Any) -> list[str]:
        return [str(position) for position in positions]

    def column(self, name: str) -> Any:
        return self._labels if name == "label" else None


@pytest.mark.parametrize("size", [8, (8,), (8, 4, 3), (0, 4), ("8", "4"), None], ids=str)
def test_crops_have_a_height_and_a_width(size: Any, loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match=r"size of Flat must be \(height, width\) in pixels"):
        loader(Flat(size))


@pytest.mark.parametrize("labels", [np.arange(3), np.zeros(2), np.zeros((2, 1), np.int64)], ids=str)
def test_crops_have_one_label_each(labels: Any, loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match="must be whole numbers, one for each of 2 pictures"):
        loader(Flat((8, 4), labels))


class Liar(Flat):
    """Says of a slot that is not there that it is damaged."""

    def __init__(self, slot: int) -> None:
        super().__init__((8, 4))
        self._slot = slot

    def read(self, positions: Any, out: Any, damaged: list[int] | None = None) -> None:
        if damaged is not None:
            damaged.append(self._slot)


@pytest.mark.parametrize("engine", ["threads", "dataloader"])
@pytest.mark.parametrize("slot", [2, -1])
def test_crops_name_damaged_slots_that_are_there(
    slot: int, engine: str, loader: MakeLoader
) -> None:
    batches = loader(Liar(slot), engine=engine, num_workers=1, on_error="skip")
    with pytest.raises(UsageError, match=rf"Liar.read must list .* from 0 to 1; it listed {slot}"):
        list(batches)


def test_samplers_that_cannot_be_are_refused(dataset: ReIDDataset, loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match="once for each epoch"):
        loader(dataset, sampler=iter(range(10)))
    with pytest.raises(UsageError, match=r"positions\(epoch\), or a torch sampler; got 3"):
        loader(dataset, sampler=3)
    torchs = BatchSampler(SequentialSampler(dataset), 4, False)
    with pytest.raises(UsageError, match="For a batch sampler, pass its inner sampler and batch_s"):
        list(loader(dataset, sampler=torchs))
    with pytest.raises(UsageError, match="For a batch sampler"):
        list(loader(dataset, sampler=PKSampler(dataset, 2, 2).batches()))

    class Half:
        def positions(self, epoch: int) -> Any:
            return [1]

    with pytest.raises(UsageError, match=r"must also have batch_size .* and len\(\)"):
        loader(dataset, sampler=Half())


# -- datasets


def picked(dataset: Any, rows: Iterable[int]) -> torch.Tensor:
    return torch.stack([dataset[row][0] for row in rows])


def test_a_subset_is_read(dataset: ReIDDataset, loader: MakeLoader) -> None:
    subset = Subset(dataset, [9, 3, 3, 60])
    (batch,) = loader(subset)
    assert batch.rows.tolist() == [9, 3, 3, 60]
    assert batch.labels.tolist() == [2, 0, 0, 15]
    assert torch.equal(batch.images, picked(dataset, [9, 3, 3, 60]))


def test_a_subset_of_a_subset_is_read(path64: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(path64, range(20, 40), labels="relabel", columns=["camera"])
    nested = Subset(Subset(dataset, [0, 5, 10, 15]), [3, 1])
    (batch,) = loader(nested)
    assert batch.rows.tolist() == [35, 25]
    assert batch.labels.tolist() == [dataset.labels[15], dataset.labels[5]]
    assert batch.columns["camera"].tolist() == [35 % 3, 25 % 3]


def test_random_split_is_read(dataset: ReIDDataset, loader: MakeLoader) -> None:
    parts = random_split(dataset, [50, 14], torch.Generator().manual_seed(0))
    found = [flat(loader(part, 10, shuffle=True)) for part in parts]
    assert [len(rows) for rows in found] == [50, 14]
    assert sorted(found[0] + found[1]) == list(range(COUNT))
    assert sorted(found[1]) == sorted(parts[1].indices)


def test_a_pk_sampler_of_the_whole_does_not_fit_a_part(
    dataset: ReIDDataset, loader: MakeLoader
) -> None:
    part = Subset(dataset, range(32))
    with pytest.raises(UnknownRowError, match=r"must be 0\.\.31"):
        list(loader(part, sampler=PKSampler(dataset, 2, 2)))


class Hub(torch.utils.data.Dataset[Any]):
    """Pretends to be a Hugging Face data set."""

    __module__ = "datasets.arrow_dataset"

    def __getitem__(self, index: int) -> Any:
        raise IndexError

    def __len__(self) -> int:
        return 0


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize(
    ("dataset_of", "said"),
    [
        (
            lambda d: ConcatDataset([d, TensorDataset(torch.zeros(3))]),
            "a part of a torch TensorDataset: torch's DataLoader",
        ),
        (lambda d: Hub(), "a datasets Hub: write its images to a store first, with StoreWriter"),
        (lambda d: Stream(), "Stream: torch's DataLoader reads it; to read it here"),
        (lambda d: TensorDataset(torch.zeros(3)), "a torch TensorDataset: torch's DataLoader"),
        (
            lambda d: [1, 2],
            r"a builtins list: use ReIDDataset\(store\), or an object that implements",
        ),
        (lambda d: None, "a builtins NoneType"),
        (lambda d: ReIDDataset, "make_loader needs an object, got the class ReIDDataset"),
    ],
)
def test_what_cannot_be_read_gets_one_sentence_that_says_what_to_do(
    dataset_of: Callable[[ReIDDataset], Any], said: str, dataset: ReIDDataset
) -> None:
    with pytest.raises(UsageError, match=f"make_loader cannot read {said}|{said}") as error:
        make(dataset_of(dataset))
    assert "\n" not in str(error.value)


# -- files


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Ten pictures of 24x12, kept without loss, and one of another size, the last."""
    draw = np.random.default_rng(1)
    paths = [tmp_path / f"{number}.png" for number in range(11)]
    for number, path in enumerate(paths):
        size = (24, 12) if number < 10 else (40, 30)
        Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return paths


def darker(image: Image.Image) -> torch.Tensor:
    assert isinstance(image, Image.Image) and image.mode == "RGB"
    return torch.from_numpy(np.array(image) // 2)


def noisy(image: Image.Image, *, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(256, (3, image.height, image.width), generator=generator)


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_cropped_files_are_read(engine: str, files: list[Path], loader: MakeLoader) -> None:
    dataset = CroppedBBoxDataset(files[:10], range(10, 20))
    batches = list(loader(dataset, 4, engine=engine, num_workers=1))
    assert torch.equal(together(batches), picked(dataset, range(10)))
    assert torch.cat([batch.labels for batch in batches]).tolist() == list(range(10, 20))
    assert flat(batches) == list(range(10)), "without a store, rows are positions"
    part = Subset(Subset(dataset, range(5, 10)), [4, 0])
    (batch,) = loader(part, engine=engine, num_workers=1)
    assert batch.labels.tolist() == [19, 15]


@pytest.mark.parametrize("engine", ["processes", "dataloader"])
def test_a_pil_transform_of_files_is_applied(
    engine: str, files: list[Path], loader: MakeLoader
) -> None:
    dataset = CroppedBBoxDataset(files[:10], range(10), darker)
    batches = loader(dataset, 4, engine=engine, num_workers=1)
    assert torch.equal(together(batches), picked(dataset, range(10)))


def test_a_pil_transform_with_a_generator_is_given_one_for_each_position(
    files: list[Path], loader: MakeLoader
) -> None:
    dataset = CroppedBBoxDataset(files[:10], range(10), noisy)
    found = [
        together(loader(dataset, 4, shuffle=True, engine=engine, num_workers=workers))
        for engine, workers in (("threads", 2), ("processes", 1), ("dataloader", 0))
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert len(found[0].unique(dim=0)) == 10


def test_files_of_differing_sizes_need_a_size(files: list[Path], loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match=r"10\.png is 40x30, the first file 24x12\. Pass size="):
        list(loader(CroppedBBoxDataset(files, range(11))))
    sized = CroppedBBoxDataset(files, range(11), size=(16, 8))
    (batch,) = loader(sized)
    assert batch.images.shape == (11, 3, 16, 8)
    for path, image in zip(files, batch.images.permute(0, 2, 3, 1).numpy(), strict=True):
        wanted = codec.resize(codec.read_source(path.read_bytes()), (16, 8))
        assert np.array_equal(image, wanted)


def test_files_and_their_cache(files: list[Path], loader: MakeLoader) -> None:
    cache = LRUCache(items=20)
    dataset = CroppedBBoxDataset(files[:10], range(10), cache=cache)
    batches = loader(dataset, 4, engine="threads", num_workers=1)
    first = together(batches)
    assert torch.equal(together(batches), first)
    assert torch.equal(first, picked(CroppedBBoxDataset(files[:10], range(10)), range(10)))
    assert batches.stats()["cached"] == 10


def test_no_files_have_no_size(loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match=r"of no files must have a size, such as \(256, 128\)"):
        loader(CroppedBBoxDataset([], []))
    with pytest.raises(UsageError, match="the selection is empty: "):
        loader(CroppedBBoxDataset([], [], size=(8, 4)))


class Darkened(ReIDDataset):
    """Changes what an item is."""

    def __getitem__(self, index: Any) -> Any:
        image, label = super().__getitem__(index)
        return image // 2, label


class Handing:
    """Hands over what it does not have, as wrappers do."""

    def __init__(self, dataset: ReIDDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)


class Changing(Handing):
    """Changes what an item is, and hands over everything else."""

    def __getitem__(self, index: int) -> Any:
        image, label = self.dataset[index]
        return image // 2, label


@pytest.mark.parametrize(
    "build",
    [
        Darkened,
        lambda path: Changing(ReIDDataset(path)),
        lambda path: Subset(Darkened(path), [1, 2]),
        lambda path: ConcatDataset([Changing(ReIDDataset(path))]),
    ],
)
def test_items_that_loaders_would_not_make_are_refused(build: Any, path64: Path) -> None:
    with pytest.raises(UsageError, match="it has its own __getitem__, which loaders do not call"):
        make(build(path64), num_workers=0)


def test_a_dataset_that_hands_everything_over_is_read(path64: Path, loader: MakeLoader) -> None:
    dataset = ReIDDataset(path64)
    (batch,) = loader(Handing(dataset), 64)
    assert torch.equal(batch.images[5], dataset[5][0])


def test_a_part_of_a_dataset_that_has_nothing(dataset: ReIDDataset, loader: MakeLoader) -> None:
    for empty in (dataset.select([]), Subset(dataset, []), ReIDDataset(dataset.store, [])):
        with pytest.raises(
            UsageError, match=r"the selection is empty: .*If a query chose the rows"
        ):
            loader(empty)


# -- what images become


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OTHER = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("normalize", "wanted"),
    [
        (None, ((0, 0, 0), (1, 1, 1))),
        ("imagenet", IMAGENET),
        (OTHER, OTHER),
        ((list(OTHER[0]), np.array(OTHER[1])), OTHER),
        ((torch.tensor(OTHER[0]), IMAGENET[1]), (OTHER[0], IMAGENET[1])),
    ],
    ids=["0 to 1", "imagenet", "given", "lists and arrays", "tensors"],
)
@pytest.mark.parametrize(
    ("dtype", "off"), [(torch.float32, 1e-5), (torch.float16, 3e-3), (torch.bfloat16, 2e-2)]
)
def test_images_become_a_floating_dtype(
    dtype: torch.dtype,
    off: float,
    normalize: Any,
    wanted: tuple[tuple[float, ...], tuple[float, ...]],
    dataset: ReIDDataset,
    loader: MakeLoader,
) -> None:
    batch = next(iter(loader(dataset, 10, dtype=dtype, normalize=normalize)))
    assert batch.images.dtype == dtype
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in wanted)
    pixels = picked(dataset, range(10)).double() / 255
    assert torch.allclose(batch.images.double(), (pixels - mean) / std, atol=off)
    if normalize is None:
        assert batch.images.min() >= 0 and batch.images.max() <= 1


def test_normalize_alone_means_float32(dataset: ReIDDataset, loader: MakeLoader) -> None:
    (alone,) = loader(dataset, normalize="imagenet")
    (both,) = loader(dataset, normalize="imagenet", dtype=torch.float32)
    assert alone.images.dtype == torch.float32
    assert torch.equal(alone.images, both.images)


def pair(image: torch.Tensor) -> tuple[torch.Tensor, float]:
    return image, 1.0


def test_what_is_no_tensor_cannot_be_converted(path64: Path, loader: MakeLoader) -> None:
    with pytest.raises(UsageError, match=r"dtype=torch.float32 converts images .*returns list"):
        list(loader(ReIDDataset(path64, transform=pair), dtype=torch.float32))


def test_what_is_no_tensor_goes_to_a_device(path64: Path, loader: MakeLoader) -> None:
    (batch,) = loader(ReIDDataset(path64, transform=pair), device="meta")
    assert [part.device.type for part in batch.images] == ["meta", "meta"]


def test_a_batch_goes_to_a_device_by_hand(path64: Path, loader: MakeLoader) -> None:
    (batch,) = loader(ReIDDataset(path64, columns=["camera"]))
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert {moved.images.device.type, moved.columns["camera"].device.type} == {"meta"}
    assert moved.rows.device.type == "cpu"
    assert batch.images.device.type == "cpu"
    assert repr(batch) == ("Batch(64 images uint8 [3, 32, 16] channels-last, labels 0..15, camera)")
    assert Batch(*batch).columns == {}
    changed = batch._replace(labels=batch.labels + 1)
    assert changed.columns is batch.columns, "what a named tuple can, a batch can"
    assert changed.labels.tolist() == (batch.labels + 1).tolist()


# -- which engine


def doubled(image: torch.Tensor) -> torch.Tensor:
    return image


def with_generator(image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    return image


@pytest.mark.parametrize(
    ("transform", "arguments", "engine", "why"),
    [
        (None, {}, "threads", "no transform is set"),
        (doubled, {}, "processes", "a Python transform holds the interpreter's lock"),
        (with_generator, {}, "processes", "a Python transform holds"),
        (with_generator, {"engine": "threads"}, "threads", "it was asked for"),
        (None, {"engine": "processes"}, "processes", "it was asked for"),
        (None, {"engine": "dataloader"}, "dataloader", "it was asked for"),
        (None, {"num_workers": 0}, "dataloader", "num_workers=0 decodes in the caller's thread"),
        (None, {"num_workers": 0, "engine": "threads"}, "dataloader", "num_workers=0 decodes in"),
    ],
)
def test_the_engine_and_why(
    transform: Any,
    arguments: dict[str, Any],
    engine: str,
    why: str,
    path64: Path,
    loader: MakeLoader,
) -> None:
    batches = loader(ReIDDataset(path64, transform=transform), **{"num_workers": 1, **arguments})
    plan = batches.plan()
    assert plan.engine == engine
    assert plan.why.startswith(why)


def test_a_system_without_shared_memory_of_ours_takes_torchs_loader(
    path64: Path, loader: MakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    os_without = ModuleType("os")
    monkeypatch.setattr(_choice, "os", os_without)
    plan = loader(ReIDDataset(path64, transform=doubled), num_workers=1).plan()
    assert plan.engine == "dataloader"
    assert "need Linux" in plan.why


def test_threads_refuse_a_transform_that_shares_global_generators(path64: Path) -> None:
    with pytest.raises(UsageError, match="needs a transform with a keyword `generator`"):
        make(ReIDDataset(path64, transform=doubled), engine="threads")
