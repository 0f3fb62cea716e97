from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lmdb_reid import LRUCache, ReIDDataset, Store, StoreWriter, codec
from lmdb_reid.crops import Cached, StoreCrops
from lmdb_reid.errors import (
    CorruptSampleError,
    StoreClosedError,
    StoreNotFoundError,
    UnknownColumnError,
    UnknownSampleError,
    UsageError,
)
from lmdb_reid.schema import Roles

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]


def pixels_of(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


@pytest.fixture
def labelled(tmp_path: Path, jpeg: Jpegs) -> Path:
    """Eight samples with labels 40, -1, 7, 40, -1 (background), 7, 99, 12."""
    labels = [(40, 0), (-1, 0), (7, 0), (40, 0), (-1, 1), (7, 4), (99, 0), (12, 0)]
    with StoreWriter(tmp_path / "labelled.lmdb") as writer:
        for row, (label, kind) in enumerate(labels):
            writer.put(f"{row}", jpeg(row), {"label": label, "kind": kind})
        return writer.seal()


# -- what an item is


def test_an_item_is_an_image_and_a_label(store_path: Path, jpeg: Jpegs) -> None:
    dataset = ReIDDataset(store_path)
    assert len(dataset) == 8
    for row in range(8):
        image, label = dataset[row]
        assert isinstance(image, torch.Tensor)
        assert image.dtype == torch.uint8
        assert image.shape == (3, 32, 16)
        assert np.array_equal(pixels_of(image), codec.decode(jpeg(row)))
        assert type(label) is int
        assert label == row % 3


def test_a_store_or_its_path(store_path: Path) -> None:
    store = Store(store_path)
    by_store = ReIDDataset(store)
    assert by_store.store is store
    for dataset in (by_store, ReIDDataset(str(store_path)), ReIDDataset(store_path)):
        assert torch.equal(dataset[3][0], by_store[3][0])
    with pytest.raises(StoreNotFoundError):
        ReIDDataset(store_path / "nowhere")


def test_items_are_the_callers(store_path: Path) -> None:
    dataset = ReIDDataset(store_path)
    image, _ = dataset[0]
    wanted = image.clone()
    image.zero_()
    assert torch.equal(dataset[0][0], wanted)


def test_the_signature_that_scripts_rely_on() -> None:
    parameters = inspect.signature(ReIDDataset).parameters
    named = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    assert list(parameters)[:2] == ["store", "rows"]
    assert named == ["size", "transform", "labels", "classes", "columns", "cache", "fast_dct"]
    defaults = {name: p.default for name, p in parameters.items() if name != "store"}
    assert defaults == {
        "rows": None,
        "size": None,
        "transform": None,
        "labels": "stored",
        "classes": None,
        "columns": (),
        "cache": None,
        "fast_dct": False,
    }


@pytest.mark.parametrize("index", [8, -9, 1 << 40, np.int64(8)])
def test_items_that_are_not_there(index: Any, store_path: Path) -> None:
    dataset = ReIDDataset(store_path)
    with pytest.raises(IndexError, match="of a dataset of 8"):
        dataset[index]
    with pytest.raises(IndexError):
        dataset.__getitems__([0, index])


@pytest.mark.parametrize("index", [1.7, "3", None, True, np.float64(2), [1.5], ["3"]])
def test_items_that_are_no_numbers(index: Any, store_path: Path) -> None:
    with pytest.raises((TypeError, UsageError)):
        ReIDDataset(store_path)[index]


def test_a_mask_is_not_a_list_of_items(store_path: Path) -> None:
    dataset = ReIDDataset(store_path)
    mask = [True, False] * 4
    for wrong in (mask, np.array(mask)):
        with pytest.raises(UsageError):
            dataset.__getitems__(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, np.int64(7), torch.tensor(7)])
def test_numbers_of_any_make(index: Any, store_path: Path) -> None:
    dataset = ReIDDataset(store_path)
    assert torch.equal(dataset[index][0], dataset[7][0])


def test_iterating_ends(store_path: Path) -> None:
    assert [label for _, label in ReIDDataset(store_path)] == [0, 1, 2, 0, 1, 2, 0, 1]


def test_many_items_are_a_list_of_items(store_path: Path) -> None:
    dataset = ReIDDataset(store_path)
    items = dataset.__getitems__([5, 0, 5, -1])
    assert type(items) is list
    for (image, label), index in zip(items, [5, 0, 5, -1], strict=True):
        assert torch.equal(image, dataset[index][0])
        assert label == dataset[index][1]
    assert dataset.__getitems__([]) == []


def test_a_stock_loader_with_its_default_collate(store_path: Path) -> None:
    dataset = ReIDDataset(store_path)
    batches = list(DataLoader(dataset, batch_size=3))
    assert [tuple(images.shape) for images, _ in batches] == [(3, 3, 32, 16)] * 2 + [(2, 3, 32, 16)]
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert batches[0][1].dtype == torch.int64
    images = torch.cat([images for images, _ in batches])
    assert torch.equal(images, torch.stack([image for image, _ in dataset]))


# -- rows


def test_rows_select_and_order(store_path: Path, jpeg: Jpegs) -> None:
    dataset = ReIDDataset(store_path, rows=[6, 1, 6])
    assert len(dataset) == 3
    assert dataset.rows.tolist() == [6, 1, 6]
    assert dataset.labels.tolist() == [0, 1, 0]
    assert np.array_equal(pixels_of(dataset[1][0]), codec.decode(jpeg(1)))
    assert np.array_equal(pixels_of(dataset[-1][0]), codec.decode(jpeg(6)))
    with pytest.raises(IndexError):
        dataset[3]


def test_rows_of_a_query(store_path: Path) -> None:
    store = Store(store_path)
    dataset = ReIDDataset(store, store.query("quarter == 'Q1'"))
    assert dataset.rows.tolist() == [1, 3, 5, 7]


def test_all_rows_unless_told(store_path: Path) -> None:
    assert ReIDDataset(store_path).rows.tolist() == list(range(8))
    assert ReIDDataset(store_path).rows.dtype == np.int64


@pytest.mark.parametrize("rows", [[], np.array([], np.int64), np.array([])])
def test_no_rows_at_all(rows: Any, store_path: Path) -> None:
    dataset = ReIDDataset(store_path, rows, labels="relabel")
    assert len(dataset) == 0
    assert dataset.labels.tolist() == []
    assert dataset.classes.tolist() == []
    assert list(dataset) == []
    with pytest.raises(IndexError):
        dataset[0]


@pytest.mark.parametrize(
    "rows",
    [[8], [-1], [0, 100], [0.5], [[0, 1]], 3, [1 << 70], [None]],
    ids=str,
)
def test_rows_that_do_not_fit_the_store(rows: Any, store_path: Path) -> None:
    with pytest.raises(UsageError, match="rows"):
        ReIDDataset(store_path, rows)


def test_rows_may_be_a_mask_ids_or_a_query(store_path: Path) -> None:
    mask = np.arange(8) % 3 == 1
    wanted = [1, 4, 7]
    store = Store(store_path)
    for rows in (mask, mask.tolist(), [store.ids[row] for row in wanted], "label == 1"):
        assert ReIDDataset(store, rows).rows.tolist() == wanted
    assert len(ReIDDataset(store, "label == 5")) == 0
    with pytest.raises(UsageError, match="one entry for each of the 8 samples of the store, got 7"):
        ReIDDataset(store, mask[:7])
    with pytest.raises(UnknownSampleError):
        ReIDDataset(store, ["nobody"])


def test_later_changes_of_what_was_given_change_nothing(store_path: Path) -> None:
    rows, labels = np.array([1, 2]), np.array([5, 6])
    dataset = ReIDDataset(store_path, rows, labels=labels)
    rows[:] = 0
    labels[:] = 0
    assert dataset.rows.tolist() == [1, 2]
    assert [label for _, label in dataset] == [5, 6]


# -- labels


def test_stored_labels(labelled: Path) -> None:
    dataset = ReIDDataset(labelled)
    assert dataset.labels.tolist() == [40, -1, 7, 40, -1, 7, 99, 12]
    assert dataset.labels.dtype == np.int64
    assert dataset.classes.tolist() == [7, 12, 40, 99]


def test_relabelling_is_by_the_selection_in_sorted_order(labelled: Path) -> None:
    whole = ReIDDataset(labelled, labels="relabel")
    assert whole.labels.tolist() == [2, -1, 0, 2, -1, 0, 3, 1]
    assert whole.classes.tolist() == [7, 12, 40, 99]
    part = ReIDDataset(labelled, [6, 0, 4, 3], labels="relabel")
    assert part.labels.tolist() == [1, 0, -1, 0]
    assert part.classes.tolist() == [40, 99]
    assert [label for _, label in part] == [1, 0, -1, 0]
    known = part.labels[part.labels >= 0]
    assert part.classes[known].tolist() == [99, 40, 40]


def test_given_labels(labelled: Path) -> None:
    dataset = ReIDDataset(labelled, [0, 1, 2], labels=[9, -1, 3])
    assert [label for _, label in dataset] == [9, -1, 3]
    assert dataset.classes.tolist() == [3, 9]
    assert ReIDDataset(labelled, [5], labels=torch.tensor([4])).labels.tolist() == [4]


@pytest.mark.parametrize(
    "labels",
    [[1], [1, 2, 3], [1.5, 2.0], ["a", "b"], [[1, 2]], 5, None, "relabelled", [True, False]],
)
def test_labels_that_do_not_fit_the_rows(labels: Any, labelled: Path) -> None:
    with pytest.raises(UsageError, match="labels"):
        ReIDDataset(labelled, [0, 1], labels=labels)


# -- size


def test_another_size_is_made_by_the_one_resizer(store_path: Path, jpeg: Jpegs) -> None:
    for size in [(64, 32), (20, 16), (32, 8), (31, 17)]:
        dataset = ReIDDataset(store_path, size=size)
        assert dataset.size == size
        image, _ = dataset[2]
        assert image.shape == (3, *size)
        assert np.array_equal(pixels_of(image), codec.resize(codec.decode(jpeg(2)), size))


def test_half_the_size_and_less_is_nearly_what_the_resizer_makes(tmp_path: Path) -> None:
    rows, columns = np.indices((128, 64))
    smooth = np.stack([rows * 2, columns * 4, 255 - rows - columns], axis=2).astype(np.uint8)
    jpeg = codec.encode(smooth)
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg, {})
        writer.seal()
    for size in [(64, 32), (40, 20), (32, 16), (16, 64), (9, 7)]:
        image, _ = ReIDDataset(tmp_path / "a.lmdb", size=size)[0]
        plain = codec.resize(codec.decode(jpeg), size).astype(int)
        assert np.abs(pixels_of(image) - plain).max() <= 4


def test_a_store_of_one_size_is_read_at_it(store_path: Path) -> None:
    assert ReIDDataset(store_path).size == (32, 16)


def test_a_native_store_is_read_at_256x128_unless_told(tmp_path: Path, jpeg: Jpegs) -> None:
    sizes = [(40, 20), (300, 100), (256, 128), (16, 90)]
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        for row, size in enumerate(sizes):
            writer.put(f"{row}", jpeg(row, size), {"label": row})
        writer.seal()
    dataset = ReIDDataset(tmp_path / "a.lmdb")
    assert dataset.size == (256, 128)
    images = [image for image, _ in dataset]
    assert {tuple(image.shape) for image in images} == {(3, 256, 128)}
    for row in (0, 2, 3):
        wanted = codec.resize(codec.decode(jpeg(row, sizes[row])), (256, 128))
        assert np.array_equal(pixels_of(images[row]), wanted)
    small = ReIDDataset(tmp_path / "a.lmdb", size=(8, 4))
    assert DataLoader(small, batch_size=4).__iter__().__next__()[0].shape == (4, 3, 8, 4)


def test_one_number_is_a_square(store_path: Path) -> None:
    assert ReIDDataset(store_path, size=24)[0][0].shape == (3, 24, 24)


@pytest.mark.parametrize(
    "size", [0, (64,), (1, 2, 3), (0, 4), (-1, 4), (1.5, 2), "64x32", "ab", (None, 4)]
)
def test_sizes_that_are_none(size: Any, store_path: Path) -> None:
    with pytest.raises(UsageError, match="size must be"):
        ReIDDataset(store_path, size=size)


def test_the_fast_dct_is_nearly_the_same(store_path: Path) -> None:
    accurate, fast = ReIDDataset(store_path)[0][0], ReIDDataset(store_path, fast_dct=True)[0][0]
    off = (accurate.int() - fast.int()).abs().float()
    assert 0 < off.mean() < 16


# -- transform


def wants_generator(dataset: ReIDDataset) -> bool:
    transform = dataset.selection().transform
    assert transform is not None
    return transform.wants_generator


def test_a_transform_is_given_the_uint8_tensor(store_path: Path) -> None:
    given_images: list[torch.Tensor] = []

    def transform(image: torch.Tensor) -> float:
        given_images.append(image)
        return float(image.float().mean())

    dataset = ReIDDataset(store_path, transform=transform)
    value, label = dataset[4]
    (image,) = given_images
    assert image.dtype == torch.uint8
    assert torch.equal(image, ReIDDataset(store_path)[4][0])
    assert value == float(image.float().mean())
    assert label == 1
    assert not wants_generator(dataset)


def with_keyword(image: torch.Tensor, *, generator: torch.Generator) -> int:
    return int(torch.randint(1 << 60, (), generator=generator))


class Callable_:
    def __call__(self, image: torch.Tensor, generator: torch.Generator | None = None) -> int:
        assert generator is not None
        return with_keyword(image, generator=generator)


class Module(torch.nn.Module):
    def forward(self, image: torch.Tensor, generator: torch.Generator | None = None) -> int:
        assert generator is not None
        return with_keyword(image, generator=generator)


@pytest.mark.parametrize(
    "transform",
    [with_keyword, Callable_(), Module(), functools.partial(with_keyword)],
    ids=["function", "object", "module", "partial"],
)
def test_a_transform_that_takes_a_generator_is_given_one(
    transform: Callable[..., Any], store_path: Path
) -> None:
    dataset = ReIDDataset(store_path, transform=transform)
    assert wants_generator(dataset)
    draws = [dataset[0][0] for _ in range(8)]
    assert len(set(draws)) == 8, "each item a seed of its own"
    given = dataset.selection().transform
    assert given is not None
    image = torch.zeros(3, 32, 16, dtype=torch.uint8)
    assert given(image, 5) == given(image, 5)
    assert given(image, 5) != given(image, 6)
    seeded = torch.Generator().manual_seed(5)
    assert given(image, 5) == with_keyword(image, generator=seeded)


def test_a_transform_with_a_generator_leaves_the_global_one_alone(store_path: Path) -> None:
    dataset = ReIDDataset(store_path, transform=with_keyword)
    before = torch.get_rng_state()
    assert dataset[0]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("transform", [torch.clone, torch.nn.Identity(), abs, type(None)])
def test_transforms_without_a_generator(transform: Any, store_path: Path) -> None:
    assert not wants_generator(ReIDDataset(store_path, transform=transform))


def test_errors_of_a_transform_are_its_own(store_path: Path) -> None:
    dataset = ReIDDataset(store_path, transform=lambda image: image / 0 + [])
    with pytest.raises(TypeError):
        dataset[0]


# -- what a loader takes


def test_its_crops_are_those_of_the_store(store_path: Path, jpeg: Jpegs) -> None:
    dataset = ReIDDataset(store_path, rows=[7, 6, 5, 4])
    assert isinstance(dataset.crops, StoreCrops)
    batch = np.zeros((5, 32, 16, 3), np.uint8)
    dataset.crops.read(np.array([2, 3, 2]), batch[1:4])
    for slot, row in ((1, 5), (2, 4), (3, 5)):
        assert np.array_equal(batch[slot], codec.decode(jpeg(row)))
    assert not batch[0].any()
    assert not batch[4].any()


def test_a_cache_wraps_its_crops(store_path: Path) -> None:
    cache = LRUCache(items=8)
    dataset = ReIDDataset(store_path, cache=cache)
    assert isinstance(dataset.crops, Cached)
    assert dataset.crops.cache is cache
    first, again = dataset[3][0], dataset[3][0]
    assert torch.equal(first, again)
    assert cache.stats()["hits"] == 1


def test_a_selection_has_one_entry_for_each_item(store_path: Path) -> None:
    dataset = ReIDDataset(store_path, [6, 1], labels=[9, 4], columns=["quarter"])
    selection = dataset.selection()
    assert len(selection) == 2
    assert selection.rows_of(np.array([1, 0, 1])).tolist() == [1, 6, 1]
    assert selection.labels.tolist() == [9, 4]
    assert selection.columns["quarter"].tolist() == [0, 1]
    everything = ReIDDataset(store_path, columns=["quarter"]).selection()
    assert everything.rows is None
    assert everything.rows_of(np.array([5, 0])).tolist() == [5, 0]
    assert everything.columns["quarter"].tolist() == [0, 1] * 4


def test_columns_that_are_not_there(store_path: Path) -> None:
    with pytest.raises(UnknownColumnError, match=r"no column or role 'camera' in .*quarter"):
        ReIDDataset(store_path, columns=["camera"])
    with pytest.raises(UsageError, match=r"Use \['quarter'\]"):
        ReIDDataset(store_path, columns="quarter")


def test_a_role_stands_for_the_column_that_has_it(
    tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    with StoreWriter(tmp_path / "s.lmdb", roles=Roles(camera="angle")) as writer:
        for number, angle in enumerate(["top", "side", "top"]):
            writer.put(f"f{number}", jpeg(number), {"label": number, "angle": angle})
        path = writer.seal()
    dataset = ReIDDataset(path, [2, 1], columns=["camera", "angle"])
    assert {name: values.tolist() for name, values in dataset.columns.items()} == {
        "camera": [1, 0],
        "angle": [1, 0],
    }
    with pytest.raises(UnknownColumnError, match="no column or role 'split'"):
        ReIDDataset(path, columns=["split"])


def test_some_items_of_a_dataset_are_a_dataset(labelled: Path) -> None:
    def dark(image: torch.Tensor) -> torch.Tensor:
        return image * 0

    whole = ReIDDataset(
        labelled,
        [6, 0, 4, 3],
        labels="relabel",
        size=(20, 10),
        transform=dark,
        columns=["kind"],
        cache=LRUCache(items=2),
    )
    part = whole.select([2, -1, 0])
    assert part.rows.tolist() == [4, 3, 6]
    assert part.labels.tolist() == [-1, 0, 1], "numbered as the whole is"
    assert (part.size, part.cache, part.transform) == ((20, 10), whole.cache, dark)
    assert part.columns["kind"].tolist() == [1, 0, 0]
    for wrong in ([4], [-5]):
        with pytest.raises(IndexError, match=r"positions must be 0\.\.3, for this dataset has 4"):
            whole.select(wrong)


# -- classes


def test_another_datasets_classes_number_the_labels(labelled: Path) -> None:
    train = ReIDDataset(labelled, [6, 0], labels="relabel")
    val = ReIDDataset(labelled, labels="relabel", classes=train.classes)
    assert train.classes.tolist() == [40, 99]
    assert val.labels.tolist() == [0, -1, -1, 0, -1, -1, 1, -1]
    assert val.classes.tolist() == [40, 99]
    unsorted = ReIDDataset(labelled, labels="relabel", classes=[99, 7])
    assert unsorted.labels.tolist() == [-1, -1, 1, -1, -1, 1, 0, -1]
    nobody = ReIDDataset(labelled, labels="relabel", classes=[])
    assert set(nobody.labels.tolist()) == {-1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"classes": [1]}, "needs labels='relabel'"),
        ({"classes": [1], "labels": [0] * 8}, "needs labels='relabel'"),
        ({"classes": [1, 1], "labels": "relabel"}, "distinct labels, each at least 0"),
        ({"classes": [-1, 1], "labels": "relabel"}, "distinct labels, each at least 0"),
        ({"classes": [0.5], "labels": "relabel"}, "whole numbers"),
        ({"classes": [[1]], "labels": "relabel"}, "whole numbers"),
    ],
)
def test_classes_that_cannot_be_meant(arguments: dict[str, Any], said: str, labelled: Path) -> None:
    with pytest.raises(UsageError, match=said):
        ReIDDataset(labelled, **arguments)


# -- pickling


def test_a_pickled_dataset_is_under_a_kilobyte_plus_its_rows(store_path: Path) -> None:
    everything = ReIDDataset(store_path, columns=["quarter"], cache=LRUCache(items=100))
    some = ReIDDataset(store_path, np.arange(1000) % 8, labels="relabel")
    for dataset, selected in ((everything, 0), (some, 1000)):
        _ = dataset[0], dataset.labels, dataset.crops
        pickled = pickle.dumps(dataset)
        assert len(pickled) < 1000 + 8 * selected
        again = pickle.loads(pickled)
        assert torch.equal(again[5][0], dataset[5][0])
        assert again.labels.tolist() == dataset.labels.tolist()


# -- damage


@pytest.fixture
def damaged(make_store: MakeStore, jpeg: Jpegs) -> Path:
    """A store of eight whose sample f000#002 has a flipped bit."""
    path = make_store("damaged.lmdb")
    data = bytearray((path / "data.mdb").read_bytes())
    at = data.find(b"f000#002" + jpeg(2))
    assert at > 0
    while at > 0:
        data[at + 200] ^= 4
        at = data.find(b"f000#002" + jpeg(2)[:100], at + 1)
    (path / "data.mdb").write_bytes(data)
    return path


def test_damage_is_raised_with_its_id(damaged: Path) -> None:
    dataset = ReIDDataset(damaged)
    for act in (lambda: dataset[2], lambda: dataset.__getitems__([0, 2])):
        with pytest.raises(CorruptSampleError, match=r"^f000#002: "):
            act()
    assert dataset[3][1] == 0


def test_a_jpeg_that_never_could_be_decoded_is_raised_with_its_id(
    tmp_path: Path, jpeg: Jpegs
) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("cut", jpeg(0)[:-60], {})
        writer.put("whole", jpeg(1), {})
        writer.seal()
    for size in (None, (8, 4)):
        dataset = ReIDDataset(tmp_path / "a.lmdb", size=size)
        with pytest.raises(CorruptSampleError, match=r"^cut: "):
            dataset[0]
        assert dataset[1][1] == -1


def test_a_closed_store_says_so(store_path: Path) -> None:
    dataset = ReIDDataset(store_path)
    dataset.store.close()
    with pytest.raises(StoreClosedError):
        dataset[0]


def test_what_it_prints(store_path: Path) -> None:
    assert repr(ReIDDataset(store_path, [0, 1], labels="relabel")) == (
        f"ReIDDataset({str(store_path)!r}, 2 samples, 32x16, relabel)"
    )
    assert repr(ReIDDataset(store_path, labels=range(8))).endswith("32x16, given)")
