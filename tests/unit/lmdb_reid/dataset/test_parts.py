"""Parts of a dataset, and its names for those who know other libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset, random_split

from lmdb_reid import LRUCache, ReIDDataset, Store, StoreWriter
from lmdb_reid.dataset import selection_of
from lmdb_reid.errors import (
    UnknownArgumentError,
    UnknownColumnError,
    UnknownNameError,
    UnknownRowError,
    UsageError,
)
from lmdb_reid.schema import Roles

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, jpeg: Jpegs) -> Store:
    """Forty samples: labels 10, 20, 30, 40 and -1 in turn, cameras "a" and "b"."""
    path = tmp_path_factory.mktemp("parts") / "a.lmdb"
    with StoreWriter(path, roles=Roles(camera="angle")) as writer:
        for at in range(40):
            label = (at % 5 + 1) * 10 if at % 5 < 4 else -1
            record = {"label": label, "angle": "ab"[at // 20], "frame": at}
            writer.put(f"f{at:03d}#000", jpeg(at), record)
    return Store(path)


@pytest.fixture
def dataset(labelled: Store) -> ReIDDataset:
    return ReIDDataset(labelled, "label >= 0", labels="relabel", columns=["camera"])


def test_names_of_torchvision(dataset: ReIDDataset, labelled: Store) -> None:
    assert dataset.num_classes == 4
    assert np.array_equal(dataset.targets, dataset.labels)
    assert dataset.class_to_idx == {10: 0, 20: 1, 30: 2, 40: 3}
    assert dataset.select([1, 2]).class_to_idx == {20: 1, 30: 2}
    assert ReIDDataset(labelled).class_to_idx == {10: 10, 20: 20, 30: 30, 40: 40}
    assert dataset.ids[:2] == ["f000#000", "f001#000"]


@pytest.mark.parametrize(
    ("items", "positions"),
    [
        ([3, 0, 3], [3, 0, 3]),
        ([-1], [31]),
        (np.arange(32) % 16 == 1, [1, 17]),
        (["f006#000", "f001#000"], [5, 1]),
        ("label == 40 and frame < 10", [3, 7]),
        ("label == -1", []),
        (torch.tensor([4, 2]), [4, 2]),
    ],
    ids=str,
)
def test_a_selection_of_items(items: Any, positions: list[int], dataset: ReIDDataset) -> None:
    part = dataset.select(items)
    assert part.rows.tolist() == dataset.rows[positions].tolist()
    assert part.labels.tolist() == dataset.labels[positions].tolist()
    assert list(part.columns) == ["camera"]


@pytest.mark.parametrize("items", [[32], [-33], ["f004#000"], ["nobody"], [0.5], np.ones(3, bool)])
def test_items_that_are_not_in_a_dataset(items: Any, dataset: ReIDDataset) -> None:
    with pytest.raises((UnknownRowError, UsageError, KeyError)):
        dataset.select(items)


def test_several_items_at_once(dataset: ReIDDataset) -> None:
    for several in (slice(1, 4), [1, 2, 3], np.array([1, 2, 3]), range(1, 4), (1, 2, 3)):
        items = dataset[several]
        assert [label for _, label in items] == [1, 2, 3]
        for at, (image, _) in enumerate(items, 1):
            assert torch.equal(image, dataset[at][0])
    assert dataset[5:5] == []
    assert dataset[-1][1] == dataset[31][1]
    assert isinstance(dataset[np.int64(2)], tuple)
    with pytest.raises(UsageError, match=r"dataset.select\(\[id\]\) takes ids"):
        dataset["f000#000"]  # type: ignore[call-overload]


def test_a_split_is_of_items(dataset: ReIDDataset) -> None:
    one, other = dataset.split(0.75)
    assert (len(one), len(other)) == (24, 8)
    assert sorted([*one.rows, *other.rows]) == dataset.rows.tolist()
    assert one.rows.tolist() == dataset.split(0.75)[0].rows.tolist()
    assert one.rows.tolist() != dataset.split(0.75, seed=1)[0].rows.tolist()
    assert one.rows.tolist() == sorted(one.rows.tolist())


@pytest.mark.parametrize("by", ["label", "camera", "angle"])
def test_a_split_keeps_values_together(by: str, dataset: ReIDDataset) -> None:
    one, other = dataset.split(0.5, by=by)
    name = "label" if by == "label" else "angle"
    first, second = (set(dataset.store.columns[name][part.rows].tolist()) for part in (one, other))
    assert first
    assert second
    assert not first & second


def test_samples_without_a_label_are_split_singly(labelled: Store) -> None:
    one, other = ReIDDataset(labelled, "label < 0").split(0.5, by="label")
    assert (len(one), len(other)) == (4, 4)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, 8, "half", 0.001, 0.999])
def test_shares_that_leave_nothing(share: Any, dataset: ReIDDataset) -> None:
    with pytest.raises(UsageError, match=r"split must leave|share must be"):
        dataset.split(share)


def test_a_split_by_a_column_that_does_not_exist(dataset: ReIDDataset) -> None:
    with pytest.raises(UnknownColumnError, match="Did you mean 'camera'"):
        dataset.split(0.5, by="camra")


def test_another_transform(dataset: ReIDDataset) -> None:
    part = dataset.with_transform(lambda image: image.float().mean())
    assert part[0][0].ndim == 0
    assert dataset[0][0].ndim == 3
    assert part.labels.tolist() == dataset.labels.tolist()
    assert part.with_transform(None)[0][0].ndim == 3


def test_datasets_of_one_store_are_read_together(dataset: ReIDDataset, labelled: Store) -> None:
    first, second = random_split(dataset, [0.5, 0.5])
    both = selection_of(ConcatDataset([first, Subset(second, [0, 1]), dataset]))
    rows = [
        *dataset.rows[first.indices],
        *dataset.rows[second.indices[:2]],
        *dataset.rows,
    ]
    assert both.rows is not None
    assert both.rows.tolist() == rows
    assert len(both.labels) == len(rows)
    assert list(both.columns) == ["camera"]
    inner = selection_of(Subset(ConcatDataset([dataset, dataset]), [0, 33]))
    assert inner.rows is not None
    assert inner.rows.tolist() == [dataset.rows[0], dataset.rows[1]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": (16, 16)}, "one size"),
        ({"transform": torch.clone}, "one size, transform"),
        ({"cache": LRUCache(3)}, "one size, transform, cache"),
        ({"columns": ["frame"]}, "and columns"),
    ],
)
def test_datasets_that_differ_are_not_read_together(
    change: dict[str, Any], said: str, dataset: ReIDDataset, labelled: Store
) -> None:
    other = ReIDDataset(labelled, **({"columns": ["camera"]} | change))
    with pytest.raises(UsageError, match=said):
        selection_of(dataset + other)


def test_datasets_of_two_stores_are_not_read_together(
    dataset: ReIDDataset, make_store: MakeStore
) -> None:
    with pytest.raises(UsageError, match="lmdb-reid merge"):
        selection_of(dataset + ReIDDataset(make_store()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"transfrom": None}, "Did you mean 'transform'?"),
        ({"kind": "person"}, "kind == 'person'"),
        ({"rows": [0], "query": "label == 1"}, "no argument 'query'"),
    ],
)
def test_arguments_that_a_dataset_lacks(
    arguments: dict[str, Any], said: str, labelled: Store
) -> None:
    with pytest.raises(UnknownArgumentError) as caught:
        ReIDDataset(labelled, **arguments)
    assert said in str(caught.value)


def test_attributes_that_a_dataset_lacks(dataset: ReIDDataset) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'classes'"):
        dataset.clases  # type: ignore[attr-defined]  # noqa: B018
    assert dataset.to_pandas().index.tolist() == dataset.ids  # type: ignore[attr-defined]
    assert not hasattr(dataset, "collate_fn")
