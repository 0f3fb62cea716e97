from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from lmdb_reid import Batch, Loader, LRUCache, PKSampler, ReIDDataset, Store, make_loader
from lmdb_reid.errors import UnknownArgumentError, UnknownNameError, UnsupportedError, UsageError
from lmdb_reid.loaders._batch import BatchResult, Damaged, Timings

Loaders = Callable[..., Loader]


@pytest.fixture
def batch(dataset: ReIDDataset, loader: Loaders) -> Batch:
    return next(iter(loader(dataset.select([5, 1, 7]), 3)))


@pytest.mark.parametrize("engine", ["threads", "dataloader"])
def test_a_batch_knows_its_ids(engine: str, dataset: ReIDDataset, loader: Loaders) -> None:
    first, second = list(loader(dataset.select([5, 1, 7, 2]), 3, engine=engine))
    assert first.ids == ["f005", "f001", "f007"]
    assert second.ids == ["f002"]
    for same in (first.to("cpu"), first._replace(labels=first.labels), first.pin_memory()):
        assert same.ids == first.ids
    assert pickle.loads(pickle.dumps(first)).ids == first.ids


def test_torch_pins_batches_and_results_with_all_that_they_carry(
    batch: Batch, dataset: ReIDDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch's DataLoader does where there is a GPU, with a stand-in for page-locked memory."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: tensor.clone())
    pin = torch.utils.data._utils.pin_memory.pin_memory
    pinned = pin(Batch(*batch, {"camera": batch.labels + 1}, batch._named))
    assert isinstance(pinned, Batch) and pinned.images is not batch.images
    assert pinned.ids == batch.ids
    assert torch.equal(pinned.columns["camera"], batch.labels + 1)
    result = BatchResult(batch.images, [Damaged(1, 5)], Timings(cached=2))
    moved = pin(result)
    assert moved.images is not batch.images and torch.equal(moved.images, batch.images)
    assert (moved.damaged, moved.timings) == ([Damaged(1, 5)], Timings(cached=2))


def test_ids_stay_when_pixels_are_converted(dataset: ReIDDataset, loader: Loaders) -> None:
    batch = next(iter(loader(dataset.select([5, 1]), 2, normalize="imagenet")))
    assert batch.ids == ["f005", "f001"]
    with pytest.raises(UsageError, match="made by hand"):
        Batch(*batch).ids  # noqa: B018


def test_a_batch_prints_itself(batch: Batch) -> None:
    assert repr(batch) == "Batch(3 images uint8 [3, 32, 16] channels-last, labels 0..1)"
    labelled = Batch(torch.zeros(0, 3, 2, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert repr(labelled) == "Batch(0 images float32 [3, 2, 2], no labels)"


def test_a_batch_shows_its_images(
    batch: Batch, dataset: ReIDDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(PIL.Image.Image, "show", lambda image: shown.append(image.size))
    batch.show()
    height, width, _ = batch.sheet().image.shape
    assert shown == [(width, height)]
    floats = batch._replace(images=batch.images / 255)
    assert np.array_equal(floats.sheet().image, batch.sheet().image)
    assert (batch._replace(images=(batch.images - 128.0) / 30)).sheet().image.any()
    for images in (batch.images[0], [1, 2], {"a": batch.images}):
        with pytest.raises(UsageError, match="one tensor"):
            batch._replace(images=images).sheet()


def test_what_a_batch_is_not(batch: Batch) -> None:
    images, labels, rows = batch
    assert batch[0] is images
    assert batch[1:] == (labels, rows)
    with pytest.raises(UnsupportedError, match=r"Use batch\.labels"):
        batch["labels"]
    with pytest.raises(UnsupportedError, match=r'columns\["camera"\]'):
        batch["camera"]
    with pytest.raises(UnknownNameError, match="Did you mean 'images'"):
        batch.imags  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(UnknownNameError, match=r"Use batch\.labels"):
        batch.targets  # type: ignore[attr-defined]  # noqa: B018


def test_what_a_loader_is_not(dataset: ReIDDataset, loader: Loaders) -> None:
    reading = loader(dataset, 4)
    for act in (lambda: next(reading), lambda: reading[0]):  # type: ignore[call-overload, index]
        with pytest.raises(TypeError, match=r"next\(iter\(loader\)\)"):
            act()
    assert len(list(reading)) == len(reading) == 16
    with pytest.raises(UnknownNameError, match="Did you mean 'stats'"):
        reading.stat()  # type: ignore[attr-defined]


def test_a_loader_prints_itself(dataset: ReIDDataset, loader: Loaders) -> None:
    told = repr(loader(dataset, 48, num_workers=2))
    for part in ("2 batches of 48", "threads with 2 workers on cpu", "epoch 0", "0 samples taken"):
        assert part in told


def test_a_store_or_its_path_is_read_whole(path64: Path, loader: Loaders) -> None:
    for whole in (Store(path64), path64, str(path64)):
        assert len(list(loader(whole, 32))) == 2


@pytest.mark.parametrize("name", ["float16", "torch.float16", "half", "fp16", torch.float16])
def test_dtypes_by_name(name: Any, dataset: ReIDDataset, loader: Loaders) -> None:
    assert next(iter(loader(dataset, 4, dtype=name))).images.dtype == torch.float16


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dtype": "flaot32"}, "Did you mean 'float32'?"),
        ({"dtype": "uint8"}, "dtype must be a floating dtype"),
        ({"dtype": 32}, "dtype must be a floating dtype"),
        ({"device": "gpu"}, "Did you mean 'cuda'?"),
        ({"device": "GPU:0"}, "Did you mean 'cuda'?"),
        ({"device": "cud"}, "Did you mean 'cuda'?"),
        ({"device": "nonsense"}, "device must be 'cpu'"),
        ({"engine": "process"}, "Did you mean 'processes'?"),
        ({"normalize": "imagent"}, "Did you mean 'imagenet'?"),
        ({"num_workers": "many"}, "num_workers must be a whole number"),
        ({"prefetch_factor": 2}, "Use prefetch="),
        ({"num_worker": 2}, "Did you mean 'num_workers'?"),
        ({"batch_sampler": [0], "sampler": [0]}, "no argument 'batch_sampler'"),
    ],
)
def test_arguments_that_a_loader_lacks(
    arguments: dict[str, Any], said: str, dataset: ReIDDataset
) -> None:
    with pytest.raises(UsageError) as caught:
        make_loader(dataset, 4, **arguments)
    assert said in str(caught.value)


def test_a_sampler_takes_labels_and_other_names(dataset: ReIDDataset) -> None:
    wanted = PKSampler(dataset, 4, 2).positions(3).tolist()
    for other in (
        PKSampler(dataset.labels, 4, 2),
        PKSampler(dataset.labels.tolist(), 4, 2),
        PKSampler(torch.tensor(dataset.labels.tolist()), p=4, num_instances=2),  # type: ignore[call-arg, arg-type]
    ):
        assert other.positions(3).tolist() == wanted
    with pytest.raises(UnknownArgumentError, match="use p= "):
        PKSampler(dataset, batch_size=8)  # type: ignore[call-arg]
    for wrong in (None, dataset + dataset, [0.5, 1.5], 3):
        with pytest.raises(UsageError, match="a dataset with labels"):
            PKSampler(wrong)  # type: ignore[arg-type]


def test_limits_of_a_cache_under_other_names() -> None:
    assert LRUCache(maxsize=3).items == LRUCache(3).items == 3  # type: ignore[call-arg]
    assert LRUCache("1GB").bytes == LRUCache(bytes="1GB").bytes == 10**9
    with pytest.raises(UnknownArgumentError, match="no argument 'maxsize'"):
        LRUCache(maxsize=4, items=3)  # type: ignore[call-arg]
