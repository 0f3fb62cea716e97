"""Datasets of any kind into a store."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.errors import (
    DuplicateSampleError,
    InvalidSampleError,
    SourceReadError,
    UsageError,
)

PIXELS = np.random.default_rng(5).integers(0, 256, (24, 16, 3), np.uint8)
JPEG = codec.encode(PIXELS)
WHOLE = codec.decode(codec.encode(PIXELS))


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "png")
    return file.getvalue()


def put(path: Path, dataset: Any, *args: Any, **given: Any) -> Store:
    with StoreWriter(path / "a.lmdb") as writer:
        writer.from_dataset(dataset, *args, **given)
    return Store(path / "a.lmdb")


class People(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, count: int = 70) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        return torch.full((3, 8, 4), at, dtype=torch.uint8), at // 2


def test_a_torch_dataset_in_one_line(tmp_path: Path) -> None:
    with put(tmp_path, People()) as store:
        assert list(store)[:2] == ["00000000", "00000001"]
        assert len(store) == 70
        assert store.columns["label"].tolist() == [at // 2 for at in range(70)]
        assert store["00000042"].image.shape == (8, 4, 3)
        assert abs(int(store["00000042"].image.mean()) - 42) <= 1
        assert store.columns["src_order"].tolist() == [*range(70)]


@pytest.mark.parametrize("form", ["bytes", "png", "path", "str", "pil", "array", "tensor", "view"])
def test_every_form_of_an_image(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    image: Any = {
        "bytes": JPEG,
        "png": png(),
        "path": tmp_path / "a.jpg",
        "str": str(tmp_path / "a.jpg"),
        "pil": Image.fromarray(PIXELS),
        "array": PIXELS,
        "tensor": torch.from_numpy(PIXELS).permute(2, 0, 1),
        "view": np.repeat(PIXELS, 2, axis=1)[:, ::2],
    }[form]
    with put(tmp_path, [(image, 5)]) as store:
        (sample,) = (store[name] for name in store)
        np.testing.assert_array_equal(sample.image, WHOLE)
        assert sample.label == 5
        if form in ("bytes", "path", "str"):
            assert sample.jpeg == JPEG


@pytest.mark.parametrize(
    "grey", [PIXELS[:, :, 0], PIXELS[:, :, :1], torch.from_numpy(PIXELS[:, :, 0])[None]]
)
def test_grey_pixels_are_pixels(tmp_path: Path, grey: Any) -> None:
    with put(tmp_path, [(grey, 5)]) as store:
        assert store["00000000"].image.shape == (24, 16, 3)


def test_labels_and_records_of_any_whole_kind(tmp_path: Path) -> None:
    labels = [3, np.int64(4), torch.tensor(5), -1, {"label": 6, "camera": "left"}, {"kind": 1}]
    with put(tmp_path, [(JPEG, label) for label in labels]) as store:
        assert store.columns["label"].tolist() == [3, 4, 5, -1, 6, -1]
        assert store["00000004"].record["camera"] == "left"


def test_ids_and_records_by_position_or_by_a_function(tmp_path: Path) -> None:
    records = [{"camera": "left"}, {"camera": "right", "label": 9}]
    with put(tmp_path, [(JPEG, 1), (JPEG, 2)], ["b", "a"], records) as store:
        assert [store[name].label for name in ("b", "a")] == [1, 9]
        assert store["a"].record["camera"] == "right"
    (tmp_path / "f").mkdir()
    named = put(tmp_path / "f", [(JPEG, 1)], ids=lambda at: f"x/{at}", records=lambda at: {"n": at})
    with named as store:
        assert store["x/0"].record["n"] == 0


def test_a_generator_is_gone_through_once(tmp_path: Path) -> None:
    def items() -> Iterator[tuple[bytes, int]]:
        for at in range(130):
            yield JPEG, at

    with put(tmp_path, items()) as store:
        assert store.columns["label"].tolist() == [*range(130)]


def test_pictures_are_resized_where_that_is_asked(tmp_path: Path) -> None:
    exact = codec.encode(np.zeros((32, 16, 3), np.uint8))
    with put(tmp_path, [(PIXELS, 0), (exact, 1)], size=(32, 16), quality=80) as store:
        assert store.size == (32, 16)
        assert store["00000001"].jpeg == exact


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (JPEG, "got bytes at item 0"),
        ((JPEG,), "got 1 of them at item 0"),
        ((JPEG, 1, 2), "got 3 of them at item 0"),
        ((JPEG, "ann"), "label of item 0 must be a whole number, or it has a record; got 'ann'"),
        ((JPEG, 1.0), r"got 1\.0"),
        ((b"nothing", 1), "image of item 0 cannot be used"),
        ((None, 1), "got NoneType"),
        ((PIXELS.astype(np.float32), 1), "must be uint8, got float32. Pass them as they are"),
        ((torch.zeros(3, 8, 4), 1), "must be uint8, got float32"),
        ((PIXELS.transpose(2, 0, 1), 1), r"must be \[H, W, 3\], got \[3, 24, 16\]"),
        ((torch.from_numpy(PIXELS), 1), r"must be \[3, H, W\]"),
        ((np.zeros((0, 4, 3), np.uint8), 1), "got \\[0, 4, 3\\]"),
        ((np.zeros((4, 4, 4), np.uint8), 1), "got \\[4, 4, 4\\]"),
    ],
)
def test_an_item_that_cannot_be_used_names_its_position(
    tmp_path: Path, item: Any, message: str
) -> None:
    with pytest.raises(InvalidSampleError, match=message):
        put(tmp_path, [item])
    assert not (tmp_path / "a.lmdb").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceReadError, match=r"item 1 cannot be read: No such file .*gone\.jpg"):
        put(tmp_path, [(JPEG, 0), (tmp_path / "gone.jpg", 1)])


def test_ids_or_records_that_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ids must be as many as items, got 1 for 2 items"):
        put(tmp_path, [(JPEG, 0), (JPEG, 1)], ["a"])
    (tmp_path / "r").mkdir()
    with pytest.raises(UsageError, match="records must be as many"):
        put(tmp_path / "r", [(JPEG, 0)], records=[])
    (tmp_path / "s").mkdir()
    with pytest.raises(InvalidSampleError, match="record of item 0 must be a dict, got int"):
        put(tmp_path / "s", [(JPEG, 0)], records=[3])
    (tmp_path / "n").mkdir()
    with pytest.raises(UsageError, match="int has none"):
        put(tmp_path / "n", 3)


def test_ids_that_are_gone_through_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ids must be a list, or .*, got list_iterator\. Make a"):
        put(tmp_path, [(JPEG, 0)], iter(["a"]))


def test_an_id_twice(tmp_path: Path) -> None:
    with pytest.raises(DuplicateSampleError):
        put(tmp_path, [(JPEG, 0), (JPEG, 1)], ["a", "a"])


def test_a_second_dataset_goes_into_the_same_store(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        assert writer.from_dataset(People(70), ids=lambda at: f"one/{at:03d}") == 70
        assert writer.from_dataset(People(5), ids=lambda at: f"two/{at:03d}") == 5
    with Store(tmp_path / "a.lmdb") as store:
        assert len(store) == 75


def test_an_unfinished_build_goes_on(tmp_path: Path) -> None:
    class Failing(People):
        def __getitem__(self, at: int) -> Any:
            if at == 65:
                raise RuntimeError("a network drive went away")
            return super().__getitem__(at)

    with pytest.raises(RuntimeError, match="went away"):
        with StoreWriter(tmp_path / "a.lmdb") as writer:
            writer.from_dataset(Failing())
    with StoreWriter(tmp_path / "a.lmdb", resume=True) as writer:
        assert writer.from_dataset(People()) == 70
    whole = tmp_path / "whole"
    whole.mkdir()
    with Store(tmp_path / "a.lmdb") as store, put(whole, People()) as other:
        assert store.digest == other.digest


@pytest.mark.parametrize("what", ["ids", "records"])
def test_ids_or_records_that_are_too_many(tmp_path: Path, what: str) -> None:
    items = [(JPEG, 0)]
    many: dict[str, Any] = {what: ["a", "b"] if what == "ids" else [{}, {}]}
    for dataset in (items, iter(items)):
        with (
            pytest.raises(UsageError, match=f"{what} must be as many as items, got 2 for 1 items"),
            StoreWriter(tmp_path / "o.lmdb", overwrite=True) as writer,
        ):
            writer.from_dataset(dataset, **many)
        assert not (tmp_path / "o.lmdb").exists()
