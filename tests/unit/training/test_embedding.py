from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid import ReIDDataset, Store
from lmdb_reid.errors import UsageError
from training.embedding import DATA, embed, load_checkpoint
from training.model import Embedder

MOMENTS = ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))


def save(path: Path, data: Any = None, **changed: Any) -> Path:
    """A checkpoint as Lightning's trainer writes one of PlayerReIDModule."""
    torch.manual_seed(0)
    weights = {f"backbone.{name}": value for name, value in Embedder(8, 4).state_dict().items()}
    saved = {
        "hyper_parameters": {"embedding": 8, "width": 4, "margin": 0.3},
        "state_dict": weights | {"head.directions": torch.zeros(2, 8)},
    } | changed
    if data is not None:
        saved[DATA] = data
    torch.save(saved, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "best.ckpt", {"size": [64, 32], "normalize": MOMENTS})


def test_a_checkpoint_says_how_images_are_read(checkpoint: Path) -> None:
    found = load_checkpoint(checkpoint)
    assert (found.size, found.normalize) == ((64, 32), MOMENTS)
    assert found.made_by == {
        "checkpoint": "best.ckpt",
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "size": [64, 32],
        "normalize": [list(part) for part in MOMENTS],
        "metric": "cosine",
    }
    other = load_checkpoint(checkpoint, size=(32, 32), normalize="imagenet")
    assert other.size == (32, 32)
    assert other.normalize[0] == (0.485, 0.456, 0.406)


def test_one_that_does_not_say_needs_to_be_told(tmp_path: Path) -> None:
    path = save(tmp_path / "old.ckpt")
    with pytest.raises(UsageError, match=r"Pass the size and normalize .*--size, --normalize"):
        load_checkpoint(path)
    with pytest.raises(UsageError, match="Pass the size and normalize"):
        load_checkpoint(path, size=(64, 32))
    assert load_checkpoint(path, size=(64, 32), normalize=MOMENTS).normalize == MOMENTS


@pytest.mark.parametrize("engine_workers", [1, 2])
def test_embeddings_are_the_model_s_in_the_order_of_the_dataset(
    sealed: Path, checkpoint: Path, engine_workers: int, one_thread: None
) -> None:
    loaded = load_checkpoint(checkpoint)
    rows = [9, 3, 100, 4, 50]
    seen: list[int] = []
    with Store(sealed) as store:
        found = embed(
            ReIDDataset(store, rows),
            loaded,
            batch_size=2,
            num_workers=engine_workers,
            device="cpu",
            progress=lambda done, total, _: seen.append(done),
        )
        pixels = np.stack([store.at(row).image for row in rows])
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(part)[:, None, None] for part in MOMENTS)
    with torch.inference_mode():
        wanted = loaded.model((floats - mean) / std)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert found.dtype == np.float32
    assert seen == [2, 4, 5]
    assert not loaded.model.training


def test_images_of_another_size_are_refused(sealed: Path, checkpoint: Path) -> None:
    with (
        Store(sealed) as store,
        pytest.raises(UsageError, match=r"must be \(64, 32\), .* \(32, 32"),
    ):
        embed(ReIDDataset(store, size=32), load_checkpoint(checkpoint))


@pytest.mark.parametrize(
    "content",
    [b"", b"no checkpoint", "empty", "other"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "x.ckpt"
    if content == "empty":
        torch.save({}, path)
    elif content == "other":
        save(path, hyper_parameters={"embedding": 16, "width": 4})
    else:
        path.write_bytes(content)
    with pytest.raises(
        UsageError, match=r"x\.ckpt is not a checkpoint of lmdb-reid train: ."
    ) as told:
        load_checkpoint(path)
    assert "\n" not in str(told.value)
    with pytest.raises(UsageError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "none.ckpt")


@pytest.mark.parametrize("changed", [{"state_dict": {1: 2}}, {"state_dict": [1]}, {DATA: 5}])
def test_a_checkpoint_of_other_types_is_refused(
    checkpoint: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    torch.save(torch.load(checkpoint, weights_only=True) | changed, tmp_path / "x.ckpt")
    with pytest.raises(UsageError, match="is not a checkpoint of lmdb-reid train"):
        load_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("size", ["ab", [1], [-1, 5], [10**6, 10**6]])
def test_a_checkpoint_of_a_size_that_cannot_be(
    checkpoint: Path, tmp_path: Path, size: object
) -> None:
    read = {DATA: {"size": size, "normalize": "imagenet"}}
    torch.save(torch.load(checkpoint, weights_only=True) | read, tmp_path / "x.ckpt")
    with pytest.raises(UsageError, match="an impossible size of its training images"):
        load_checkpoint(tmp_path / "x.ckpt")


def test_a_device_that_there_is_not(checkpoint: Path, sealed: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    with Store(sealed) as store:
        dataset = ReIDDataset(store, size=loaded.size)
        with pytest.raises(UsageError, match=r"device must be .* Did you mean 'cuda'"):
            embed(dataset, loaded, device="gpu")
        with pytest.raises(UsageError, match=r"device must be one that computes.* got 'meta'"):
            embed(dataset, loaded, device="meta")
        with pytest.raises(UsageError, match="device='vulkan' cannot be used here: "):
            embed(dataset, loaded, device="vulkan")


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"hyper_parameters": Trap(), "state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(UsageError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "x.ckpt")
    assert not (tmp_path / "executed").exists()
