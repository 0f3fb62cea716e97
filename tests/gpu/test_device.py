"""The device path on a real GPU."""

import gc
import subprocess
import sys
import threading

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
            # As photographs are: patches under fine noise.
            patches = draw.integers(0, 256, (4, 2, 3)).astype(np.uint8)
            noise = draw.integers(0, 7, (64, 32, 3)).astype(np.uint8)
            image = codec.resize(patches, (64, 32)) // 2 + noise + 60
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
                # Chroma is blown up in another way: about 1 of 255 in the mean, 9 at most. Another
                # picture is twenty times as far away.
                off = (one.images.int() - other.images.int()).abs().float()
                assert off.mean() < 1.5
                assert off.max() <= 16
                others = (one.images.int() - other.images.roll(1, 0).int()).abs().float()
                assert others.mean() > 15


def test_the_transfer_is_timed(store):
    with make_loader(ReIDDataset(store), 32, num_workers=2, device="cuda") as loader:
        list(loader)
        assert loader.stats()["transfer_ms_p50"] > 0


@pytest.mark.parametrize("part", [slice(None), slice(5, None)])
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_page_locked_memory_is_not_written_while_the_consumers_own_copy_reads_it(
    store, part, dtype
):
    """A trainer that sends batches itself lets go of them long before the GPU has copied them."""
    dataset = ReIDDataset(store)
    with make_loader(dataset, 16, num_workers=2, dtype=dtype, pin_memory=False) as loader:
        wanted = [batch.images[part].clone() for batch in loader]
    found = []
    with make_loader(dataset, 16, num_workers=2, dtype=dtype) as loader:
        for batch in loader:
            assert batch.images.is_pinned()
            torch.cuda._sleep(20_000_000)  # work that is under way: the copy comes behind it
            found.append(batch.images[part].to("cuda", non_blocking=True))
            del batch
    torch.cuda.synchronize()
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("options", [{}, {"resident": True}, {"decode": "cuda"}])
@pytest.mark.parametrize("aside", [False, True], ids=["in the default stream", "in another"])
def test_memory_of_a_batch_is_not_written_while_the_consumers_kernels_read_it(
    store, options, aside
):
    dataset = ReIDDataset(store)
    words = {"shuffle": True, "augment": "bot", "normalize": "imagenet", "device": "cuda"}
    with make_loader(dataset, 16, num_workers=2, **words, **options) as loader:
        for epoch in range(3):
            wanted = [batch.images.double().sum() for batch in loader]
            loader.set_epoch(epoch)
            stream = torch.cuda.Stream() if aside else torch.cuda.default_stream()
            stream.wait_stream(torch.cuda.current_stream())
            running, found = iter(loader), []
            with torch.cuda.stream(stream):
                for batch in running:
                    torch.cuda._sleep(5_000_000)
                    found.append(batch.images.double().sum())
                    del batch
            torch.cuda.synchronize()
            assert torch.equal(torch.stack(found), torch.stack(wanted))


def test_a_pass_that_is_left_leaves_no_thread(store):
    before = set(threading.enumerate())
    with make_loader(ReIDDataset(store), 16, num_workers=2, device="cuda") as loader:
        for _ in range(3):
            for _ in loader:
                assert "lmdb_reid-send" in [thread.name for thread in threading.enumerate()]
                break
            assert "lmdb_reid-send" not in [thread.name for thread in threading.enumerate()]
    assert set(threading.enumerate()) <= before


ENDING = """
import sys
from lmdb_reid import ReIDDataset, make_loader

loader = make_loader(ReIDDataset(sys.argv[1]), 8, shuffle=True, device="cuda", num_workers=2)
running = iter(loader)
for _ in range(3):
    print(next(running))
"""


def test_a_script_that_ends_in_mid_pass_ends_well(store):
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", ENDING, str(store)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_batch_transform_runs_in_the_loaders_stream(store):
    streams = set()

    def note(images, generator):
        assert generator.device.type == "cuda"
        streams.add(torch.cuda.current_stream())
        return images.flip(0)

    dataset = ReIDDataset(store)
    with (
        make_loader(dataset, 32, num_workers=2, device="cuda", batch_transform=note) as there,
        make_loader(dataset, 32, num_workers=2, device="cuda") as plain,
    ):
        for one, other in zip(there, plain, strict=True):
            assert torch.equal(one.images, other.images.flip(0))
    assert len(streams) == 1
    assert torch.cuda.current_stream() not in streams
