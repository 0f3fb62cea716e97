"""The shipped laws of Crops and of samplers, over every implementation of the project."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import BuildSettings
from builders.samples import BoxSample
from lmdb_reid import (
    DecodedTier,
    LRUCache,
    PKSampler,
    ReIDDataset,
    Store,
    StoreWriter,
    codec,
    make_loader,
)
from lmdb_reid.crops import Cached, Crops, FileCrops, StoreCrops
from lmdb_reid.errors import CorruptSampleError, UsageError
from lmdb_reid.loaders import Loader, _choice
from lmdb_reid.sampling import Sampler, Sequential, Shuffled, TorchSampler
from lmdb_reid.schema import Kind, Pixels, Rows, Size
from lmdb_reid.testing import CropsContract, SamplerContract
from training.guide._frames import FrameCrops

COUNT, SIZE = 12, (32, 16)


def picture(number: int, size: Size = SIZE) -> bytes:
    blocks = np.random.default_rng(number).integers(
        0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8
    )
    return codec.encode(blocks.repeat(8, 0).repeat(8, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and the same pictures as files."""
    folder = tmp_path_factory.mktemp("crops")
    with StoreWriter(folder / "a.lmdb") as writer:
        for number in range(COUNT):
            writer.put(f"f{number:02d}", picture(number), {"label": number // 2})
            (folder / f"{number}.jpg").write_bytes(picture(number))
        writer.seal()
    return folder


class _OverFiles(CropsContract):
    """Crops that must give the module's pictures in their order."""

    @pytest.fixture(autouse=True)
    def _use(self, folder: Path) -> Iterator[None]:
        self.folder = folder
        yield

    def pixels(self, position: int) -> Pixels:
        return codec.decode(picture(position))


class TestStoreCrops(_OverFiles):
    def crops(self) -> Crops:
        return StoreCrops(Store(self.folder / "a.lmdb"))


class TestChosenRowsResized(_OverFiles):
    rows = np.array([9, 3, 3, 0, 11])

    def crops(self) -> Crops:
        return StoreCrops(Store(self.folder / "a.lmdb"), self.rows, (16, 24))

    def pixels(self, position: int) -> Pixels:
        return codec.resize(codec.decode(picture(int(self.rows[position]))), (16, 24))

    def test_names_tell_crops_apart(self) -> None:
        assert self.crops().names(np.arange(3)) == ["f09", "f03", "f03"]

    def test_keys_name_every_position_once(self) -> None:
        (group,) = self.crops().keys(np.array([1, 2]))  # type: ignore[attr-defined]
        assert group.rows.tolist() == [3, 3], "one row has one name, however often it is chosen"


class TestFileCrops(_OverFiles):
    selection_bytes = 200

    def crops(self) -> Crops:
        return FileCrops([self.folder / f"{number}.jpg" for number in range(COUNT)])


class TestFrameCrops(_OverFiles):
    selection_bytes = 400

    def crops(self) -> Crops:
        samples = [
            BoxSample(
                "Q1", "side", 0, n, 0, 0, 16, 32, n // 2,
                str(self.folder / f"{n}.jpg"), Kind.PERSON, f"f{n:02d}#000",
            )
            for n in range(COUNT)
        ]  # fmt: skip
        return FrameCrops(samples, BuildSettings(size=SIZE, expand=1.0))


class TestCachedByAnLru(_OverFiles):
    def crops(self) -> Crops:
        return Cached(StoreCrops(Store(self.folder / "a.lmdb")), LRUCache(items=5))


class TestCachedByATier(_OverFiles):
    def crops(self) -> Crops:
        store = Store(self.folder / "a.lmdb")
        return Cached(StoreCrops(store), DecodedTier(store))


class TestCachedFiles(_OverFiles):
    selection_bytes = 200

    def crops(self) -> Crops:
        paths = [self.folder / f"{number}.jpg" for number in range(COUNT)]
        return Cached(FileCrops(paths), LRUCache(items=100))


# -- twenty lines are enough ----------------------------------------------------------------------


class Stripes:
    """Crops that are drawn: position n has the colour n."""

    size = SIZE

    def __len__(self) -> int:
        return 24

    def read(self, positions: Rows, out: Pixels, damaged: list[int] | None = None) -> None:
        if out.shape != (len(positions), *SIZE, 3) or out.dtype != np.uint8:
            raise UsageError(f"out of {out.shape}")
        if not out.flags.c_contiguous:
            raise UsageError("out has gaps")
        if len(positions) and not 0 <= positions.min() <= positions.max() < 24:
            raise UsageErrorOfIndex(f"positions {positions}")
        out[:] = positions.astype(np.uint8)[:, None, None, None]

    def names(self, positions: Rows) -> list[str]:
        return [f"stripe {n}" for n in positions.tolist()]

    def column(self, name: str) -> Any:
        return np.arange(24) % 6 if name == "label" else None


class UsageErrorOfIndex(UsageError, IndexError):
    """What the contract asks for, of somebody else's making."""


class TestTwentyLines(CropsContract):
    def crops(self) -> Crops:
        return Stripes()

    def pixels(self, position: int) -> Pixels:
        return np.full((*SIZE, 3), position, np.uint8)


def stand_in(jpegs: list[torch.Tensor]) -> Sequence[torch.Tensor]:
    """A device's decoder, on the CPU."""
    return [torch.from_numpy(codec.decode(jpeg.numpy())).permute(2, 0, 1) for jpeg in jpegs]


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """`decode="cuda"` is done here, by `stand_in`."""
    monkeypatch.setattr(_choice, "cuda_decoder", lambda device: ("a stand-in", stand_in))
    monkeypatch.setattr(_choice, "_check_on_device", lambda job, config: None)


WAYS: list[dict[str, Any]] = [
    {"engine": "dataloader", "num_workers": 0},
    {"engine": "dataloader", "num_workers": 1},
    {"engine": "threads", "num_workers": 2},
    {"engine": "processes", "num_workers": 2, "start_method": "fork"},
    {"resident": True, "num_workers": 1},
]


def epoch(loader: Loader) -> list[tuple[int, int, int]]:
    """(row, label, first pixel) of every sample."""
    return [
        (int(row), int(label), int(image[0, 0, 0]))
        for images, labels, rows in loader
        for image, label, row in zip(images, labels, rows, strict=True)
    ]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_crops_of_anybody_go_through_every_engine(way: dict[str, Any]) -> None:
    with make_loader(Stripes(), 5, shuffle=True, seed=2, **way) as loader:
        order = Shuffled(24, 2).positions(0).tolist()
        assert epoch(loader) == [(n, n % 6, n) for n in order]


def test_crops_without_bytes_cannot_be_decoded_on_a_device(on_device: None) -> None:
    with pytest.raises(UsageError, match="Stripes has none"):
        make_loader(Stripes(), decode="cuda", device="cpu")


def test_device_decoding_and_resident_pixels_are_the_stores(on_device: None, folder: Path) -> None:
    dataset = ReIDDataset(folder / "a.lmdb", [7, 1, 4])
    wanted = torch.stack([dataset[item][0] for item in range(3)])
    for way in ({"decode": "cuda", "device": "cpu"}, {"resident": True}):
        with make_loader(dataset, **way, num_workers=1) as loader:  # type: ignore[arg-type]
            (batch,) = loader
            assert batch.rows.tolist() == [7, 1, 4]
            assert torch.equal(batch.images, wanted)


class Failing(Stripes):
    """Fails half-way through what it is asked for."""

    def read(self, positions: Rows, out: Pixels, damaged: list[int] | None = None) -> None:
        if 13 in positions:
            raise CorruptSampleError("stripe 13: torn", ids=("stripe 13",))
        super().read(positions, out)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_crops_that_fail_are_raised_with_their_name(way: dict[str, Any]) -> None:
    with make_loader(Failing(), 5, **way) as loader:
        with pytest.raises(CorruptSampleError, match="stripe 13") as found:
            list(loader)
        assert found.value.ids == ("stripe 13",)


class OtherShape(Stripes):
    """Says that its pictures are larger than what it writes."""

    size = (SIZE[0] * 2, SIZE[1])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_crops_that_write_another_shape_are_an_error(way: dict[str, Any]) -> None:
    with make_loader(OtherShape(), 5, **way) as loader:
        with pytest.raises(UsageError, match="out of"):
            list(loader)


# -- samplers -------------------------------------------------------------------------------------


class TestSequential(SamplerContract):
    count = 9

    def sampler(self) -> Sampler:
        return Sequential(9)


class TestShuffled(SamplerContract):
    count = 31

    def sampler(self) -> Sampler:
        return Shuffled(31, seed=4)


class _Labels:
    labels = np.array([-1, 0, 0, 0, 1, 2, 2, 5, 5, 5, 5, 5, -1])


class TestPK(SamplerContract):
    count = 13

    def sampler(self) -> Sampler:
        return PKSampler(_Labels(), p=3, k=2, seed=1)


class TestTorchsOwnInOrder(SamplerContract):
    count = 6

    def sampler(self) -> Sampler:
        return TorchSampler(torch.utils.data.SequentialSampler(range(6)))


def test_the_contracts_name_what_they_hold() -> None:
    for contract in (CropsContract, SamplerContract):
        laws = [name for name in vars(contract) if name.startswith("test_")]
        assert len(laws) >= 5
        assert all(inspect.getdoc(getattr(contract, law)) for law in laws)
