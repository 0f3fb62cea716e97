"""Datasets, loaders and caches together: the same batches on every engine, whoever holds them."""

import gc
import hashlib
import multiprocessing
import pickle
import random
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

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
from lmdb_reid.errors import CorruptSampleError, UsageError, WorkerDiedError
from lmdb_reid.sampling import Shuffled

COUNT, SIZE = 70, (16, 8)
ENGINES = ["threads", "processes", "dataloader"]


def pixels(number):
    return np.random.default_rng(number).integers(0, 255, (*SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    out = tmp_path_factory.mktemp("loader") / "store.lmdb"
    with StoreWriter(out) as writer:
        for number in range(COUNT):
            label = number % 5 * 10 if number % 7 else -1
            writer.put(f"{number:03d}", codec.encode(pixels(number)), {"label": label})
        writer.seal()
    return out


def expected(path, rows):
    with Store(path) as store:
        return np.stack([store.at(row).image for row in rows])


def read(loader):
    return [(b.images.clone(), b.labels.clone(), b.rows.clone()) for b in loader]


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def jitter(image, generator=None):
    return image.float() + torch.rand(1, generator=generator)


def global_jitter(image):
    return image.float() + torch.rand(1) + random.random() + np.random.rand()


# dataset


def test_an_item_is_an_image_and_a_label(path):
    dataset = ReIDDataset(path)
    image, label = dataset[3]
    assert image.dtype == torch.uint8
    assert image.shape == (3, *SIZE)
    assert np.array_equal(image.permute(1, 2, 0), expected(path, [3])[0])
    assert (len(dataset), label) == (COUNT, 30)
    assert dataset[-1][1] == dataset[COUNT - 1][1]
    with pytest.raises(IndexError, match="item 70 of a dataset of 70"):
        dataset[COUNT]


def test_labels_stored_relabelled_and_given(path):
    rows = [1, 2, 3, 7]
    assert ReIDDataset(path, rows).labels.tolist() == [10, 20, 30, -1]
    relabelled = ReIDDataset(path, rows, labels="relabel")
    assert relabelled.labels.tolist() == [0, 1, 2, -1]
    assert relabelled.classes.tolist() == [10, 20, 30]
    assert ReIDDataset(path, rows, labels=[4, 5, 6, 7]).labels.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    "arguments",
    [
        {"rows": [0, COUNT]},
        {"rows": [-1]},
        {"rows": np.ones(COUNT, bool)},
        {"rows": [0.5]},
        {"rows": [[1]]},
        {"labels": "renumber"},
        {"labels": [1, 2]},
        {"size": 64},
        {"size": (0, 8)},
    ],
)
def test_what_a_dataset_refuses(path, arguments):
    with pytest.raises(UsageError):
        ReIDDataset(path, **arguments)


def test_another_size_is_resized_the_same_everywhere(path):
    dataset = ReIDDataset(path, size=(8, 8))
    wanted = codec.resize(expected(path, [5])[0], (8, 8))
    assert np.array_equal(dataset[5][0].permute(1, 2, 0), wanted)
    batches = {e: read(make_loader(dataset, 16, engine=e, num_workers=2)) for e in ENGINES}
    assert same(batches["threads"], batches["processes"])
    assert same(batches["threads"], batches["dataloader"])


def test_a_pickled_dataset_is_small(path):
    dataset = ReIDDataset(path, range(20), labels="relabel")
    _ = dataset[0], dataset.labels
    assert len(pickle.dumps(dataset)) < 1000 + 20 * 8
    assert len(pickle.dumps(ReIDDataset(path))) < 1000


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_torchs_own_loader_after_the_parent_has_read(path, method):
    dataset = ReIDDataset(path, labels="relabel")
    first = dataset[0][0]
    loader = DataLoader(dataset, 16, num_workers=2, multiprocessing_context=method)
    images = torch.cat([images for images, _ in loader])
    assert torch.equal(images[0], first)
    assert np.array_equal(images.permute(0, 2, 3, 1), expected(path, range(COUNT)))


# loaders


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shuffled_epoch_is_every_sample_once(path, engine):
    with make_loader(ReIDDataset(path), 16, shuffle=True, engine=engine, num_workers=2) as loader:
        assert len(loader) == 5
        for epoch in range(2):
            batches = read(loader)
            rows = torch.cat([rows for _, _, rows in batches]).numpy()
            assert np.array_equal(rows, Shuffled(COUNT, 0).rows(epoch))
            images = torch.cat([images for images, _, _ in batches]).permute(0, 2, 3, 1)
            assert np.array_equal(images, expected(path, rows))


def test_the_order_never_changes():
    order = Shuffled(1000, seed=7).rows(3).astype("<i8").tobytes()
    wanted = "71a36940f7a2003a1e178a75e6d97cc7c845dca58fabd39b794749f9dd5e75da"
    assert hashlib.sha256(order).hexdigest() == wanted


@pytest.mark.parametrize("engine", ENGINES)
def test_kept_batches_never_change(path, engine):
    dataset = ReIDDataset(path)
    with make_loader(dataset, 4, shuffle=True, engine=engine, num_workers=2) as loader:
        for _ in range(2):  # the second pass would write into buffers of the first
            kept = [(batch, batch.images.clone()) for batch in loader]
            for batch, copy in kept:
                assert torch.equal(batch.images, copy)
                wanted = expected(path, batch.rows.tolist())
                assert np.array_equal(batch.images.permute(0, 2, 3, 1), wanted)


def test_buffers_come_back(path):
    with make_loader(ReIDDataset(path), 4, engine="threads", num_workers=2) as loader:
        for _ in range(6):
            for _ in loader:
                pass
        stats = loader.stats()
    assert stats["ring"] < 18  # of 108 batches
    assert stats["beyond_ring"] == 0
    assert stats["samples"] == 6 * COUNT


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("taken", [1, 3, 5])
def test_a_saved_state_gives_the_same_rest(path, engine, taken):
    dataset = ReIDDataset(path)
    with make_loader(dataset, 16, shuffle=True, engine=engine, num_workers=2, seed=5) as loader:
        read(loader)
        batches = iter(loader)
        for _ in range(taken):
            next(batches)
        state = loader.state_dict()
        rest = read(batches)
    with make_loader(dataset, 16, shuffle=True, num_workers=0, seed=5) as other:
        other.load_state_dict(state)
        again = read(other)
        assert same(again, rest) if taken < 5 else len(again) == 5  # the start of the next epoch
        assert other.epoch == (2 if taken < 5 else 3)
    with pytest.raises(UsageError, match="batch_size was 16, is 8"):
        make_loader(dataset, 8, shuffle=True, num_workers=0, seed=5).load_state_dict(state)


def test_a_pass_that_was_left_begins_again(path):
    with make_loader(
        ReIDDataset(path), 16, shuffle=True, engine="threads", num_workers=2
    ) as loader:
        first = next(iter(loader)).rows.clone()
        assert torch.equal(next(iter(loader)).rows, first)
        assert len(read(loader)) == 5


def test_an_epochs_order_is_drawn_once(path):
    drawn = []

    class Counted:
        def rows(self, epoch):
            drawn.append(epoch)
            return np.arange(COUNT)

    with make_loader(ReIDDataset(path), 8, sampler=Counted(), num_workers=0) as loader:
        assert len(loader) == 9
        loader.load_state_dict(loader.state_dict())
        assert len(read(loader)) == len(loader)
        assert drawn == [0, 1]  # the length is that of the next epoch by then


def test_drop_last_ranks_and_samplers(path):
    dataset = ReIDDataset(path)
    assert len(make_loader(dataset, 16, drop_last=True, num_workers=0)) == 4
    ranks = [
        torch.cat([b.rows for b in make_loader(dataset, 8, num_workers=0, rank=r, world_size=4)])
        for r in range(4)
    ]
    assert len({len(rows) for rows in ranks}) == 1
    assert set(torch.cat(ranks).tolist()) == set(range(COUNT))
    chosen = make_loader(dataset, 4, sampler=[5, 3, 1, 2, 0], num_workers=0)
    assert torch.cat([batch.rows for batch in chosen]).tolist() == [5, 3, 1, 2, 0]
    sampler = PKSampler(dataset.labels, p=3, k=2)
    for batch in make_loader(dataset, sampler=sampler, engine="threads", num_workers=2):
        labels = batch.labels.reshape(3, 2)
        assert (labels == labels[:, :1]).all()
        assert len(labels[:, 0].unique()) == 3
    rows = sampler.rows(0)
    assert len(rows) == len(sampler)
    assert set(rows) == set(np.flatnonzero(dataset.labels >= 0))


def test_augmentation_is_the_same_for_any_number_of_workers(path):
    dataset = ReIDDataset(path, transform=jitter)
    runs = [
        read(make_loader(dataset, 16, shuffle=True, engine=engine, num_workers=num_workers))
        for engine, num_workers in [
            ("threads", 1),
            ("threads", 3),
            ("processes", 2),
            ("dataloader", 0),
        ]
    ]
    assert all(same(runs[0], run) for run in runs[1:])


def test_global_generators_are_seeded_in_worker_processes(path):
    dataset = ReIDDataset(path, transform=global_jitter)
    with pytest.raises(UsageError, match="generator"):
        make_loader(dataset, engine="threads")
    before = torch.get_rng_state()
    runs = [
        read(make_loader(dataset, 16, engine=engine, num_workers=num_workers))
        for engine, num_workers in [("processes", 1), ("processes", 2), ("dataloader", 2)]
    ]
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])
    assert "dataloader" not in make_loader(dataset, num_workers=2).explain().lower()
    del before


def test_conversion_and_normalisation(path):
    (batch,) = make_loader(ReIDDataset(path), COUNT, num_workers=0, dtype=torch.float32)
    image = expected(path, [0])[0].astype(np.float32) / 255
    wanted = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(batch.images[0].permute(1, 2, 0), wanted, atol=1e-5)
    with pytest.raises(UsageError, match="dtype"):
        make_loader(ReIDDataset(path), mean=(0, 0, 0))


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_left_behind(path, engine):
    threads, children = set(threading.enumerate()), set(multiprocessing.active_children())
    loader = make_loader(ReIDDataset(path), 4, engine=engine, num_workers=2)
    for _ in loader:
        break
    with pytest.raises(ZeroDivisionError):
        for _ in loader:
            raise ZeroDivisionError
    loader.close()
    gc.collect()
    assert set(multiprocessing.active_children()) <= children
    for thread in set(threading.enumerate()) - threads:  # torch leaves its queues' to end alone
        thread.join(30)
    assert set(threading.enumerate()) <= threads
    with pytest.raises(UsageError, match="closed"):
        iter(loader)


def test_a_killed_worker_is_named(path):
    with make_loader(ReIDDataset(path), 4, engine="processes", num_workers=2) as loader:
        batches = iter(loader)
        next(batches)
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(WorkerDiedError, match=r"lmdb_reid-decode-\d .*SIGKILL"):
            list(batches)
        assert len(list(loader)) == 18  # new workers


# damage


@pytest.fixture
def damaged(path, tmp_path):
    out = tmp_path / "damaged.lmdb"
    with StoreWriter(out) as writer:
        for number in range(COUNT):
            writer.put(f"{number:03d}", codec.encode(pixels(number)), {"label": number})
        writer.seal()
    with Store(out) as store:
        jpeg = store["033"].jpeg
    data = bytearray((out / "data.mdb").read_bytes())
    at = -1
    while (at := data.find(jpeg, at + 1)) >= 0:  # small images move as pages split: all copies
        data[at + len(jpeg) // 2] ^= 1
    (out / "data.mdb").write_bytes(data)
    return out


@pytest.mark.parametrize("engine", ENGINES)
def test_one_flipped_bit_is_raised_with_its_id(damaged, engine):
    with make_loader(ReIDDataset(damaged), 16, engine=engine, num_workers=2) as loader:
        with pytest.raises(CorruptSampleError, match="033"):
            list(loader)


@pytest.mark.parametrize("engine", ENGINES)
def test_or_left_out_and_counted(damaged, engine):
    with make_loader(
        ReIDDataset(damaged), 16, engine=engine, num_workers=2, on_error="skip"
    ) as loader:
        batches = read(loader)
        assert loader.stats()["skipped"] == 1
    rows = torch.cat([rows for _, _, rows in batches]).tolist()
    assert rows == [row for row in range(COUNT) if row != 33]
    images = torch.cat([images for images, _, _ in batches]).permute(0, 2, 3, 1)
    assert np.array_equal(images, [codec.decode(codec.encode(pixels(row))) for row in rows])


# caches


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["lru", "tier"])
def test_cached_pixels_are_the_decoded_ones(path, tmp_path, engine, kind):
    store = Store(path)
    cache = LRUCache(items=1000) if kind == "lru" else DecodedTier(store, tmp_path / "tier")
    plain = read(make_loader(ReIDDataset(path), 16, shuffle=True, num_workers=0))
    dataset = ReIDDataset(store, cache=cache)
    with make_loader(dataset, 16, shuffle=True, engine=engine, num_workers=2) as loader:
        assert same(read(loader), plain)
        loader.set_epoch(0)
        assert same(read(loader), plain)
    if engine == "threads":
        assert cache.stats()["hits"] == cache.stats()["misses"] == COUNT


def test_an_lru_keeps_its_limits():
    cache = LRUCache(items=2)
    for number in range(3):
        cache.put(number, pixels(number))
    assert cache.get(0) is None
    assert np.array_equal(cache.get(2), pixels(2))
    assert cache.stats() == {
        "hits": 1,
        "misses": 1,
        "evictions": 1,
        "items": 2,
        "bytes": 2 * pixels(0).nbytes,
    }
    assert len(pickle.loads(pickle.dumps(cache))) == 0
    small = LRUCache(bytes=pixels(0).nbytes)
    small.put(0, pixels(0))
    small.put(1, pixels(1))
    assert len(small) == 1
    with pytest.raises(UsageError):
        LRUCache()


def test_a_tier_of_another_store_is_refused(path, damaged, tmp_path):
    tier = DecodedTier(Store(path), tmp_path / "tier")
    with pytest.raises(UsageError, match="another store"):
        ReIDDataset(damaged, cache=tier)[0]
