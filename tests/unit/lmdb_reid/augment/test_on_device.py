"""`place_on_device`, with the CPU as the device: torch's operations are the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lmdb_reid.augment import Draws, ReIDAugment, draw, place, place_on_device
from lmdb_reid.errors import UsageError

SIZE = (24, 13)


def pictures(count: int) -> npt.NDArray[np.uint8]:
    rough = np.random.default_rng(0).integers(1, 256, (count, 7, 5, 3), np.uint8)
    return np.ascontiguousarray(rough.repeat(4, 1).repeat(3, 2)[:, :24, :13])


def drawn(recipe: ReIDAugment, count: int) -> Draws:
    return draw(recipe, SIZE, 0, 0, np.arange(count, dtype=np.int64))


@pytest.mark.parametrize(
    "recipe",
    [
        ReIDAugment(pad=3),
        ReIDAugment(pad=(24, 13)),
        ReIDAugment(pad=2, erase=1.0, erase_fill="random"),
        ReIDAugment(flip=0, pad=0, erase=0.3),
        ReIDAugment(pad=2, erase=1.0, brightness=0.2),
    ],
    ids=repr,
)
@pytest.mark.parametrize("erase", [None, True, False])
def test_a_device_gives_the_bytes_of_the_host(recipe: ReIDAugment, erase: Any) -> None:
    images, draws = pictures(70), drawn(recipe, 70)
    source = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
    for given in (source, source.contiguous()):
        made = place_on_device(given, draws, erase=erase)
        assert made.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(source, torch.from_numpy(images).permute(0, 3, 1, 2))  # left alone
        wanted = images.copy()
        place(wanted, draws, erase=erase)
        assert np.array_equal(made.permute(0, 2, 3, 1).numpy(), wanted)


@pytest.mark.parametrize(
    "recipe",
    [
        ReIDAugment(pad=2, resize=1.25),
        ReIDAugment(pad=2, degrees=20, translate=0.1, scale=(0.8, 1.2), shear=10),
        ReIDAugment(perspective=0.5, pad=0),
    ],
    ids=repr,
)
def test_a_warp_on_a_device_is_close_to_the_hosts(recipe: ReIDAugment) -> None:
    images, draws = pictures(40), drawn(recipe, 40)
    made = place_on_device(torch.from_numpy(images.copy()).permute(0, 3, 1, 2), draws)
    wanted = images.copy()
    place(wanted, draws)
    off = np.abs(made.permute(0, 2, 3, 1).numpy().astype(int) - wanted)
    assert off.mean() < 0.6
    assert off.max() <= 12


def test_no_images_are_no_work() -> None:
    none = torch.zeros(0, 3, *SIZE, dtype=torch.uint8)
    assert place_on_device(none, drawn(ReIDAugment(pad=2, degrees=3), 0)).shape == none.shape


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, *SIZE), torch.zeros(3, 3, *SIZE, dtype=torch.uint8)]
)
def test_images_that_do_not_fit_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="images must be uint8"):
        place_on_device(images, drawn(ReIDAugment(pad=2), 2))
