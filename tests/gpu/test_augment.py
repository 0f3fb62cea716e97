"""Recipes on a real GPU: the host's bytes where they are promised, close where they are not."""

import numpy as np
import pytest
import torch

from lmdb_reid.augment import ReIDAugment, draw, finish, place, place_on_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use"),
]

SIZE = (64, 32)


def pictures():
    rough = np.random.default_rng(0).integers(0, 256, (300, 16, 8, 3), np.uint8)
    return np.ascontiguousarray(rough.repeat(4, 1).repeat(4, 2))


def drawn(recipe):
    return draw(recipe, SIZE, 3, 1, np.arange(300, dtype=np.int64))


def on_gpu(images):
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).cuda()


@pytest.mark.parametrize("fill", ["mean", "random", (9, 8, 7)])
def test_flip_pad_and_erase_give_the_hosts_bytes(fill):
    draws, images = drawn(ReIDAugment(erase_fill=fill)), pictures()
    there = place_on_device(on_gpu(images), draws)
    place(images, draws)
    assert np.array_equal(there.permute(0, 2, 3, 1).cpu().numpy(), images)


def test_warps_are_close_to_the_hosts():
    draws, images = drawn(ReIDAugment(degrees=10, scale=(0.9, 1.1), resize=1.125)), pictures()
    there = place_on_device(on_gpu(images), draws)
    place(images, draws)
    off = np.abs(there.permute(0, 2, 3, 1).cpu().numpy().astype(int) - images)
    assert off.mean() < 0.6
    assert off.max() <= 12


@pytest.mark.parametrize("fill", ["mean", "random"])
def test_colour_and_late_erasing_are_close_to_the_hosts(fill):
    recipe = ReIDAugment(
        erase_fill=fill,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        hue=0.1,
        grayscale=0.2,
        blur=0.3,
    )
    draws, images = drawn(recipe), pictures()
    there = on_gpu(images).float().div_(255)
    here = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    finish(there, draws)
    finish(here, draws)
    assert (there.cpu() - here).abs().max() < 1e-4
