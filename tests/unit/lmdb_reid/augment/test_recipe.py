from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from lmdb_reid.augment import PRESETS, ReIDAugment, resolve
from lmdb_reid.errors import UsageError


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("flip", 1.5, "flip must be a probability from 0 to 1, got 1.5"),
        ("flip", -0.1, "flip must be a probability"),
        ("flip", float("nan"), "flip must be a probability"),
        ("flip", True, "flip must be a probability"),
        ("erase", 2, "erase must be a probability"),
        ("erase", "half", "erase must be a probability"),
        ("grayscale", 1.01, "grayscale must be a probability"),
        ("blur", -1, "blur must be a probability"),
        ("jitter_p", 7, "jitter_p must be a probability"),
        ("resize_p", 7, "resize_p must be a probability"),
        ("affine_p", 7, "affine_p must be a probability"),
        ("perspective_p", 7, "perspective_p must be a probability"),
        ("pad", -1, "pad must be a whole number of pixels, at least 0"),
        ("pad", 1.5, "pad must be a whole number"),
        ("pad", (1, 2, 3), "pad must be a whole number"),
        ("pad", (1,), "pad must be a whole number"),
        ("pad", True, "pad must be a whole number"),
        ("erase_area", (0.1, 1.2), "erase_area must be .least, most., both over 0 and at most 1"),
        ("erase_area", (0.0, 0.4), "erase_area must be"),
        ("erase_area", (0.4, 0.1), "erase_area must be"),
        ("erase_area", 0.4, "erase_area must be"),
        ("erase_ratio", (3.0, 0.3), "erase_ratio must be"),
        ("erase_ratio", (-1.0, 0.3), "erase_ratio must be"),
        ("erase_ratio", (1.0, float("inf")), "erase_ratio must be"),
        ("erase_ratio_scale", "cubic", "erase_ratio_scale must be 'linear' or 'log'"),
        ("erase_fill", "pink", "erase_fill must be 'mean', 'random' or"),
        ("erase_fill", (0, 0, 256), "erase_fill must be"),
        ("erase_fill", (0.5, 0.5, 0.5), "erase_fill must be"),
        ("resize", 0.9, "resize must be a factor from 1"),
        ("degrees", 181, "degrees must be"),
        ("translate", 1.1, "translate must be"),
        ("scale", (0.0, 1.0), "scale must be"),
        ("shear", 89, "shear must be"),
        ("perspective", 1.0, "perspective must be"),
        ("brightness", -0.1, "brightness must be a number, at least 0"),
        ("contrast", float("inf"), "contrast must be"),
        ("saturation", None, "saturation must be"),
        ("hue", 0.6, "hue must be a number from 0 to 0.5"),
        ("blur_sigma", (0.0, 1.0), "blur_sigma must be"),
    ],
)
def test_a_value_outside_its_range_is_refused_at_once(field: str, value: Any, rule: str) -> None:
    with pytest.raises(UsageError, match=rule):
        ReIDAugment(**{field: value})


@pytest.mark.parametrize("pad", [33, (0, 17), (33, 0)])
def test_a_border_larger_than_the_picture_is_refused_when_the_size_is_known(pad: Any) -> None:
    with pytest.raises(UsageError, match=r"pad must be at most the picture's (height|width)"):
        ReIDAugment(pad=pad).check_size((32, 16))


def test_a_border_as_large_as_the_picture_is_taken() -> None:
    ReIDAugment(pad=(32, 16)).check_size((32, 16))


def test_a_blur_larger_than_the_picture_is_refused() -> None:
    ReIDAugment(blur=0.5, blur_sigma=(1.0, 5.0)).check_size((32, 16))
    with pytest.raises(UsageError, match="blur_sigma must be so small"):
        ReIDAugment(blur=0.5, blur_sigma=(1.0, 5.1)).check_size((32, 16))


def test_fields_are_given_by_name_and_stay() -> None:
    with pytest.raises(TypeError):
        ReIDAugment(0.5)  # type: ignore[misc]  # the test is that it is refused
    with pytest.raises(dataclasses.FrozenInstanceError):
        ReIDAugment().flip = 1.0  # type: ignore[misc]
    assert not hasattr(ReIDAugment(), "__dict__")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bot", "ReIDAugment(flip=0.5, pad=10, erase=0.5)"),
        (
            "transreid",
            "ReIDAugment(flip=0.5, pad=10, erase=0.5, erase_area=(0.02, 0.3333333333333333),"
            " erase_ratio_scale='log', erase_fill='random')",
        ),
        (
            "guide",
            "ReIDAugment(flip=0.5, pad=0, erase=0.0, brightness=0.2, contrast=0.2,"
            " saturation=0.2, hue=0.05)",
        ),
    ],
)
def test_a_preset_prints_as_what_makes_it_and_survives_pickling(name: str, text: str) -> None:
    recipe = ReIDAugment.preset(name)
    assert name in PRESETS
    assert repr(recipe) == text
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert hash(recipe) == hash(ReIDAugment.preset(name))


def test_the_defaults_are_the_recipe_of_the_bag_of_tricks() -> None:
    assert ReIDAugment.preset("bot") == ReIDAugment()


def test_the_guides_recipe_has_colour_and_neither_crop_nor_erasing() -> None:
    guide = ReIDAugment.preset("guide")
    assert (guide.flip, guide.pad, guide.erase) == (0.5, 0, 0)
    assert (guide.brightness, guide.contrast, guide.saturation, guide.hue) == (0.2, 0.2, 0.2, 0.05)
    assert guide.has_colour
    assert not guide.warps


@pytest.mark.parametrize(
    ("given", "nearest"), [("transried", "transreid"), ("BoT!", "bot"), ("gide", "guide")]
)
def test_an_unknown_preset_names_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"got {given!r}. The nearest is {nearest!r}"):
        ReIDAugment.preset(given)


def test_a_recipe_is_resolved_from_what_a_user_gives() -> None:
    recipe = ReIDAugment(flip=1.0)
    assert resolve(None) is None
    assert resolve(recipe) is recipe
    assert resolve("transreid") == ReIDAugment.preset("transreid")
    with pytest.raises(UsageError, match="augment must be a ReIDAugment, the name of a preset"):
        resolve(0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "colour", "warps"),
    [
        (ReIDAugment(), False, False),
        (ReIDAugment(brightness=0.1), True, False),
        (ReIDAugment(brightness=0.1, jitter_p=0), False, False),
        (ReIDAugment(grayscale=0.1), True, False),
        (ReIDAugment(blur=0.1), True, False),
        (ReIDAugment(resize=1.1), False, True),
        (ReIDAugment(resize=1.1, resize_p=0), False, False),
        (ReIDAugment(degrees=3), False, True),
        (ReIDAugment(degrees=3, affine_p=0), False, False),
        (ReIDAugment(scale=(0.9, 1.0)), False, True),
        (ReIDAugment(perspective=0.2), False, True),
    ],
)
def test_a_recipe_knows_its_kinds_of_steps(recipe: ReIDAugment, colour: bool, warps: bool) -> None:
    assert recipe.has_colour == colour
    assert recipe.warps == warps
