"""What every map-style dataset of crops has to keep, whichever it is.

A dataset has `__len__` and `__getitem__`, and gives many items at once where torch's loader asks
for them. It is thread-safe, gives the same for the same index, pickles, and works after a fork and
under torch's own loader; ours reads it too.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from lmdb_reid import (
    CroppedBBoxDataset,
    DecodedTier,
    LRUCache,
    ReIDDataset,
    StoreWriter,
    codec,
    make_loader,
)

SIZE, COUNT = (32, 16), 12


def jpegs() -> list[bytes]:
    draw = np.random.default_rng(0)
    return [
        codec.encode(draw.integers(0, 256, (8, 4, 3), np.uint8).repeat(4, 0).repeat(4, 1))
        for _ in range(COUNT)
    ]


def of_store(folder: Path, **arguments: Any) -> ReIDDataset:
    with StoreWriter(folder / "a.lmdb") as writer:
        for row, image in enumerate(jpegs()):
            writer.put(f"f{row:02d}", image, {"label": row % 5})
        path = writer.seal()
    if arguments.get("cache") == "tier":
        arguments["cache"] = DecodedTier(ReIDDataset(path).store, folder / "tier")
    return ReIDDataset(path, **arguments)


def of_files(folder: Path, **arguments: Any) -> CroppedBBoxDataset:
    files = [folder / f"{row}.jpg" for row in range(COUNT)]
    for file, image in zip(files, jpegs(), strict=True):
        file.write_bytes(image)
    return CroppedBBoxDataset(files, [row % 5 for row in range(COUNT)], **arguments)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "store": of_store,
    "rows of a store": lambda folder: of_store(folder, rows=[11, 3, 3, 0], labels="relabel"),
    "store at another size": lambda folder: of_store(folder, size=(20, 10), fast_dct=True),
    "store with an LRU": lambda folder: of_store(folder, cache=LRUCache(items=3)),
    "store with a decoded tier": lambda folder: of_store(folder, cache="tier"),
    "files": of_files,
    "files with an LRU": lambda folder: of_files(folder, use_cache=True, cache_size=3),
}

Items = list[tuple[torch.Tensor, int]]


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    yield SOURCES[request.param](tmp_path)


def items(source: Any, indices: Any = None) -> Items:
    return [
        (source[index][0].clone(), int(source[index][1]))
        for index in (range(len(source)) if indices is None else indices)
    ]


def same(some: Items, others: Items) -> bool:
    return len(some) == len(others) and all(
        torch.equal(image, other) and label == other_label
        for (image, label), (other, other_label) in zip(some, others, strict=True)
    )


def test_an_item_is_an_image_and_a_label(source: Any) -> None:
    for image, label in (source[index] for index in range(len(source))):
        assert image.dtype == torch.uint8
        assert image.shape[0] == 3
        assert image.ndim == 3
        assert label == int(label)


def test_the_same_index_gives_the_same_item(source: Any) -> None:
    assert same(items(source), items(source))


def test_the_length_is_how_many_there_are(source: Any) -> None:
    count = len(source)
    assert len(list(source)) == count
    assert same(items(source, range(-count, 0)), items(source))
    for index in (count, -count - 1, 10**9):
        with pytest.raises(IndexError):
            source[index]


def test_many_items_are_those_that_one_by_one_gives(source: Any) -> None:
    indices = [2, 0, 2, len(source) - 1]
    batches = DataLoader(
        source, batch_sampler=[indices, indices[:1]]
    )  # torch asks for them at once
    for (images, labels), some in zip(batches, (indices, indices[:1]), strict=True):
        assert same(list(zip(images, labels.tolist(), strict=True)), items(source, some))


def test_an_item_is_the_callers(source: Any) -> None:
    wanted = items(source)
    for index in range(len(source)):
        source[index][0].zero_()
    assert same(items(source), wanted)


def test_threads_share_it(source: Any) -> None:
    wanted = items(source)
    indices = [at * 5 % len(source) for at in range(200)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda index: items(source, [index])[0], indices))
    assert same(found, [wanted[index] for index in indices])


def test_a_pickled_one_gives_the_same(source: Any) -> None:
    wanted = items(source)
    again = pickle.loads(pickle.dumps(source))
    assert same(items(again), wanted)
    assert same(items(source), wanted)


def test_it_works_in_a_forked_child(source: Any) -> None:
    wanted = items(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if same(items(source), wanted) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert same(items(source), wanted)


def test_torchs_loader_reads_it_after_its_parent_did(source: Any) -> None:
    wanted = items(source)
    for num_workers in (0, 2):
        loader = DataLoader(
            source,
            batch_size=3,
            num_workers=num_workers,
            multiprocessing_context=multiprocessing.get_context("fork") if num_workers else None,
        )
        images, labels = zip(*loader, strict=True)
        found = list(zip(torch.cat(images), torch.cat(labels).tolist(), strict=True))
        assert same(found, wanted)


def test_our_loader_reads_the_same(source: Any) -> None:
    with make_loader(source, 5, num_workers=0) as loader:
        batches = list(loader)
    found = [item for batch in batches for item in zip(batch.images, batch.labels, strict=True)]
    assert same([(image, int(label)) for image, label in found], items(source))


def test_our_loader_reads_a_part_of_it(source: Any) -> None:
    indices = [2, 0, 2, len(source) - 1]
    with make_loader(Subset(source, indices), num_workers=0) as loader:
        (batch,) = loader
    found = list(zip(batch.images, batch.labels.tolist(), strict=True))
    assert same(found, items(source, indices))
