from __future__ import annotations

import itertools
import math
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.augment import ColourDraws, Draws, ReIDAugment, draw
from lmdb_reid.errors import UsageError

SIZE = (256, 128)
ALL = ReIDAugment(
    erase_fill="random",
    erase_ratio_scale="log",
    resize=1.125,
    degrees=10,
    translate=0.1,
    scale=(0.9, 1.1),
    shear=5,
    affine_p=0.5,
    perspective=0.2,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.1,
    jitter_p=0.8,
    grayscale=0.2,
    blur=0.3,
)

# Of seed 7, epoch 2, positions 1000 to 1005. They change only where every user's runs change too.
FLIP = [False, True, True, True, True, True]
SHIFT = [[-1, -8], [3, 5], [-3, 1], [7, -5], [-9, 0], [10, 2]]
ERASED = [
    [0, 0, 0, 0],
    [58, 1, 244, 63],
    [0, 0, 0, 0],
    [105, 5, 211, 89],
    [0, 0, 0, 0],
    [163, 41, 255, 118],
]
ERASED_LOG = [
    [0, 0, 0, 0],
    [81, 1, 238, 62],
    [0, 0, 0, 0],
    [131, 2, 200, 109],
    [0, 0, 0, 0],
    [195, 23, 255, 122],
]
NOISE = [6850, 34712, 42441, 55984, 16824, 11582]
BRIGHTNESS = [0.9074854850769043, 1.0432711839675903, 0.8639569878578186]
HUE = [-0.012004089541733265, -0.025711383670568466, 0.011373828165233135]


def positions(*of: int) -> npt.NDArray[np.int64]:
    return np.arange(*of, dtype=np.int64)


def arrays(draws: Draws | ColourDraws) -> dict[str, Any]:
    """Every array of the draws, by name."""
    found = {}
    for field in fields(draws):
        value = getattr(draws, field.name)
        if isinstance(value, np.ndarray):
            found[field.name] = value
        elif isinstance(value, ColourDraws):
            found |= arrays(value)
    return found


def test_draws_are_pinned() -> None:
    draws = draw(ReIDAugment(), SIZE, 7, 2, positions(1000, 1006))
    assert draws.flip.tolist() == FLIP
    assert draws.shift.tolist() == SHIFT
    assert draws.erased.tolist() == ERASED
    draws = draw(ReIDAugment.preset("transreid"), SIZE, 7, 2, positions(1000, 1006))
    assert draws.flip.tolist() == FLIP
    assert draws.shift.tolist() == SHIFT
    assert draws.erased.tolist() == ERASED_LOG
    assert draws.noise.tolist() == NOISE
    colour = draw(ReIDAugment.preset("guide"), SIZE, 7, 2, positions(1000, 1003)).colour
    assert colour is not None
    assert colour.brightness is not None
    assert colour.hue is not None
    assert colour.brightness.tolist() == pytest.approx(BRIGHTNESS, abs=1e-7)
    assert colour.hue.tolist() == pytest.approx(HUE, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 40)),
    seed=st.integers(-(2**70), 2**70),
    epoch=st.integers(0, 2**40),
)
def test_how_a_batch_is_cut_changes_nothing(
    count: int, cuts: list[int], seed: int, epoch: int
) -> None:
    whole = arrays(draw(ALL, SIZE, seed, epoch, positions(count)))
    borders = sorted({0, count, *(cut for cut in cuts if cut < count)})
    parts = [
        arrays(draw(ALL, SIZE, seed, epoch, positions(start, stop)))
        for start, stop in itertools.pairwise(borders)
    ]
    for name, array in whole.items():
        assert np.array_equal(array, np.concatenate([part[name] for part in parts])), name


def test_positions_may_come_in_any_order_and_with_gaps() -> None:
    chosen = np.array([900, 3, 77, 3], np.int64)
    whole, some = draw(ALL, SIZE, 1, 1, positions(1000)), draw(ALL, SIZE, 1, 1, chosen)
    for name, array in arrays(whole).items():
        assert np.array_equal(array[chosen], arrays(some)[name]), name
        assert np.array_equal(arrays(whole.take(chosen))[name], arrays(some)[name]), name


def test_one_step_more_changes_none_of_the_others() -> None:
    plain, more = (
        draw(ReIDAugment(), SIZE, 0, 0, positions(500)),
        draw(ReIDAugment(brightness=0.5, blur=0.5, degrees=5), SIZE, 0, 0, positions(500)),
    )
    assert np.array_equal(plain.flip, more.flip)
    assert np.array_equal(plain.shift, more.shift)
    assert np.array_equal(plain.erased, more.erased)


def test_as_many_are_flipped_and_erased_as_asked_for() -> None:
    draws = draw(ReIDAugment(flip=0.3, erase=0.7), SIZE, 0, 0, positions(20_000))
    assert abs(draws.flip.mean() - 0.3) < 0.02
    assert abs((draws.erased[:, 2] > 0).mean() - 0.7) < 0.02


@pytest.mark.parametrize("pad", [10, (3, 7), 0])
def test_shifts_cover_the_border_evenly(pad: Any) -> None:
    recipe = ReIDAugment(pad=pad)
    shift = draw(recipe, SIZE, 0, 0, positions(20_000)).shift
    for axis, reach in enumerate(recipe.pads):
        values, counts = np.unique(shift[:, axis], return_counts=True)
        assert values.tolist() == list(range(-reach, reach + 1))
        even = 20_000 / len(values)
        assert np.abs(counts - even).max() < 6 * math.sqrt(even)


@pytest.mark.parametrize("name", ["bot", "transreid"])
def test_rectangles_have_the_areas_and_ratios_of_the_papers_code(name: str) -> None:
    """Against the loop of the published code, with Python's own generator."""
    recipe = ReIDAugment.preset(name)
    boxes = draw(recipe, SIZE, 0, 0, positions(40_000)).erased
    boxes = boxes[boxes[:, 2] > 0]
    tall, wide = (boxes[:, 2:] - boxes[:, :2]).T
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= SIZE).all()
    theirs = np.array(published_rectangles(recipe, len(boxes)))
    for ours, other in ((tall, theirs[:, 0]), (wide, theirs[:, 1]), (tall * wide, theirs.prod(1))):
        assert abs(ours.mean() / other.mean() - 1) < 0.03
        assert abs(np.median(ours) / np.median(other) - 1) < 0.04
        assert abs(ours.std() / other.std() - 1) < 0.04
    # The top may be anywhere that the rectangle fits.
    share = boxes[:, 0] / (SIZE[0] - tall)
    assert abs(share.mean() - 0.5) < 0.02


def published_rectangles(recipe: ReIDAugment, count: int) -> list[tuple[int, int]]:
    """Sizes that the code of the papers draws (reid-strong-baseline's, or timm's)."""
    random = np.random.default_rng(0)
    (low, high), (flat, steep) = recipe.erase_area, recipe.erase_ratio
    found = []
    while len(found) < count:
        area = random.uniform(low, high) * SIZE[0] * SIZE[1]
        if recipe.erase_ratio_scale == "log":
            ratio = math.exp(random.uniform(math.log(flat), math.log(steep)))
        else:
            ratio = random.uniform(flat, steep)
        tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if tall < SIZE[0] and wide < SIZE[1]:
            found.append((tall, wide))
    return found


def test_everything_is_erased_that_can_be() -> None:
    assert (draw(ReIDAugment(erase=1.0), SIZE, 0, 0, positions(2000)).erased[:, 2] > 0).all()
    nothing = draw(ReIDAugment(erase=0.0), SIZE, 0, 0, positions(2000))
    assert not nothing.erased.any()
    whole = draw(ReIDAugment(erase=1.0, erase_area=(1.0, 1.0)), SIZE, 0, 0, positions(50))
    assert not whole.erased.any()  # no rectangle is smaller than the picture and as large


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (3, 1)])
def test_tiny_pictures_are_drawn_for(size: tuple[int, int]) -> None:
    recipe = ReIDAugment(pad=1, erase=1.0, degrees=5, perspective=0.9, perspective_p=1.0)
    draws = draw(recipe, size, 0, 0, positions(100))
    assert (draws.erased[:, 2:] <= size).all()
    assert np.isfinite(draws.inverse).all()


def test_no_pictures_are_drawn_for() -> None:
    draws = draw(ALL, SIZE, 0, 0, positions(0))
    assert len(draws) == 0
    assert draws.erased.shape == (0, 4)
    assert draws.inverse is not None
    assert draws.inverse.shape == (0, 3, 3)


def test_strengths_lie_within_their_ranges() -> None:
    recipe = ReIDAugment(
        brightness=0.2, contrast=1.5, hue=0.1, grayscale=0.25, blur=0.5, jitter_p=0.5
    )
    colour = draw(recipe, SIZE, 0, 0, positions(10_000)).colour
    assert colour is not None
    assert colour.saturation is None
    assert colour.brightness is not None
    assert colour.contrast is not None
    assert colour.hue is not None
    assert colour.grayscale is not None
    assert colour.blur is not None
    changed = colour.brightness != 1
    assert abs(changed.mean() - 0.5) < 0.03
    assert np.array_equal(changed, colour.hue != 0)
    assert colour.brightness[changed].min() == pytest.approx(0.8, abs=0.01)
    assert colour.brightness[changed].max() == pytest.approx(1.2, abs=0.01)
    assert colour.contrast[changed].min() == pytest.approx(0.0, abs=0.01)
    assert colour.contrast[changed].max() == pytest.approx(2.5, abs=0.01)
    assert np.abs(colour.hue).max() == pytest.approx(0.1, abs=0.001)
    assert abs(colour.grayscale.mean() - 0.25) < 0.03
    blurred = colour.blur[colour.blur > 0]
    assert abs(len(blurred) / 10_000 - 0.5) < 0.03
    assert 0.1 <= blurred.min() < blurred.max() <= 2.0


@pytest.mark.parametrize("bad", [[0, 1], np.zeros(3, np.int32), np.zeros((2, 2), np.int64)])
def test_positions_of_another_kind_are_refused(bad: Any) -> None:
    if isinstance(bad, list):
        bad = np.array(bad, np.float64)
    with pytest.raises(UsageError, match=r"positions must be int64 \[B\]"):
        draw(ReIDAugment(), SIZE, 0, 0, bad)


def test_a_size_that_is_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match="pad must be at most"):
        draw(ReIDAugment(pad=10), (8, 8), 0, 0, positions(1))
