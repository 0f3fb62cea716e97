"""What is done to a picture before a model sees it, apart from how: a description, checked at
once.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from lmdb_reid._arguments import known_fields
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Size

Colour = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""
Fill = Literal["mean", "random"] | Colour
RatioScale = Literal["linear", "log"]

MEAN_COLOUR: Colour = (124, 116, 104)
"""ImageNet's mean colour, 0.485, 0.456, 0.406 of 255: black after its normalisation."""
PRESETS = ("bot", "guide", "transreid")


@known_fields
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ReIDAugment:
    """A training recipe: geometry first, then colour, erasing last.

    Every draw depends on (seed, epoch, position) alone; `draw` makes them, `place` and `finish`
    act on them. docs/augment.md explains each field.

    Args:
        flip: probability that a picture is mirrored, left to right.
        pad: pixels of black border around a picture, from which a window of the picture's own
            size is cut at a random place: one number for all sides, or (top and bottom, left and
            right). 0 cuts nothing.
        erase: probability that a rectangle is erased (Zhong et al. 2017, "Random Erasing Data
            Augmentation").
        erase_area: least and most of the picture's area, each over 0 and at most 1.
        erase_ratio: least and most height over width of the rectangle.
        erase_ratio_scale: whether that ratio is drawn evenly ("linear", as Zhong et al.) or its
            logarithm is ("log", as timm and torchvision).
        erase_fill: "mean" (ImageNet's mean colour), "random" (each byte its own, 0 to 255), or a
            colour (red, green, blue).
        resize: factor by which a picture is enlarged before a window of its own size is cut at a
            random place (torchreid's Random2DTranslation, which takes 1.125); 1 leaves it.
        resize_p: probability of that.
        degrees: the picture turns by up to so much, either way.
        translate: it moves by up to this share of its height and width.
        scale: least and most factor of its size.
        shear: its columns lean by up to so many degrees.
        affine_p: probability of the four above, which are one step.
        perspective: how far the corners move inwards at most, as a share of half a side.
        perspective_p: probability of that.
        brightness: a factor is drawn from 1 - this (at least 0) to 1 + this.
        contrast: the same of contrast.
        saturation: the same of saturation.
        hue: the hue turns by up to this share of a full circle, at most 0.5.
        jitter_p: probability of the four above, which come in this order.
        grayscale: probability that a picture loses its colour.
        blur: probability that a picture is blurred (Gaussian).
        blur_sigma: least and most standard deviation of the blur, in pixels.

    Raises:
        UsageError: a value that is outside its range; says which, and what to give.
    """

    flip: float = 0.5
    pad: int | tuple[int, int] = 10
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    erase_ratio: tuple[float, float] = (0.3, 1 / 0.3)
    erase_ratio_scale: RatioScale = "linear"
    erase_fill: Fill = "mean"
    resize: float = 1.0
    resize_p: float = 0.5
    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    affine_p: float = 1.0
    perspective: float = 0.0
    perspective_p: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    jitter_p: float = 1.0
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        for name in ("flip", "erase", "grayscale", "blur"):
            _check_number(name, getattr(self, name), 0, 1, "a probability from 0 to 1")
        for name in ("resize_p", "affine_p", "perspective_p", "jitter_p"):
            _check_number(name, getattr(self, name), 0, 1, "a probability from 0 to 1")
        for name in ("brightness", "contrast", "saturation"):
            _check_number(name, getattr(self, name), 0, math.inf, "a number, at least 0")
        _check_number("hue", self.hue, 0, 0.5, "a number from 0 to 0.5")
        _check_number("resize", self.resize, 1, 4, "a factor from 1 (off) to 4")
        _check_number("degrees", self.degrees, 0, 180, "a number from 0 to 180")
        _check_number("translate", self.translate, 0, 1, "a share from 0 to 1")
        _check_number("shear", self.shear, 0, 80, "a number of degrees from 0 to 80")
        _check_number("perspective", self.perspective, 0, 0.99, "a number from 0 to 0.99")
        _check_range("scale", self.scale, 0, math.inf)
        _check_range("erase_area", self.erase_area, 0, 1)
        _check_range("erase_ratio", self.erase_ratio, 0, math.inf)
        _check_range("blur_sigma", self.blur_sigma, 0, math.inf)
        if self.erase_ratio_scale not in get_args(RatioScale):
            raise UsageError(
                f"erase_ratio_scale must be 'linear' or 'log', got {self.erase_ratio_scale!r}."
            )
        _check_fill(self.erase_fill)
        _check_pad(self.pad)

    @classmethod
    def preset(cls, name: str) -> ReIDAugment:
        """A recipe that others published.

        - "bot": Luo et al. 2019, "Bag of Tricks and A Strong Baseline for Deep Person
          Re-identification", and its code, michuanhaohao/reid-strong-baseline: flip 0.5, pad 10
          and crop, erase 0.5 of 0.02 to 0.4 of the area with the mean colour. That code erases
          after it has normalised and writes the mean's own numbers (0.485, ...) there, a somewhat
          lighter grey; here it is the mean colour itself, which is 0 after normalising.
        - "transreid": He et al. 2021, "TransReID: Transformer-based Object Re-Identification", and
          its code, damo-cv/TransReID: the same flip, pad and crop; erasing is timm's RandomErasing
          in mode "pixel": 0.02 to 1/3 of the area, the ratio's logarithm drawn evenly. timm writes
          normal noise after normalising; here it is even noise of 0 to 255, as Zhong et al. say.
        - "guide": the training code of the public atmaCup solution toan01-uet/atmaCup22
          (src/data/datamodule.py): RandomHorizontalFlip and ColorJitter(brightness=0.2,
          contrast=0.2, saturation=0.2, hue=0.05), no crop, nothing erased. torchvision draws the
          order of the four for each picture; here it is always brightness, contrast, saturation,
          hue.

        None of them resizes: crops have their size from the dataset.

        Raises:
            UsageError: no such preset; names the nearest.
        """
        if name == "bot":
            return cls()
        if name == "transreid":
            return cls(erase_area=(0.02, 1 / 3), erase_ratio_scale="log", erase_fill="random")
        if name == "guide":
            return cls(pad=0, erase=0.0, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
        nearest = difflib.get_close_matches(str(name).lower(), PRESETS, n=1, cutoff=0.0)[0]
        raise UsageError(
            f"augment preset must be one of {', '.join(map(repr, PRESETS))}, got {name!r}. The"
            f" nearest is {nearest!r}; ReIDAugment(...) makes a recipe of your own."
        )

    @property
    def pads(self) -> tuple[int, int]:
        """Border in pixels: (top and bottom, left and right)."""
        return self.pad if isinstance(self.pad, tuple) else (self.pad, self.pad)

    @property
    def moves_corners(self) -> bool:
        """Whether it has an affine step."""
        still = self.degrees == self.translate == self.shear == 0 and self.scale == (1.0, 1.0)
        return self.affine_p > 0 and not still

    @property
    def warps(self) -> bool:
        """Whether some pictures are interpolated: resize, affine or perspective."""
        resizes = self.resize > 1 and self.resize_p > 0
        return resizes or self.moves_corners or (self.perspective > 0 and self.perspective_p > 0)

    @property
    def jitters(self) -> bool:
        """Whether brightness, contrast, saturation or hue change."""
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        return self.jitter_p > 0 and any(strengths)

    @property
    def has_colour(self) -> bool:
        """Whether it has steps that need floats, once per batch: jitter, grayscale, blur."""
        return self.jitters or self.grayscale > 0 or self.blur > 0

    def check_size(self, size: Size) -> None:
        """Whether pictures of (height, width) can be treated so.

        Raises:
            UsageError: the border or the blur is larger than the picture.
        """
        for pad, side, name in zip(self.pads, size, ("height", "width"), strict=True):
            if pad > side:
                raise UsageError(
                    f"pad must be at most the picture's {name}, {side} pixels, got {pad}."
                    " Reduce pad, or use larger pictures."
                )
        if self.blur > 0 and self.blur_radius >= min(size):
            raise UsageError(
                "blur_sigma must be so small that three times it is less than the shorter"
                f" side, {min(size)} pixels, got {self.blur_sigma}. Reduce it, or set"
                " blur=0."
            )

    @property
    def blur_radius(self) -> int:
        """Pixels on each side that a blur reaches: three times the largest sigma."""
        return math.ceil(3 * self.blur_sigma[1])

    def __repr__(self) -> str:
        """The first three fields, and all others that are not at their default."""
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for place, field in enumerate(fields(self))
            if place < 3 or getattr(self, field.name) != field.default
        ]
        return f"ReIDAugment({', '.join(shown)})"


def resolve(value: ReIDAugment | str | None) -> ReIDAugment | None:
    """The recipe of what a user gave: none, a preset's name, or a recipe.

    Raises:
        UsageError: anything else, or an unknown preset.
    """
    if value is None or isinstance(value, ReIDAugment):
        return value
    if isinstance(value, str):
        return ReIDAugment.preset(value)
    raise UsageError(
        f"augment must be a ReIDAugment, the name of a preset ({', '.join(PRESETS)}) or None, got"
        f" {value!r}. A callable of single pictures is a dataset's transform."
    )


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_number(name: str, value: float, least: float, most: float, rule: str) -> None:
    if not _is_number(value) or not (least <= value <= most) or math.isinf(value):
        raise UsageError(f"{name} must be {rule}, got {value!r}.")


def _check_range(name: str, value: Sequence[float], over: float, most: float) -> None:
    """Two numbers in order, each over `over` and at most `most`."""
    whole = isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))
    if not whole or not (over < value[0] <= value[1] <= most) or math.isinf(value[1]):
        limit = "" if math.isinf(most) else f" and at most {most:g}"
        raise UsageError(f"{name} must be (least, most), both over {over:g}{limit}, got {value!r}.")


def _check_fill(fill: object) -> None:
    if fill in ("mean", "random"):
        return
    if not (isinstance(fill, tuple) and len(fill) == 3 and all(_is_byte(part) for part in fill)):
        raise UsageError(
            f"erase_fill must be 'mean', 'random' or (red, green, blue) of whole numbers from 0 to"
            f" 255, got {fill!r}."
        )


def _check_pad(pad: object) -> None:
    sides = pad if isinstance(pad, tuple) else (pad, pad)
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if len(sides) != 2 or not whole or min(sides) < 0:
        raise UsageError(
            "pad must be a whole number of pixels, at least 0, or (top and bottom, left"
            f" and right), got {pad!r}."
        )


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
