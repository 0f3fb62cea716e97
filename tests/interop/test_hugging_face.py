"""Hugging Face data sets into a store, and out of one."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lmdb_reid import Store, StoreWriter, codec, make_loader
from lmdb_reid.errors import UsageError

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}  # read when it is imported
hf = pytest.importorskip(
    "datasets", reason="Hugging Face's datasets is not installed: `make test-interop` has it"
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
COUNT = 12


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    hf.disable_progress_bars()
    yield
    hf.enable_progress_bars()


def jpegs() -> list[bytes]:
    draw = np.random.default_rng(3)
    pixels = draw.integers(0, 256, (COUNT, 8, 4, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    return [codec.encode(image) for image in pixels]


def with_images(images: list[Any], folder: Path) -> Any:
    """Their dataset of an image, a label and a camera."""
    features = hf.Features(
        {"image": hf.Image(), "label": hf.Value("int64"), "camera": hf.Value("string")}
    )
    columns = {
        "image": images,
        "label": [number % 3 for number in range(COUNT)],
        "camera": [f"c{number % 2}" for number in range(COUNT)],
    }
    return hf.Dataset.from_dict(columns, features=features)


def test_their_jpegs_are_stored_byte_for_byte(tmp_path: Path) -> None:
    given = jpegs()
    theirs = with_images([{"bytes": each, "path": None} for each in given], tmp_path)
    raw = theirs.cast_column("image", hf.Image(decode=False))
    with StoreWriter(tmp_path / "s.lmdb") as writer:
        for number, row in enumerate(raw):
            record = {"label": row["label"], "camera": row["camera"]}
            writer.put(f"{number:05d}", row["image"]["bytes"], record)
        path = writer.seal()
    with Store(path) as store:
        assert store.columns["crc32"].tolist() == [zlib.crc32(each) for each in given]
        assert store.columns["label"].tolist() == theirs["label"][:]
        assert [store[each]["camera"] for each in store] == theirs["camera"][:]


def test_their_decoded_pictures_are_stored_as_jpegs(tmp_path: Path) -> None:
    pictures = [Image.open(io.BytesIO(each)) for each in jpegs()]
    theirs = with_images(pictures, tmp_path)
    with StoreWriter(tmp_path / "s.lmdb") as writer:
        for number, row in enumerate(theirs):
            pixels = np.asarray(row["image"].convert("RGB"))
            writer.put(f"{number:05d}", codec.encode(pixels, quality=100), {"label": row["label"]})
        path = writer.seal()
    with Store(path) as store:
        for number, sample_id in enumerate(store):
            pixels = np.asarray(theirs[number]["image"])
            assert bytes(store[sample_id].jpeg) == codec.encode(pixels, quality=100)
            apart = store[sample_id].image.astype(int) - pixels
            assert np.abs(apart).mean() < 8  # noise, whose colours a JPEG keeps at half the size


def test_a_store_becomes_their_dataset(store_path: Path, tmp_path: Path) -> None:
    def samples() -> Iterator[dict[str, Any]]:
        with Store(store_path) as store:
            for sample_id in store:
                sample = store[sample_id]
                image = {"bytes": bytes(sample.jpeg), "path": None}
                yield {"id": sample_id, "image": image, "label": sample.label}

    features = hf.Features(
        {"id": hf.Value("string"), "image": hf.Image(), "label": hf.Value("int64")}
    )
    theirs = hf.Dataset.from_generator(samples, features=features, cache_dir=str(tmp_path))
    with Store(store_path) as store:
        assert theirs["id"][:] == list(store)
        assert theirs["label"][:] == store.columns["label"].tolist()
        raw = theirs.cast_column("image", hf.Image(decode=False))
        assert [row["image"]["bytes"] for row in raw] == [bytes(store[each].jpeg) for each in store]
        for row in theirs.select(range(5)):
            shown = np.asarray(row["image"]).astype(int)
            assert np.abs(shown - store[row["id"]].image).max() <= 2  # Pillow's own decoder


def test_a_table_of_ids_shows_the_pictures_of_a_store(store_path: Path) -> None:
    with Store(store_path) as store:
        ids = list(store)
        theirs = hf.Dataset.from_dict({"id": ids})
        theirs.set_transform(lambda rows: {"image": [store[each].image for each in rows["id"]]})
        assert np.array_equal(theirs[7]["image"], store[ids[7]].image)
        two = theirs[3:5]["image"]
        assert all(np.array_equal(two[at], store[ids[3 + at]].image) for at in range(2))


def test_their_dataset_given_to_make_loader_is_answered_with_the_way(tmp_path: Path) -> None:
    theirs = with_images([{"bytes": each, "path": None} for each in jpegs()], tmp_path)
    with pytest.raises(UsageError, match=r"put its images into a store first, with StoreWriter"):
        make_loader(theirs)
