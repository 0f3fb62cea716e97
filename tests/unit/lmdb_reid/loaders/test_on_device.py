"""Batches that are made where the pixels are: resident ones, and JPEG decoded on the device.

Both are run on the CPU here; tests/gpu has what needs a GPU.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid import LRUCache, ReIDDataset, StoreWriter, codec, make_loader
from lmdb_reid.crops import FileCrops
from lmdb_reid.errors import CorruptSampleError, ResourceError, UsageError
from lmdb_reid.loaders import Batch, BatchResult, _resident
from lmdb_reid.loaders._device_decode import DeviceDecodeEngine, cuda_decoder
from lmdb_reid.loaders._job import Job
from lmdb_reid.sampling import Task

COUNT = 50
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    with StoreWriter(tmp_path_factory.mktemp("device") / "a.lmdb") as writer:
        for row in range(COUNT):
            blocks = draw.integers(0, 256, (8, 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
            writer.put(f"f{row:03d}", codec.encode(blocks), {"label": row % 5})
        return writer.seal()


@pytest.fixture
def damaged(path: Path, tmp_path: Path) -> Path:
    """One bit of the image of row 7 is flipped."""
    out = tmp_path / "damaged.lmdb"
    out.mkdir()
    for file in path.rglob("*"):
        if file.is_file():
            copy = out / file.relative_to(path)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
    jpeg = ReIDDataset(path).store.at(7).jpeg
    data = bytearray((out / "data.mdb").read_bytes())
    data[data.index(jpeg) + len(jpeg) // 2] ^= 1
    (out / "data.mdb").write_bytes(data)
    return out


def same(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(a, b)
        for one, other in zip(some, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


# -- resident


def test_resident_batches_are_those_of_any_engine(path: Path) -> None:
    chosen = np.arange(COUNT)[::-3]
    dataset = ReIDDataset(path, chosen, labels="relabel", size=(20, 12))
    with (
        make_loader(dataset, 4, shuffle=True, seed=3, resident=True, num_workers=2) as there,
        make_loader(dataset, 4, shuffle=True, seed=3, num_workers=0) as here,
    ):
        for _ in range(3):
            assert same(list(there), list(here))
        next(iter(there))
        state = there.state_dict()
        here.load_state_dict(state)
        there.load_state_dict(state)
        assert same(list(there), list(here))
        assert there.plan().why.startswith("resident=True was asked for; threads fills it once")


def test_a_resident_set_is_decoded_once(path: Path) -> None:
    cache = LRUCache(items=COUNT)
    before = set(threading.enumerate())
    with make_loader(ReIDDataset(path, cache=cache), 8, resident=True, num_workers=2) as loader:
        for _ in range(3):
            assert sum(len(batch.rows) for batch in loader) == COUNT
        assert cache.stats()["misses"] == COUNT
        assert cache.stats()["hits"] == 0
        assert set(threading.enumerate()) <= before  # those that decoded it have ended
        assert loader.stats()["cached"] == 3 * COUNT


def test_a_resident_batch_is_the_consumers_own(path: Path) -> None:
    with make_loader(ReIDDataset(path), 8, resident=True, num_workers=1) as loader:
        first = [batch.images.clone() for batch in loader]
        for batch in loader:
            batch.images.zero_()
        assert all(torch.equal(a, b.images) for a, b in zip(first, loader, strict=True))


def test_damage_in_a_resident_set(damaged: Path) -> None:
    dataset = ReIDDataset(damaged)
    with (
        make_loader(dataset, 8, resident=True, num_workers=2) as loader,
        pytest.raises(CorruptSampleError, match="f007"),
    ):
        list(loader)
    with make_loader(dataset, 8, resident=True, num_workers=2, on_error="skip") as loader:
        for passes in (1, 2):
            rows = [row for batch in loader for row in batch.rows.tolist()]
            assert rows == [row for row in range(COUNT) if row != 7]
            assert loader.stats()["skipped"] == passes


def test_no_room_for_a_resident_set(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_resident, "_MOST", 1e-9)
    with (
        make_loader(ReIDDataset(path), 8, resident=True) as loader,
        pytest.raises(ResourceError, match=r"resident=True needs 76\.8 kB on cpu .*DecodedTier"),
    ):
        next(iter(loader))


# -- decoded on the device


def on_host(jpegs: list[torch.Tensor]) -> list[torch.Tensor]:
    """A decoder as a GPU's would be, of the pixels that ours gives."""
    try:
        return [torch.from_numpy(codec.decode(j.numpy())).permute(2, 0, 1) for j in jpegs]
    except ValueError as error:
        raise RuntimeError("nvJPEG: a bad stream") from error


def engine(
    dataset: ReIDDataset, decoder: Any = on_host, *, skip: bool = False
) -> DeviceDecodeEngine:
    job = Job(crops=dataset.crops, skip=skip)
    return DeviceDecodeEngine(job, decoder, device=CPU, prefetch=3)


def tasks(count: int = COUNT, size: int = 8) -> list[Task]:
    order = np.random.default_rng(1).permutation(count)
    return [Task(order[at : at + size], 0, 0, at) for at in range(0, count, size)]


def results(one: DeviceDecodeEngine) -> list[BatchResult]:
    return list(one.run(tasks()))


def test_bytes_are_decoded_by_the_given_decoder(path: Path) -> None:
    dataset = ReIDDataset(path)
    one = engine(dataset)
    for _ in range(2):
        found = results(one)
        assert [len(result.images) for result in found] == [8] * 6 + [2]
        for result, task in zip(found, tasks(), strict=True):
            wanted = torch.stack([dataset[int(at)][0] for at in task.positions])
            assert torch.equal(result.images, wanted)
            assert not result.damaged and result.timings.decode > 0


@pytest.mark.parametrize("size", [(16, 8), (64, 40), (64, 8)])
def test_other_sizes_are_resized_on_the_device(path: Path, size: tuple[int, int]) -> None:
    dataset = ReIDDataset(path, size=size)
    for result, task in zip(results(engine(dataset)), tasks(), strict=True):
        found = result.images.permute(0, 2, 3, 1).numpy()
        wanted = [codec.resize(dataset.store.at(int(row)).image, size) for row in task.positions]
        assert np.abs(found.astype(int) - np.stack(wanted)).max() <= 1


def test_a_pass_that_is_left_leaves_no_thread(path: Path) -> None:
    before = set(threading.enumerate())
    run = engine(ReIDDataset(path)).run(tasks())
    next(run)
    run.close()
    assert set(threading.enumerate()) <= before


def test_damage_is_named_or_left_out(damaged: Path) -> None:
    dataset = ReIDDataset(damaged)
    with pytest.raises(CorruptSampleError, match="f007"):
        results(engine(dataset))
    found = results(engine(dataset, skip=True))
    assert sum(len(result.images) for result in found) == COUNT - 1
    assert [sample.position for result in found for sample in result.damaged] == [7]


def test_what_the_device_alone_cannot_decode_is_its_error(path: Path) -> None:
    def broken(jpegs: list[torch.Tensor]) -> list[torch.Tensor]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        results(engine(ReIDDataset(path), broken))


def test_crops_without_jpeg_bytes_are_refused() -> None:
    job = Job(crops=FileCrops(["a.png"], (32, 16)))
    with pytest.raises(UsageError, match="needs JPEG bytes, and FileCrops has none"):
        DeviceDecodeEngine(job, on_host, device=CPU, prefetch=3)


# -- what cannot be meant


def doubled(image: torch.Tensor) -> torch.Tensor:
    return image


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"decode": "gpu"}, "decode must be one of 'cpu', 'cuda'; got 'gpu'"),
        ({"decode": "cuda"}, "needs device='cuda'"),
        ({"decode": "cuda", "device": "cpu"}, "needs device='cuda'"),
    ],
)
def test_decode_that_cannot_be_meant(path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        make_loader(ReIDDataset(path), **options)


def test_transforms_of_single_images_are_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="resident=True makes whole batches on the device"):
        make_loader(ReIDDataset(path, transform=doubled), resident=True)


DECODERS = ("torchcodec", "nvImageCodec", "torchvision")


def without_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchcodec", "torchcodec.decoders", "torchvision", "torchvision.io"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("nvidia", "nvidia.nvimgcodec"):
        monkeypatch.setitem(sys.modules, name, None)


def test_no_decoder_for_a_gpu_is_an_error_that_says_what_each_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_decoders(monkeypatch)
    with pytest.raises(UsageError) as found:
        cuda_decoder(torch.device("cuda"))
    assert 'pip install "torchcodec>=0.16"' in str(found.value)
    assert [name for name in DECODERS if f"{name} (" in str(found.value)] == list(DECODERS)


def decoded(jpegs: list[torch.Tensor]) -> list[torch.Tensor]:
    return [torch.from_numpy(codec.decode(jpeg.numpy())).permute(2, 0, 1) for jpeg in jpegs]


def stand_in(name: str, monkeypatch: pytest.MonkeyPatch, *, works: bool = True) -> None:
    """A library that decodes as the real one is called, on the CPU."""

    def pixels(jpegs: list[torch.Tensor]) -> list[torch.Tensor]:
        if not works:
            raise RuntimeError("no nvJPEG in this build\nstack")
        return decoded(jpegs)

    def of_torchcodec(source: Any, *, mode: str, device: torch.device) -> list[torch.Tensor]:
        assert (mode, device) == ("RGB", torch.device("cuda:1"))
        return pixels(source)

    def of_torchvision(source: Any, mode: str, device: torch.device) -> list[torch.Tensor]:
        assert (mode, device) == ("RGB", torch.device("cuda:1"))
        return pixels(source)

    class Decoder:
        def __init__(self, device_id: int) -> None:
            assert device_id == 1

        def decode(self, jpegs: list[Any]) -> list[torch.Tensor]:
            return [image.permute(1, 2, 0) for image in pixels(list(map(torch.from_numpy, jpegs)))]

    nvimgcodec = SimpleNamespace(Decoder=Decoder)
    fakes: dict[str, dict[str, Any]] = {
        "torchcodec": {
            "torchcodec": SimpleNamespace(),
            "torchcodec.decoders": SimpleNamespace(decode_jpeg=of_torchcodec),
        },
        "nvImageCodec": {
            "nvidia": SimpleNamespace(nvimgcodec=nvimgcodec),
            "nvidia.nvimgcodec": nvimgcodec,
        },
        "torchvision": {
            "torchvision": SimpleNamespace(),
            "torchvision.io": SimpleNamespace(decode_jpeg=of_torchvision),
        },
    }
    for module, fake in fakes[name].items():
        monkeypatch.setitem(sys.modules, module, fake)


@pytest.mark.parametrize("first", range(3))
def test_the_first_decoder_that_works_is_taken(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    without_decoders(monkeypatch)
    for place, name in enumerate(DECODERS):
        if place >= first:
            stand_in(name, monkeypatch)
    name, decoder = cuda_decoder(torch.device("cuda:1"))
    assert name == DECODERS[first]
    picture = codec.encode(np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8))
    jpeg = torch.frombuffer(bytearray(picture), dtype=torch.uint8)
    assert torch.equal(decoder([jpeg])[0], decoded([jpeg])[0])


def test_a_decoder_that_is_there_and_does_not_work_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_decoders(monkeypatch)
    stand_in("torchcodec", monkeypatch, works=False)
    with pytest.raises(UsageError, match=r"torchcodec \(no nvJPEG in this build\), nvImage"):
        cuda_decoder(torch.device("cuda:1"))
    stand_in("torchvision", monkeypatch)
    assert cuda_decoder(torch.device("cuda:1"))[0] == "torchvision"
