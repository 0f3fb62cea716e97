"""What a recipe draws for the pictures of a batch, all at once."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmdb_reid.augment._random import Keys, keys, uniforms
from lmdb_reid.augment._recipe import MEAN_COLOUR, Colour, ReIDAugment
from lmdb_reid.augment._warp import Inverses, Places, inverse_maps
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Size

Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int32]
Strengths = npt.NDArray[np.float32]

_ATTEMPTS = 100  # at a rectangle that fits, as the papers' code has it
_AT_ONCE = 4  # of them: more than four are rare
LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green, blue in a grey value
NOISE_STARTS = 1 << 16  # places in the table of noise where a rectangle's bytes may begin


class Stream(enum.IntEnum):
    """Which number of a position's generator decides what. Never renumber them: every draw of every
    run would change.
    """

    FLIP = 0
    DOWN = 1
    RIGHT = 2
    ERASE = 3
    NOISE = 4
    RESIZE = 5
    RESIZE_DOWN = 6
    RESIZE_RIGHT = 7
    AFFINE = 8
    DEGREES = 9
    TRANSLATE_DOWN = 10
    TRANSLATE_RIGHT = 11
    SCALE = 12
    SHEAR = 13
    PERSPECTIVE = 14
    CORNERS = 15  # to 22: x and y of each of four
    JITTER = 23
    BRIGHTNESS = 24
    CONTRAST = 25
    SATURATION = 26
    HUE = 27
    GRAYSCALE = 28
    BLUR = 29
    BLUR_SIGMA = 30
    ATTEMPTS = 64  # and on: area, ratio, top, left of each attempt


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ColourDraws:
    """Strengths of the colour steps; None where the recipe has no such step."""

    brightness: Strengths | None
    """Factors, float32 [B]; 1 leaves a picture as it is."""
    contrast: Strengths | None
    saturation: Strengths | None
    hue: Strengths | None
    """Share of a full circle, float32 [B]."""
    grayscale: Flags | None
    blur: Strengths | None
    """Standard deviation in pixels, float32 [B]; 0 is no blur."""
    blur_radius: int

    def take(self, places: Places) -> ColourDraws:
        """Those of some pictures."""
        return ColourDraws(
            brightness=_taken(self.brightness, places),
            contrast=_taken(self.contrast, places),
            saturation=_taken(self.saturation, places),
            hue=_taken(self.hue, places),
            grayscale=None if self.grayscale is None else self.grayscale[places],
            blur=_taken(self.blur, places),
            blur_radius=self.blur_radius,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Draws:
    """What happens to each of B pictures of one size."""

    size: Size
    flip: Flags
    """Whether it is mirrored, bool [B]."""
    shift: Whole
    """Pixels (down, right) that it moves after that, int32 [B, 2]; what it leaves is black."""
    starts: npt.NDArray[np.int64]
    """How many pixels behind its slot's beginning a picture is to begin in flat memory, before it
    is mirrored, so that it is shifted by that, int64 [B]; 0 also where it leaves its slot whole."""
    warped: Flags | None
    """Whether it is interpolated instead, by `inverse`, bool [B]."""
    inverse: Inverses | None
    """From a pixel (x, y, 1) of the result to that of the picture, flip and shift included,
    float64 [B, 3, 3]."""
    erased: Whole
    """Rectangle (top, left, bottom, right), int32 [B, 4]; empty (0, 0, 0, 0) where nothing is."""
    fill: Colour | None
    """Its colour; None is noise."""
    noise: Whole
    """Where in the table of noise its bytes begin, int32 [B]."""
    colour: ColourDraws | None
    """None where the recipe has no colour steps."""

    def __len__(self) -> int:
        return len(self.flip)

    @property
    def erases_late(self) -> bool:
        """Whether rectangles wait for `finish`, because colour comes first."""
        return self.colour is not None

    def take(self, places: Places) -> Draws:
        """Those of some pictures, such as the ones that are left when damaged ones are skipped."""
        return Draws(
            size=self.size,
            flip=self.flip[places],
            shift=self.shift[places],
            starts=self.starts[places],
            warped=None if self.warped is None else self.warped[places],
            inverse=None if self.inverse is None else self.inverse[places],
            erased=self.erased[places],
            fill=self.fill,
            noise=self.noise[places],
            colour=None if self.colour is None else self.colour.take(places),
        )


def draw(
    recipe: ReIDAugment, size: Size, seed: int, epoch: int, positions: npt.NDArray[np.int64]
) -> Draws:
    """What happens to each picture: a pure function of (seed, epoch, its position), however the
    positions are cut into batches.

    Args:
        recipe: what is drawn.
        size: (height, width) of the pictures.
        seed: of the run.
        epoch: its number.
        positions: int64 [B], places in the epoch's order (of all ranks).

    Raises:
        UsageError: positions of another shape or dtype, or a picture too small for the recipe.
    """
    recipe.check_size(size)
    given = np.asarray(positions)
    if given.ndim != 1 or given.dtype != np.int64:
        raise UsageError(f"positions must be int64 [B], got {given.dtype} {given.shape}.")
    state = keys(seed, epoch, given)
    flip, down, right, erase, noise = uniforms(
        state, Stream.FLIP, Stream.DOWN, Stream.RIGHT, Stream.ERASE, Stream.NOISE
    )
    flips = flip < recipe.flip
    shift = np.stack([_offset(down, recipe.pads[0]), _offset(right, recipe.pads[1])], axis=1)
    warped, inverse = _warps(recipe, size, state, flips, shift)
    return Draws(
        size=size,
        flip=flips,
        shift=shift,
        starts=_starts(size, flips, shift, warped),
        warped=warped,
        inverse=inverse,
        erased=_rectangles(recipe, size, state, erase < recipe.erase),
        fill=_fill(recipe),
        noise=(noise * NOISE_STARTS).astype(np.int32),
        colour=_colour(recipe, state) if recipe.has_colour else None,
    )


def _offset(uniform: npt.NDArray[np.float64], pad: int) -> Whole:
    """Whole numbers from -pad to pad, each as likely."""
    return np.floor(uniform * (2 * pad + 1)).astype(np.int32) - np.int32(pad)


def _starts(size: Size, flips: Flags, shift: Whole, warped: Flags | None) -> npt.NDArray[np.int64]:
    height, width = size
    down, right = shift.astype(np.int64).T
    starts: npt.NDArray[np.int64] = down * width + np.where(flips, -right, right)
    starts[np.abs(starts) >= height * width] = 0
    if warped is not None:
        starts[warped] = 0
    return starts


def _fill(recipe: ReIDAugment) -> Colour | None:
    if recipe.erase_fill == "mean":
        return MEAN_COLOUR
    return None if isinstance(recipe.erase_fill, str) else recipe.erase_fill


def _rectangles(recipe: ReIDAugment, size: Size, state: Keys, erases: Flags) -> Whole:
    """Where pictures are erased. A rectangle that is not smaller than the picture on both sides is
    drawn again, as in the papers' code; after a hundred times nothing is erased.
    """
    height, width = size
    found = np.zeros((len(state), 4), np.int32)
    left = np.flatnonzero(erases)
    low, high = recipe.erase_area
    is_log = recipe.erase_ratio_scale == "log"
    flat, steep = np.log(recipe.erase_ratio) if is_log else recipe.erase_ratio
    for first in range(0, _ATTEMPTS, _AT_ONCE):
        if not len(left):
            break
        streams = range(Stream.ATTEMPTS + 4 * first, Stream.ATTEMPTS + 4 * (first + _AT_ONCE))
        drawn = uniforms(state[left], *streams).reshape(_AT_ONCE, 4, -1)
        area = (low + (high - low) * drawn[:, 0]) * (height * width)
        ratio = flat + (steep - flat) * drawn[:, 1]
        ratio = np.exp(ratio) if is_log else ratio
        tall, wide = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (tall < height) & (wide < width)
        chosen = fits.argmax(axis=0), np.arange(len(left))  # the first attempt that fits
        fit, tall, wide = fits[chosen], tall[chosen], wide[chosen]
        y = np.floor(drawn[:, 2][chosen] * (height - tall + 1))
        x = np.floor(drawn[:, 3][chosen] * (width - wide + 1))
        found[left[fit]] = np.stack([y, x, y + tall, x + wide], axis=1)[fit]
        left = left[~fit]
    found[(found[:, 0] == found[:, 2]) | (found[:, 1] == found[:, 3])] = 0
    return found


def _warps(
    recipe: ReIDAugment, size: Size, state: Keys, flips: Flags, shift: Whole
) -> tuple[Flags | None, Inverses | None]:
    """Which pictures are interpolated, and how; None and None where the recipe never does."""
    if not recipe.warps:
        return None, None
    drawn = uniforms(state, *range(Stream.RESIZE, Stream.CORNERS + 8))
    numbers = dict(zip(range(Stream.RESIZE, Stream.CORNERS + 8), drawn, strict=True))
    return inverse_maps(
        recipe,
        size,
        flips=flips,
        shift=shift,
        resize=numbers[Stream.RESIZE],
        window=(numbers[Stream.RESIZE_DOWN], numbers[Stream.RESIZE_RIGHT]),
        affine=numbers[Stream.AFFINE],
        turn=numbers[Stream.DEGREES],
        move=(numbers[Stream.TRANSLATE_DOWN], numbers[Stream.TRANSLATE_RIGHT]),
        scale=numbers[Stream.SCALE],
        shear=numbers[Stream.SHEAR],
        perspective=numbers[Stream.PERSPECTIVE],
        corners=drawn[-8:],
    )


def _colour(recipe: ReIDAugment, state: Keys) -> ColourDraws:
    drawn = uniforms(state, *range(Stream.JITTER, Stream.BLUR_SIGMA + 1))
    jitter, brightness, contrast, saturation, hue, grayscale, blur, sigma = drawn
    jitters = jitter < recipe.jitter_p
    low, high = recipe.blur_sigma

    def factor(strength: float, uniform: npt.NDArray[np.float64]) -> Strengths | None:
        if not strength or not recipe.jitters:
            return None
        least = max(0.0, 1 - strength)
        drawn = least + (1 + strength - least) * uniform
        return np.where(jitters, drawn, 1).astype(np.float32)

    turns = recipe.hue > 0 and recipe.jitters
    return ColourDraws(
        brightness=factor(recipe.brightness, brightness),
        contrast=factor(recipe.contrast, contrast),
        saturation=factor(recipe.saturation, saturation),
        hue=np.where(jitters, (2 * hue - 1) * recipe.hue, 0).astype(np.float32) if turns else None,
        grayscale=grayscale < recipe.grayscale if recipe.grayscale else None,
        blur=np.where(blur < recipe.blur, low + (high - low) * sigma, 0).astype(np.float32)
        if recipe.blur
        else None,
        blur_radius=recipe.blur_radius,
    )


def _taken(strengths: Strengths | None, places: Places) -> Strengths | None:
    return None if strengths is None else strengths[places]
