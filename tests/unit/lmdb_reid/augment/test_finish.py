from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lmdb_reid.augment import ReIDAugment, draw, finish, place
from lmdb_reid.augment import _colour_host as host
from lmdb_reid.augment._colour_device import colour_on_device
from lmdb_reid.errors import MissingExtraError, UsageError

SIZE = (20, 14)
COUNT = 24
LUMA = np.array([0.2989, 0.587, 0.114])
JITTER = ReIDAugment(pad=0, erase=0, brightness=0.5, contrast=0.5, saturation=0.8, hue=0.3)
STEPS = [
    ReIDAugment(pad=0, erase=0, brightness=0.5),
    ReIDAugment(pad=0, erase=0, contrast=0.9),
    ReIDAugment(pad=0, erase=0, saturation=1.5),
    ReIDAugment(pad=0, erase=0, hue=0.5),
    ReIDAugment(pad=0, erase=0, grayscale=0.5),
    ReIDAugment(pad=0, erase=0, blur=0.5),
    JITTER,
    ReIDAugment.preset("guide"),
]


def pictures() -> npt.NDArray[np.uint8]:
    """Blocks of colour, with some pixels that are grey, black and white."""
    rough = np.random.default_rng(0).integers(0, 256, (COUNT, 5, 4, 3), np.uint8)
    images = np.ascontiguousarray(rough.repeat(4, 1).repeat(4, 2)[:, :20, :14])
    images[:, 0, :3] = [[[0, 0, 0], [255, 255, 255], [90, 90, 90]]]
    return images


def tensor(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """[B, 3, H, W] of 0 to 1, channels-last."""
    return torch.from_numpy(pictures()).permute(0, 3, 1, 2).to(dtype) / 255


def drawn(recipe: ReIDAugment, count: int = COUNT) -> Any:
    return draw(recipe, SIZE, 3, 1, np.arange(count, dtype=np.int64))


def reference(recipe: ReIDAugment) -> npt.NDArray[np.float64]:
    """torchvision's formulas in NumPy and colorsys, float64 [B, H, W, 3]."""
    colour = drawn(recipe).colour
    out = pictures() / 255.0
    for number, image in enumerate(out):
        if colour.brightness is not None:
            image[...] = np.clip(image * colour.brightness[number], 0, 1)
        if colour.contrast is not None:
            ratio = colour.contrast[number]
            image[...] = np.clip(ratio * image + (1 - ratio) * (image @ LUMA).mean(), 0, 1)
        if colour.saturation is not None:
            ratio = colour.saturation[number]
            image[...] = np.clip(ratio * image + (1 - ratio) * (image @ LUMA)[..., None], 0, 1)
        if colour.hue is not None:
            for pixel in image.reshape(-1, 3):
                h, s, v = colorsys.rgb_to_hsv(*pixel)
                pixel[:] = colorsys.hsv_to_rgb((h + colour.hue[number]) % 1, s, v)
        if colour.grayscale is not None and colour.grayscale[number]:
            image[...] = (image @ LUMA)[..., None]
        if colour.blur is not None and colour.blur[number] > 0:
            image[...] = blurred(image, colour.blur[number], colour.blur_radius)
    return out


def blurred(image: npt.NDArray[np.float64], sigma: float, radius: int) -> npt.NDArray[np.float64]:
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    height, width, _ = image.shape
    out = np.zeros_like(image)
    for y, share_y in enumerate(kernel):
        for x, share_x in enumerate(kernel):
            out += share_y * share_x * padded[y : y + height, x : x + width]
    return out


@pytest.mark.parametrize("recipe", STEPS, ids=repr)
def test_colour_is_torchvisions_on_host_and_device(recipe: ReIDAugment) -> None:
    draws, wanted = drawn(recipe), torch.from_numpy(reference(recipe)).permute(0, 3, 1, 2)
    on_host, as_on_device = tensor(), tensor()
    finish(on_host, draws)
    colour_on_device(as_on_device, draws.colour)
    assert (on_host - wanted).abs().max() < 2e-5
    assert (as_on_device - wanted).abs().max() < 2e-5
    assert (wanted - tensor()).abs().max() > 0.02  # something happened


@pytest.mark.parametrize("recipe", STEPS, ids=repr)
def test_the_memory_format_changes_nothing_and_is_kept(recipe: ReIDAugment) -> None:
    draws = drawn(recipe)
    last, first = tensor(), tensor().contiguous()
    strides, where = first.stride(), first.data_ptr()
    finish(last, draws)
    finish(first, draws)
    assert torch.equal(last, first)
    assert (first.stride(), first.data_ptr()) == (strides, where)


@pytest.mark.parametrize("recipe", STEPS, ids=repr)
def test_parts_of_a_batch_give_what_the_batch_gives(recipe: ReIDAugment) -> None:
    draws, whole, parts = drawn(recipe), tensor(), tensor()
    finish(whole, draws)
    for start, stop in ((0, 1), (1, 9), (9, 9), (9, COUNT)):
        finish(parts[start:stop], draws, start)
    assert torch.equal(whole, parts)
    as_on_device, one = tensor(), tensor()
    colour_on_device(as_on_device, draws.colour)
    for number in range(COUNT):
        some = draws.take(np.array([number]))
        colour_on_device(one[number : number + 1], some.colour)
    assert (as_on_device - one).abs().max() < 2e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_go_the_way_of_a_device(dtype: torch.dtype) -> None:
    draws, images = drawn(JITTER), tensor(dtype)
    finish(images, draws)
    wanted = torch.from_numpy(reference(JITTER)).permute(0, 3, 1, 2)
    tolerance = {torch.float64: 1e-6, torch.float16: 0.02, torch.bfloat16: 0.12}[dtype]
    assert (images.double() - wanted).abs().max() < tolerance


@pytest.mark.parametrize("fill", ["mean", "random", (9, 8, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_late_erasing_writes_the_bytes_of_early_erasing(fill: Any, dtype: torch.dtype) -> None:
    plain = ReIDAugment(flip=0, pad=0, erase=0.8, erase_fill=fill)
    early = pictures()
    place(early, drawn(plain))
    late, first = tensor(dtype), tensor(dtype).contiguous()
    finish(late, drawn(plain), erase=True)
    finish(first, drawn(plain), erase=True)
    wanted = torch.from_numpy(early).permute(0, 3, 1, 2).to(dtype) / 255
    assert (late - wanted).abs().max() < 1e-7
    assert torch.equal(late, first)
    assert not torch.equal(late, tensor(dtype))


def test_erasing_comes_after_colour_and_only_once() -> None:
    recipe = ReIDAugment(flip=0, pad=0, erase=1.0, erase_fill=(255, 0, 51), brightness=0.5)
    draws, images = drawn(recipe), tensor()
    finish(images, draws)
    for image, (top, left, bottom, right) in zip(images, draws.erased.tolist(), strict=True):
        inside = image[:, top:bottom, left:right].flatten(1)
        assert torch.allclose(inside, torch.tensor([[1.0], [0.0], [0.2]]))
    plain = tensor()
    finish(plain, drawn(ReIDAugment(pad=0, erase=1.0)))  # `place` has erased
    assert torch.equal(plain, tensor())
    unerased = tensor()
    finish(unerased, draws, erase=False)
    assert not torch.equal(unerased, images)


def test_a_strength_of_nothing_leaves_a_picture_as_it_is() -> None:
    recipe = ReIDAugment(pad=0, erase=0, brightness=0.5, contrast=0.5, hue=0.5, jitter_p=0.5)
    draws, images = drawn(recipe), tensor()
    finish(images, draws)
    still = draws.colour.brightness == 1
    assert 4 < still.sum() < COUNT - 4
    assert (images[still] - tensor()[still]).abs().max() < 1e-6


def test_no_images_are_no_work() -> None:
    for recipe in STEPS:
        finish(tensor()[:0], drawn(recipe, 0))
        finish(tensor(torch.float64)[:0], drawn(recipe, 0))


@pytest.mark.parametrize(
    ("images", "first", "message"),
    [
        (torch.zeros(2, 3, *SIZE, dtype=torch.uint8), 0, "images must be floats"),
        (torch.zeros(2, *SIZE, 3), 0, "images must be floats"),
        (torch.zeros(3, *SIZE), 0, "images must be floats"),
        (torch.zeros(2, 3, *SIZE), 3, "first must leave 2 pictures within the 4 drawn"),
        (torch.zeros(2, 3, *SIZE), -1, "first must leave"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: torch.Tensor, first: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        finish(images, drawn(JITTER, 4), first)


def test_without_opencv_an_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"lmdb_reid\[resize\]"):
        finish(tensor(), drawn(JITTER))
    finish(tensor(torch.float64), drawn(JITTER))  # torch's way needs none
