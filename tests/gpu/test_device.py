"""The device path on a real GPU."""

import gc

import numpy as np
import pytest
import torch

from lmdb_reid import ReIDDataset, StoreWriter, codec, make_loader
from lmdb_reid.errors import UsageError

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
        make_loader(
            dataset, 32, shuffle=True, engine=engine, num_workers=2, device="cuda"
        ) as there,
        make_loader(dataset, 32, shuffle=True, num_workers=0) as here,
    ):
        for _ in range(2):
            for one, other in zip(there, here, strict=True):
                assert one.images.is_cuda
                assert all(torch.equal(a.cpu(), b) for a, b in zip(one, other, strict=True))


def test_kept_batches_do_not_change(store):
    with make_loader(ReIDDataset(store), 16, shuffle=True, num_workers=2, device="cuda") as loader:
        kept = [(batch, batch.images.clone()) for batch in loader]
        torch.cuda.synchronize()
    assert all(torch.equal(batch.images, copy) for batch, copy in kept)


def test_conversion_on_the_device(store):
    with (
        make_loader(
            ReIDDataset(store), 32, num_workers=2, device="cuda", dtype=torch.float32
        ) as there,
        make_loader(ReIDDataset(store), 32, num_workers=2, dtype=torch.float32) as here,
    ):
        for one, other in zip(there, here, strict=True):
            torch.testing.assert_close(one.images.cpu(), other.images)


def test_device_memory_does_not_grow_over_fifty_epochs(store):
    with make_loader(ReIDDataset(store), 64, shuffle=True, num_workers=2, device="cuda") as loader:
        held = []
        for _ in range(50):
            for _ in loader:
                pass
            gc.collect()
            held.append(torch.cuda.memory_reserved())
    assert held[-1] <= held[4]


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_resident_set_equals_what_is_sent(store, dtype):
    dataset = ReIDDataset(store)
    with (
        make_loader(dataset, 32, shuffle=True, device="cuda", dtype=dtype, resident=True) as there,
        make_loader(dataset, 32, shuffle=True, device="cuda", dtype=dtype, num_workers=2) as sent,
    ):
        for _ in range(2):
            for one, other in zip(there, sent, strict=True):
                assert one.images.is_cuda
                assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_jpeg_is_decoded_on_the_device(store):
    dataset = ReIDDataset(store)
    try:
        there = make_loader(dataset, 32, shuffle=True, device="cuda", decode="cuda")
    except UsageError as error:
        pytest.skip(str(error))
    with there, make_loader(dataset, 32, shuffle=True, device="cuda", num_workers=2) as sent:
        for _ in range(2):
            for one, other in zip(there, sent, strict=True):
                assert one.images.is_cuda
                assert torch.equal(one.rows, other.rows) and torch.equal(one.labels, other.labels)
                assert (one.images.int() - other.images.int()).abs().float().mean() < 3


def test_the_transfer_is_timed(store):
    with make_loader(ReIDDataset(store), 32, num_workers=2, device="cuda") as loader:
        list(loader)
        assert loader.stats()["transfer_ms_p50"] > 0
