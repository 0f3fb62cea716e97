"""The device path on a real GPU."""

import gc

import numpy as np
import pytest
import torch

from lmdb_reid import ReIDDataset, StoreWriter, codec, make_loader

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "store.lmdb"
    draw = np.random.default_rng(0)
    with StoreWriter(path) as writer:
        for number in range(300):
            image = draw.integers(0, 255, (64, 32, 3), np.uint8)
            writer.put(f"{number:04d}", codec.encode(image), {"label": number % 7})
        writer.seal()
    return path


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_batches_on_the_gpu_equal_those_on_the_cpu(store, engine):
    dataset = ReIDDataset(store)
    with (
        make_loader(dataset, 32, shuffle=True, engine=engine, workers=2, device="cuda") as there,
        make_loader(dataset, 32, shuffle=True, workers=0) as here,
    ):
        for _ in range(2):
            for one, other in zip(there, here, strict=True):
                assert one.images.is_cuda
                assert all(torch.equal(a.cpu(), b) for a, b in zip(one, other, strict=True))


def test_kept_batches_do_not_change(store):
    with make_loader(ReIDDataset(store), 16, shuffle=True, workers=2, device="cuda") as loader:
        kept = [(batch, batch.images.clone()) for batch in loader]
        torch.cuda.synchronize()
    assert all(torch.equal(batch.images, copy) for batch, copy in kept)


def test_conversion_on_the_device(store):
    with (
        make_loader(ReIDDataset(store), 32, workers=2, device="cuda", dtype=torch.float32) as there,
        make_loader(ReIDDataset(store), 32, workers=2, dtype=torch.float32) as here,
    ):
        for one, other in zip(there, here, strict=True):
            torch.testing.assert_close(one.images.cpu(), other.images)


def test_device_memory_does_not_grow_over_fifty_epochs(store):
    with make_loader(ReIDDataset(store), 64, shuffle=True, workers=2, device="cuda") as loader:
        held = []
        for _ in range(50):
            for _ in loader:
                pass
            gc.collect()
            held.append(torch.cuda.memory_reserved())
    assert held[-1] <= held[4]
