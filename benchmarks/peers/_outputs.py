"""What a recipe did to pictures, found from the pictures themselves.

No two libraries draw the same, so pixels of a recipe cannot be compared; shares can. Each picture
is looked for in the one that it was decoded from: mirrored or not, moved by how much, and which
rectangle is none of its pixels. Runs under each peer's own interpreter: numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

FLIP, PAD, ERASE = 0.5, 10, 0.5
AREA, RATIO = (0.02, 0.4), (0.3, 1 / 0.3)
FILL = (124, 116, 104)
"""ImageNet's mean colour."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_SAMPLE = 512  # pictures looked at, of an epoch; some 5 ms each
_NEAR = 2  # of 255: rounding, of floats that were bytes
_PEAKS = 4  # places of each correlation that are tried
_SIGMAS = 4.0
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)


class Expected(NamedTuple):
    """A number that each picture has."""

    mean: float
    deviation: float
    """Standard deviation between pictures."""


class Seen(NamedTuple):
    """One picture, as it was found in its original."""

    flipped: bool
    bordered: float
    """Share of its area that lies outside the original."""
    erased: float
    """Share of its area that the rectangle covers which is none of the original's pixels."""
    explained: bool
    """Whether that rectangle is of the one colour: nothing else happened to the picture."""


def as_bytes(images: Any) -> Any:
    """uint8 [B, H, W, 3] of uint8 or normalised floats, channels first or last."""
    if images.shape[1] == 3:
        images = images.transpose(0, 2, 3, 1)
    if images.dtype == np.uint8:
        return images
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return np.rint((images * std + mean) * 255).clip(0, 255).astype(np.uint8)


def statistics(batches: Iterable[tuple[Any, Any]], originals: Any, recipe: str) -> dict[str, Any]:
    """One epoch: what was done to pictures on the whole, what the recipe leads to, and which of the
    two are too far apart ("off"); and which crops did not come once.

    Args:
        batches: (rows, images).
        originals: uint8 [N, H, W, 3].
        recipe: "bot" or "guide".
    """
    times = np.zeros(len(originals), np.int64)
    seen: list[tuple[float, ...]] = []
    for rows, images in batches:
        chosen = np.asarray(rows).reshape(-1)
        np.add.at(times, chosen, 1)
        few = min(len(chosen), -(-_SAMPLE * len(chosen) // len(originals)))
        slots = np.linspace(0, len(chosen) - 1, few).astype(int)
        shown = as_bytes(np.asarray(images)[slots])
        look = look_for if recipe == "bot" else _jittered
        seen += [look(one, originals[chosen[slot]]) for one, slot in zip(shown, slots, strict=True)]
    goal = expected(recipe, originals.shape[1:3])
    found = dict(zip(goal, np.mean(seen, axis=0).tolist(), strict=True))
    return {
        "missing": int((times == 0).sum()),
        "repeated": int((times > 1).sum()),
        "sampled": len(seen),
        "found": found,
        "expected": {name: value.mean for name, value in goal.items()},
        "off": [
            name
            for name, (mean, deviation) in goal.items()
            if abs(found[name] - mean) > _SIGMAS * deviation / len(seen) ** 0.5
        ],
    }


def look_for(shown: Any, original: Any) -> Seen:
    """A picture of the recipe "bot", uint8 [H, W, 3], looked for in its original."""
    likely = sorted(
        (-strength, flipped, down, right)
        for flipped in (False, True)
        for strength, down, right in _peaks(shown, original[:, ::-1] if flipped else original)
    )
    for _, flipped, down, right in likely:
        seen = _seen(shown, original, flipped, down, right)
        if seen.explained:
            return seen
    return _seen(shown, original, *_most_equal(shown, original))


def expected(recipe: str, size: tuple[int, int]) -> dict[str, Expected]:
    """What a recipe leads to, by name, for pictures of a size."""
    flipped = Expected(FLIP, (FLIP * (1 - FLIP)) ** 0.5)
    if recipe == "guide":  # a factor from 0.8 to 1.2
        return {"flipped": flipped, "brighter": Expected(0.5, 0.5)}
    draw = np.random.default_rng(0)
    height, width = size
    moves = draw.integers(-PAD, PAD, (100_000, 2), endpoint=True)
    kept = (1 - np.abs(moves[:, 0]) / height) * (1 - np.abs(moves[:, 1]) / width)
    area = draw.uniform(*AREA, 100_000) * (height * width)
    ratio = draw.uniform(*RATIO, 100_000)
    tall, wide = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (tall < height) & (wide < width)  # another is drawn for one that does not
    share = (tall * wide)[fits] / (height * width)
    erased = np.where(draw.random(len(share)) < ERASE, share, 0)
    return {
        "flipped": flipped,
        "bordered": Expected(float(1 - kept.mean()), float(kept.std())),
        "erased": Expected(float(erased.mean()), float(erased.std())),
        "explained": Expected(1.0, 0.0),
    }


def _peaks(shown: Any, original: Any) -> list[tuple[float, int, int]]:
    """(strength, down, right) of the likeliest moves, by phase correlation (Kuglin and Hines
    1975).
    """
    spectrum = _spectrum(shown) * np.conj(_spectrum(original))
    spectrum /= np.abs(spectrum) + 1e-3
    found = np.fft.irfft2(spectrum, shown.shape[:2])
    around = np.arange(-PAD, PAD + 1)
    near = found[np.ix_(around, around)]
    best = np.argsort(near, axis=None)[: -_PEAKS - 1 : -1]
    return [
        (float(near.flat[at]), int(around[at // len(around)]), int(around[at % len(around)]))
        for at in best
    ]


def _most_equal(shown: Any, original: Any) -> tuple[bool, int, int]:
    """(flipped, down, right) with the most pixels equal, of all that there are: for pictures too
    smooth for a correlation.
    """
    height, width, _ = shown.shape
    green = np.ascontiguousarray(shown[..., 1]).astype(np.int16)
    best = (-1, False, 0, 0)
    for flipped in (False, True):
        source = (original[:, ::-1] if flipped else original)[..., 1]
        padded = np.pad(source.astype(np.int16), PAD)
        for down, right in np.ndindex(2 * PAD + 1, 2 * PAD + 1):
            moved = padded[down : down + height, right : right + width]
            equal = int((np.abs(green - moved) <= _NEAR).sum())
            best = max(best, (equal, flipped, PAD - down, PAD - right))
    return best[1:]


def _spectrum(picture: Any) -> Any:
    grey = picture.astype(np.float32) @ _LUMA
    return np.fft.rfft2(grey - grey.mean())


def _seen(shown: Any, original: Any, flipped: bool, down: int, right: int) -> Seen:
    height, width, _ = shown.shape
    moved = np.zeros(shown.shape, np.int16)
    source = original[:, ::-1] if flipped else original
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = source[
        max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    bordered = 1 - (height - abs(down)) * (width - abs(right)) / (height * width)
    apart = (np.abs(shown - moved) > _NEAR).any(axis=2)
    lines, columns = np.flatnonzero(apart.any(axis=1)), np.flatnonzero(apart.any(axis=0))
    if not len(lines):
        return Seen(flipped, bordered, 0.0, True)
    box = shown[lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1]
    one_colour = bool((np.abs(box.astype(np.int16) - FILL) <= _NEAR).all())
    return Seen(flipped, bordered, box.shape[0] * box.shape[1] / (height * width), one_colour)


def _jittered(shown: Any, original: Any) -> tuple[float, ...]:
    """(whether it is mirrored, whether it is brighter) of a picture of the recipe "guide"."""
    grey, before = (picture.astype(np.float32) @ _LUMA for picture in (shown, original))
    flat = (grey - grey.mean()).ravel()
    mirrored = flat @ (before[:, ::-1] - before.mean()).ravel()
    return float(mirrored > flat @ (before - before.mean()).ravel()), float(
        grey.mean() > before.mean()
    )
