from __future__ import annotations

import contextlib
import pickle
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import lmdb_reid
from lmdb_reid import CroppedBBoxDataset, LRUCache, codec
from lmdb_reid.dataset import _cropped
from lmdb_reid.errors import (
    ImageError,
    ImageTooLargeError,
    MissingExtraError,
    ResourceError,
    SourceError,
    SourceNotFoundError,
    UsageError,
)

COUNT, HEIGHT, WIDTH = 6, 48, 24
BYTES = HEIGHT * WIDTH * 3

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def pictures() -> list[Pixels]:
    return list(
        np.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    )


@pytest.fixture
def paths(tmp_path: Path, pictures: list[Pixels]) -> list[Path]:
    """One file each, stored without loss."""
    files = [tmp_path / f"crop{number}.png" for number in range(COUNT)]
    for file, pixels in zip(files, pictures, strict=True):
        Image.fromarray(pixels).save(file)
    return files


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read from now on."""
    noted: list[Path] = []
    read_bytes = Path.read_bytes

    def reading(path: Path) -> bytes:
        noted.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", reading)
    return noted


def test_an_item_is_the_files_pixels_and_its_label(
    paths: list[Path], pictures: list[Pixels]
) -> None:
    dataset = CroppedBBoxDataset(paths, [3, 1, 4, 1, 5, -1])
    assert len(dataset) == COUNT
    for index in (0, 5, -1):
        image, label = dataset[index]
        assert image.dtype == torch.uint8
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pictures[index])
        assert label.dtype == torch.long
        assert label.shape == ()
    assert [int(dataset[index][1]) for index in range(COUNT)] == [3, 1, 4, 1, 5, -1]


def test_the_transform_receives_a_pil_image_in_rgb(
    paths: list[Path], pictures: list[Pixels]
) -> None:
    seen: list[Any] = []
    dataset = CroppedBBoxDataset(paths, range(COUNT), transform=seen.append)
    assert dataset[2][0] is None  # what the transform returned
    (image,) = seen
    assert isinstance(image, Image.Image)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pictures[2])


@pytest.mark.parametrize(
    "labels", [(0, 1, 2, 3, 4, 5), np.arange(6, dtype=np.int16), torch.arange(6)]
)
def test_labels_may_come_in_any_array(paths: list[Path], labels: Any) -> None:
    assert CroppedBBoxDataset([str(path) for path in paths], labels)[4][1] == 4


def test_the_content_decides_the_format(tmp_path: Path, pictures: list[Pixels]) -> None:
    jpeg = codec.encode(pictures[0])
    (tmp_path / "crop.png").write_bytes(jpeg)
    image, _ = CroppedBBoxDataset([tmp_path / "crop.png"], [0])[0]
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), codec.decode(jpeg))


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("red.jpg" if mode == "CMYK" else "red.png")
    Image.new("RGB", (WIDTH, HEIGHT), (255, 0, 0)).convert(mode).save(path)
    image, _ = CroppedBBoxDataset([path], [0])[0]
    assert image.shape == (3, HEIGHT, WIDTH)
    expected = (76, 76, 76) if mode == "L" else (255, 0, 0)
    assert image[:, 0, 0].tolist() == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(
    ("num_workers", "start", "use_cache"),
    [(0, None, False), (2, "fork", False), (2, "fork", True), (2, "spawn", True)],
)
def test_a_stock_loader_reads_it(
    paths: list[Path], pictures: list[Pixels], num_workers: int, start: str | None, use_cache: bool
) -> None:
    dataset = CroppedBBoxDataset(paths, range(COUNT), use_cache=use_cache)
    dataset[0]  # the parent has read before
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=num_workers,
        multiprocessing_context=start,
        persistent_workers=num_workers > 0,
    )
    for _ in range(2):
        batches = list(loader)
        assert [len(images) for images, _ in batches] == [4, 2]
        images = torch.cat([images for images, _ in batches]).permute(0, 2, 3, 1)
        np.testing.assert_array_equal(images.numpy(), np.stack(pictures))
        assert torch.cat([labels for _, labels in batches]).tolist() == list(range(COUNT))


# -- the cache -------------------------------------------------------------------------------------


def test_nothing_is_kept_unless_told(paths: list[Path], reads: list[Path]) -> None:
    dataset = CroppedBBoxDataset(paths, range(COUNT))
    assert dataset.cache is None
    dataset[0], dataset[0]
    assert reads == [paths[0]] * 2


def test_the_cache_counts_hits_and_misses(paths: list[Path], reads: list[Path]) -> None:
    dataset = CroppedBBoxDataset(paths, range(COUNT), use_cache=True)
    assert dataset.cache is not None
    for index in (0, 1, 0, 1, -COUNT):
        dataset[index]
    assert reads == paths[:2]
    assert dataset.cache.stats() == {
        "hits": 3,
        "misses": 2,
        "evictions": 0,
        "items": 2,
        "bytes": 2 * BYTES,
    }


@pytest.mark.parametrize(
    "limited",
    [
        {"use_cache": True, "cache_size": 2},
        {"cache": LRUCache(items=2)},
        {"cache": LRUCache(bytes=3 * BYTES - 1)},
    ],
    ids=["cache_size", "items", "bytes"],
)
def test_the_longest_unused_goes_first(
    paths: list[Path], reads: list[Path], limited: dict[str, Any]
) -> None:
    dataset = CroppedBBoxDataset(paths, range(COUNT), **limited)
    for index in (0, 1, 0, 2, 0, 1):
        dataset[index]
    assert reads == [paths[index] for index in (0, 1, 2, 1)]
    assert dataset.cache is not None
    stats = dataset.cache.stats()
    assert (stats["items"], stats["bytes"], stats["evictions"]) == (2, 2 * BYTES, 2)


def test_two_datasets_may_share_a_cache(paths: list[Path], reads: list[Path]) -> None:
    cache = LRUCache(items=COUNT)
    CroppedBBoxDataset(paths, range(COUNT), cache=cache)[3]
    CroppedBBoxDataset(paths[3:], range(3), cache=cache)[0]
    assert reads == [paths[3]]


def test_what_is_done_to_an_item_does_not_reach_the_cache(
    paths: list[Path], pictures: list[Pixels]
) -> None:
    plain = CroppedBBoxDataset(paths, range(COUNT), use_cache=True)
    for _ in range(3):  # the first is read, the others come from the cache
        image, _ = plain[0]
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pictures[0])
        image.zero_()

    def blacken(image: Image.Image) -> Pixels:
        seen = np.array(image)
        image.paste((0, 0, 0), (0, 0, WIDTH, HEIGHT))
        return seen

    dataset = CroppedBBoxDataset(paths, range(COUNT), blacken, use_cache=True)
    for _ in range(3):
        np.testing.assert_array_equal(dataset[0][0], pictures[0])


def test_threads_share_one_cache(paths: list[Path], pictures: list[Pixels]) -> None:
    dataset = CroppedBBoxDataset(paths, range(COUNT), use_cache=True)
    wrong: list[int] = []

    def read() -> None:
        for index in range(COUNT):
            image = dataset[index][0].permute(1, 2, 0).numpy()
            wrong.extend([index] * (not np.array_equal(image, pictures[index])))

    read()
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert dataset.cache is not None
    assert (dataset.cache.stats()["misses"], dataset.cache.stats()["hits"]) == (COUNT, 4 * COUNT)


def test_a_pickle_leaves_the_images_behind(paths: list[Path], reads: list[Path]) -> None:
    dataset = CroppedBBoxDataset(paths, range(COUNT), use_cache=True, cache_size=4)
    cold = len(pickle.dumps(dataset))
    dataset[0]
    assert len(pickle.dumps(dataset)) == cold
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[0][0], dataset[0][0])
    assert reads == [paths[0]] * 2  # once for each of the two
    assert copy.cache.items == 4


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, COUNT - 1, COUNT + 1])
def test_lengths_that_differ(paths: list[Path], count: int) -> None:
    with pytest.raises(ValueError, match=rf"must have the same length, got {COUNT} and {count}"):
        CroppedBBoxDataset(paths, range(count))


@pytest.mark.parametrize("labels", [[0.5] * COUNT, ["a"] * COUNT, [[0]] * COUNT, [True] * COUNT])
def test_labels_that_are_none(paths: list[Path], labels: Any) -> None:
    with pytest.raises(UsageError, match="whole number"):
        CroppedBBoxDataset(paths, labels)


def test_a_cache_of_nothing(paths: list[Path]) -> None:
    with pytest.raises(UsageError, match="cache_size must be at least 1, got 0"):
        CroppedBBoxDataset(paths, range(COUNT), use_cache=True, cache_size=0)


def test_no_files_is_an_empty_dataset() -> None:
    assert len(CroppedBBoxDataset([], [])) == 0


@pytest.mark.parametrize("index", [COUNT, -COUNT - 1])
def test_no_such_item(paths: list[Path], index: int) -> None:
    with pytest.raises(IndexError):
        CroppedBBoxDataset(paths, range(COUNT))[index]


@pytest.mark.parametrize("use_cache", [False, True])
def test_a_missing_file_is_named(tmp_path: Path, use_cache: bool) -> None:
    dataset = CroppedBBoxDataset([tmp_path / "nowhere.jpg"], [0], use_cache=use_cache)
    with pytest.raises(SourceNotFoundError, match=r"nowhere\.jpg"):
        dataset[0]
    with pytest.raises(FileNotFoundError):
        dataset[0]


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Is a directory"):
        CroppedBBoxDataset([tmp_path], [0])[0]


@pytest.mark.parametrize("keep", [0, 10, 700], ids=["empty", "no header", "cut short"])
@pytest.mark.parametrize("use_cache", [False, True])
def test_a_damaged_file_is_named_and_read_once(
    tmp_path: Path, pictures: list[Pixels], reads: list[Path], keep: int, use_cache: bool
) -> None:
    path = tmp_path / "damaged.jpg"
    path.write_bytes(codec.encode(pictures[0])[:keep])
    dataset = CroppedBBoxDataset([path], [0], use_cache=use_cache)
    for attempt in (1, 2):
        with pytest.raises(ImageError, match=r"damaged\.jpg: "):
            dataset[0]
        assert len(reads) == attempt


def test_a_damaged_file_is_named_from_a_worker(tmp_path: Path) -> None:
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8")
    dataset = CroppedBBoxDataset([tmp_path / "damaged.jpg"], [0])
    with pytest.raises(ImageError, match=r"damaged\.jpg"):
        next(iter(DataLoader(dataset, num_workers=1)))


def test_a_file_of_too_many_pixels(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmdb_reid.codec._limits.MAX_PIXELS", 100)
    with pytest.raises(ImageTooLargeError, match=r"crop0\.png: "):
        CroppedBBoxDataset(paths, range(COUNT))[0]


def test_without_pillow_a_transform_is_refused(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cropped, "PIL", None)
    assert len(CroppedBBoxDataset(paths, range(COUNT))) == COUNT
    with pytest.raises(MissingExtraError, match="Pillow"):
        CroppedBBoxDataset(paths, range(COUNT), transform=np.asarray)


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """This process cannot open another file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_says_what_to_change(paths: list[Path]) -> None:
    dataset = CroppedBBoxDataset(paths, range(COUNT))
    told = r"crop0\.png .*Too many open files\. Reduce num_workers"
    with pytest.raises(ResourceError, match=told), no_more_files():
        dataset[0]


def test_no_memory_for_the_cache_says_what_to_change(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = CroppedBBoxDataset(paths, range(COUNT), use_cache=True)
    dataset[0]

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(LRUCache, "put", full)
    with pytest.raises(ResourceError, match=r"the 1 images \(3,456 bytes\) .*reduce cache_size"):
        dataset[1]


# -- its place -------------------------------------------------------------------------------------


def test_it_is_public_and_costs_no_torch_before_it_is_asked_for() -> None:
    assert "CroppedBBoxDataset" in lmdb_reid.__all__
    code = (
        "import sys, lmdb_reid; assert 'torch' not in sys.modules;"
        "lmdb_reid.CroppedBBoxDataset; assert 'torch' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
