"""The recipe gives the same bytes on every engine, however batches are cut."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid import DecodedTier, LRUCache, ReIDDataset, Store, StoreWriter, codec, make_loader
from lmdb_reid.augment import ReIDAugment
from lmdb_reid.crops import StoreCrops, _store
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import Batch, _choice

COUNT = 40
RECIPE = ReIDAugment(flip=0.5, pad=4, erase=0.5)
COLOURED = ReIDAugment(flip=0.5, pad=4, erase=0.5, brightness=0.4, saturation=0.3)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with StoreWriter(tmp_path_factory.mktemp("augment") / "a.lmdb") as writer:
        for row in range(COUNT):
            blocks = np.random.default_rng(row).integers(0, 256, (4, 2, 3), np.uint8)
            image = codec.encode(blocks.repeat(8, 0).repeat(8, 1))
            writer.put(f"f{row:03d}", image, {"label": row // 4})
        return writer.seal()


def images(dataset: ReIDDataset, epoch: int = 1, **arguments: Any) -> dict[int, torch.Tensor]:
    """Each row's image in an epoch."""
    with make_loader(dataset, shuffle=True, seed=3, **arguments) as loader:
        loader.set_epoch(epoch)
        return {
            int(row): image.contiguous()
            for batch in loader
            for row, image in zip(batch.rows, batch.images.clone(), strict=True)
        }


def alike(some: dict[int, torch.Tensor], others: dict[int, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[row], others[row]) for row in some)


WAYS: list[dict[str, Any]] = [
    {"engine": "dataloader", "num_workers": 0},
    {"engine": "dataloader", "num_workers": 2},
    {"engine": "threads", "num_workers": 3},
    {"engine": "processes", "num_workers": 2, "start_method": "fork"},
    {"resident": True, "num_workers": 1},
]


@pytest.fixture(scope="module")
def wanted(path: Path) -> dict[int, torch.Tensor]:
    return images(ReIDDataset(path), augment=RECIPE, batch_size=7, num_workers=0)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("batch_size", [5, 64])
def test_every_engine_gives_the_same_bytes(
    way: dict[str, Any], batch_size: int, path: Path, wanted: dict[int, torch.Tensor]
) -> None:
    assert alike(images(ReIDDataset(path), augment=RECIPE, batch_size=batch_size, **way), wanted)


def test_so_do_caches_and_a_decoder_on_a_device(
    path: Path, tmp_path: Path, wanted: dict[int, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_in(jpegs: list[torch.Tensor]) -> list[torch.Tensor]:
        return [torch.from_numpy(codec.decode(jpeg.numpy())).permute(2, 0, 1) for jpeg in jpegs]

    store = Store(path)
    for cache in (LRUCache(items=COUNT), DecodedTier(store, tmp_path / "tier")):
        dataset = ReIDDataset(store, cache=cache)
        for _ in range(2):  # decoded, then gathered
            assert alike(images(dataset, augment=RECIPE, batch_size=9, num_workers=1), wanted)
    monkeypatch.setattr(_choice, "cuda_decoder", lambda device: ("a stand-in", stand_in))
    monkeypatch.setattr(_choice, "_check_on_device", lambda job, config: None)
    found = images(ReIDDataset(path), augment=RECIPE, batch_size=9, decode="cuda", device="cpu")
    assert alike(found, wanted)


def test_epochs_differ_and_most_pictures_change(
    path: Path, wanted: dict[int, torch.Tensor]
) -> None:
    other = images(ReIDDataset(path), epoch=2, augment=RECIPE, batch_size=7, num_workers=0)
    plain = images(ReIDDataset(path), batch_size=7, num_workers=0)
    assert sum(torch.equal(wanted[row], other[row]) for row in wanted) < COUNT // 4
    assert sum(torch.equal(wanted[row], plain[row]) for row in wanted) < COUNT // 4


def test_ranks_and_a_resume_change_nothing(path: Path, wanted: dict[int, torch.Tensor]) -> None:
    dataset, found = ReIDDataset(path), {}
    for rank in range(4):
        found |= images(
            dataset, augment=RECIPE, batch_size=4, num_workers=0, rank=rank, world_size=4
        )
    assert alike(found, wanted)
    first = make_loader(dataset, 8, shuffle=True, seed=3, augment=RECIPE, num_workers=0)
    first.set_epoch(1)
    running = iter(first)
    next(running)
    with make_loader(dataset, 4, shuffle=True, seed=3, augment=RECIPE, num_workers=1) as rest:
        rest.load_state_dict(first.state_dict())
        batches = list(rest)
    assert sum(len(batch.rows) for batch in batches) == COUNT - 8
    for batch in batches:
        for row, image in zip(batch.rows.tolist(), batch.images, strict=True):
            assert torch.equal(image.contiguous(), wanted[row])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_colour_comes_before_erasing_on_every_engine(way: dict[str, Any], path: Path) -> None:
    arguments: dict[str, Any] = {"augment": COLOURED, "dtype": torch.float32, "batch_size": 16}
    found = images(ReIDDataset(path), **arguments, **way)
    right = images(ReIDDataset(path), **arguments, num_workers=0)
    for row, image in found.items():
        assert torch.allclose(image, right[row], atol=1e-5)
        assert image.min() >= 0 and image.max() <= 1
    normalised = images(ReIDDataset(path), augment=COLOURED, normalize="imagenet", **way)
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    for row, image in normalised.items():
        assert torch.allclose(image, (right[row] - mean) / std, atol=1e-4)


def noise(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images + torch.randint(0, 9, images.shape, generator=generator, dtype=images.dtype)


def test_a_batch_transform_is_a_function_of_its_batch(path: Path) -> None:
    found = [
        images(ReIDDataset(path), batch_size=8, batch_transform=noise, augment="bot", **way)
        for way in WAYS
    ]
    for other in found[1:]:
        assert alike(other, found[0])
    plain = images(ReIDDataset(path), batch_size=8, augment="bot", num_workers=0)
    assert not alike(found[0], plain)


def grey(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.full_like(images, 0.25 if images.is_floating_point() else 64)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_erasing_comes_after_a_batch_transform(
    dtype: torch.dtype | None, way: dict[str, Any], path: Path
) -> None:
    recipe = ReIDAugment(flip=0.5, pad=4, erase=1.0, erase_fill=(255, 255, 255))
    arguments: dict[str, Any] = {"augment": recipe, "batch_transform": grey, "dtype": dtype}
    background, white = (64, 255) if dtype is None else (0.25, 1.0)
    for image in images(ReIDDataset(path), batch_size=9, **arguments, **way).values():
        assert set(image.unique().tolist()) == {background, white}


def changes_its_input(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images.add_(1)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda images, generator: images[1:], "keep the batch's images"),
        (lambda images, generator: images.float(), "keep the batch's dtype"),
        (lambda images, generator: images.to("meta"), "keep the batch's device"),
        (lambda images, generator: None, "return a tensor"),
        (changes_its_input, "must not change its input"),
    ],
)
def test_a_batch_transform_keeps_its_batch(
    function: Callable[..., Any], words: str, path: Path
) -> None:
    with make_loader(ReIDDataset(path), 8, num_workers=0, batch_transform=function) as loader:
        with pytest.raises(UsageError, match=words):
            next(iter(loader))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"augment": "bott"}, "bot"),
        ({"augment": 0.5}, "augment must be"),
        ({"augment": ReIDAugment(pad=200)}, "pad"),
        ({"augment": COLOURED}, "dtype=torch.float32"),
    ],
    ids=str,
)
def test_a_recipe_that_does_not_fit_is_refused(
    arguments: dict[str, Any], words: str, path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        make_loader(ReIDDataset(path), 8, **arguments)


def test_damaged_samples_take_their_draws_with_them(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "b.lmdb")
    data = bytearray((tmp_path / "b.lmdb" / "data.mdb").read_bytes())
    with Store(path).view() as view:
        image = bytes(view["f017"])
    at = data.find(image)
    while at > 0:
        data[at + len(image) // 2] ^= 8
        at = data.find(image, at + 1)
    (tmp_path / "b.lmdb" / "data.mdb").write_bytes(data)
    arguments: dict[str, Any] = {"augment": COLOURED, "dtype": torch.float32, "batch_size": 10}
    whole = images(ReIDDataset(path), num_workers=0, **arguments)
    for way in WAYS:
        dataset = ReIDDataset(tmp_path / "b.lmdb")
        found = images(dataset, on_error="skip", **arguments, **way)
        assert found.keys() == whole.keys() - {17}
        for row, image_of_row in found.items():
            assert torch.allclose(image_of_row, whole[row], atol=1e-5), row


class Inverted(StoreCrops):
    """Crops that change what is read, and nothing else."""

    def read(self, positions: Any, out: Any, damaged: list[int] | None = None) -> None:
        super().read(positions, out, damaged)
        out[...] = 255 - out


class Wrapped:
    """Crops that hand over everything but what is read."""

    def __init__(self, crops: StoreCrops) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getattr__(self, name: str) -> Any:
        if name == "crops":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.crops, name)

    def read(self, positions: Any, out: Any, damaged: list[int] | None = None) -> None:
        self.crops.read(positions, out, damaged)
        out[...] = 255 - out


@pytest.mark.parametrize("make", [Inverted, lambda store: Wrapped(StoreCrops(store))])
def test_pictures_of_crops_that_change_what_is_read_stay_changed(make: Any, path: Path) -> None:
    recipe = ReIDAugment(flip=0.5, pad=4, erase=0)
    with Store(path) as store:
        plain = images(ReIDDataset(store), augment=recipe, num_workers=0)
        found = images(make(store), augment=recipe, num_workers=0)
    assert all(found[row].any() for row in found)
    inside = (slice(None), slice(4, -4), slice(4, -4))  # no border
    assert all(torch.equal(255 - plain[row][inside], found[row][inside]) for row in plain)


@pytest.mark.parametrize("size", [(32, 16), (16, 8), (40, 24)], ids=str)
def test_pictures_that_fail_in_the_decoder_leave_their_neighbours_alone(
    size: tuple[int, int], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their checksums fit, so the decoder writes half a picture before it finds the damage; with
    the largest border, pictures land up to a whole picture beside their slot.
    """
    bad = {0, 7, 8, 20, 21, 22, COUNT - 1}
    recipe = ReIDAugment(flip=0.5, pad=size, erase=0.3)
    with Store(path) as store:
        dataset = ReIDDataset(store, size=size)
        wanted = images(dataset, augment=recipe, num_workers=0, batch_size=16)
        whole = _store._whole

        def cut(reading: Any, rows: list[int], damaged: list[int] | None) -> list[Any]:
            found = whole(reading, rows, damaged)
            pairs = zip(rows, found, strict=True)
            return [
                bytes(jpeg)[: len(jpeg) * 3 // 4] if row in bad else jpeg for row, jpeg in pairs
            ]

        monkeypatch.setattr(_store, "_whole", cut)
        for way in WAYS[0], WAYS[2]:
            found = images(dataset, augment=recipe, batch_size=16, on_error="skip", **way)
            assert found.keys() == set(range(COUNT)) - bad
            assert all(torch.equal(found[row], wanted[row]) for row in found)


def test_a_batch_says_what_it_is(path: Path) -> None:
    with make_loader(ReIDDataset(path), 8, num_workers=0, augment=RECIPE) as loader:
        assert "flip=0.5" in str(loader.plan())
        batch = next(iter(loader))
        assert isinstance(batch, Batch)
        assert "8 images uint8 [3, 32, 16] channels-last" in repr(batch)
