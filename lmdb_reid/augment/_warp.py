"""Resize, flip, shift, affine and perspective of a picture as one matrix, so that its pixels are
interpolated once.

Points are (x, y, 1) in pixels, a pixel's centre at whole numbers. Angles, shear and perspective are
those of torchvision (RandomAffine, RandomPerspective), without its rounding to whole pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmdb_reid.augment._recipe import ReIDAugment
from lmdb_reid.schema import Size

Numbers = npt.NDArray[np.float64]
Inverses = npt.NDArray[np.float64]
"""[B, 3, 3]."""
Places = npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice


def inverse_maps(
    recipe: ReIDAugment,
    size: Size,
    *,
    flips: npt.NDArray[np.bool_],
    shift: npt.NDArray[np.int32],
    resize: Numbers,
    window: tuple[Numbers, Numbers],
    affine: Numbers,
    turn: Numbers,
    move: tuple[Numbers, Numbers],
    scale: Numbers,
    shear: Numbers,
    perspective: Numbers,
    corners: Numbers,
) -> tuple[npt.NDArray[np.bool_], Inverses]:
    """Which pictures are interpolated, bool [B], and for each the map from a point of the result to
    that of the picture, float64 [B, 3, 3].

    All numbers are uniform in [0, 1), float64 [B]; `corners` is [8, B].
    """
    count = len(flips)
    warped = np.zeros(count, np.bool_)
    steps = np.broadcast_to(np.eye(3), (count, 3, 3))
    if recipe.resize > 1:
        chosen = resize < recipe.resize_p
        steps = _where(chosen, _enlarged(recipe.resize, size, window), steps)
        warped |= chosen
    steps = _shifted(size, flips, shift) @ steps
    if recipe.moves_corners:
        chosen = affine < recipe.affine_p
        steps = (
            _where(
                chosen, _affine(recipe, size, turn=turn, move=move, scale=scale, shear=shear), None
            )
            @ steps
        )
        warped |= chosen
    if recipe.perspective > 0:
        chosen = perspective < recipe.perspective_p
        steps = _where(chosen, _tilted(recipe.perspective, size, corners), None) @ steps
        warped |= chosen
    return warped, np.linalg.inv(steps).astype(np.float64, copy=False)


def _where(chosen: npt.NDArray[np.bool_], maps: Inverses, others: Inverses | None) -> Inverses:
    """`maps` where chosen, else `others`, or what changes nothing."""
    return np.where(chosen[:, None, None], maps, np.eye(3) if others is None else others)


def _identity(count: int) -> Inverses:
    return np.tile(np.eye(3), (count, 1, 1))


def _enlarged(factor: float, size: Size, window: tuple[Numbers, Numbers]) -> Inverses:
    """Enlarged to the next whole size, then a window at a whole place of it."""
    maps = _identity(len(window[0]))
    for axis, side, uniform in ((1, size[0], window[0]), (0, size[1], window[1])):
        larger = round(side * factor)
        ratio = larger / side
        maps[:, axis, axis] = ratio
        maps[:, axis, 2] = (ratio - 1) / 2 - np.floor(uniform * (larger - side + 1))
    return maps


def _shifted(size: Size, flips: npt.NDArray[np.bool_], shift: npt.NDArray[np.int32]) -> Inverses:
    maps = _identity(len(flips))
    maps[:, 0, 0] = np.where(flips, -1, 1)
    maps[:, 0, 2] = np.where(flips, size[1] - 1, 0) + shift[:, 1]
    maps[:, 1, 2] = shift[:, 0]
    return maps


def _affine(
    recipe: ReIDAugment,
    size: Size,
    *,
    turn: Numbers,
    move: tuple[Numbers, Numbers],
    scale: Numbers,
    shear: Numbers,
) -> Inverses:
    """About the centre: sheared, scaled, turned; then moved."""
    angle = np.deg2rad((2 * turn - 1) * recipe.degrees)
    lean = np.tan(np.deg2rad((2 * shear - 1) * recipe.shear))
    factor = recipe.scale[0] + (recipe.scale[1] - recipe.scale[0]) * scale
    cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
    maps = _identity(len(turn))
    maps[:, 0, 0], maps[:, 0, 1] = cos, -cos * lean - sin
    maps[:, 1, 0], maps[:, 1, 1] = sin, -sin * lean + cos
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    down, right = ((2 * part - 1) * recipe.translate for part in move)
    maps[:, 0, 2] = x - maps[:, 0, 0] * x - maps[:, 0, 1] * y + right * size[1]
    maps[:, 1, 2] = y - maps[:, 1, 0] * x - maps[:, 1, 1] * y + down * size[0]
    return maps


def _tilted(distortion: float, size: Size, corners: Numbers) -> Inverses:
    """The four corners each moved inwards: the homography through them."""
    # One pixel wide or high, a picture's corners would coincide, and no map lead through them.
    right, bottom = max(size[1] - 1, 1), max(size[0] - 1, 1)
    inward = corners.T.reshape(-1, 4, 2) * (distortion * np.array([right / 2, bottom / 2]))
    start = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)
    end = start + inward * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    equations = np.zeros((len(end), 8, 8))
    for corner, (x, y) in enumerate(start):
        u, v = end[:, corner, 0], end[:, corner, 1]
        equations[:, 2 * corner, :3] = x, y, 1
        equations[:, 2 * corner + 1, 3:6] = x, y, 1
        equations[:, 2 * corner, 6:] = np.stack([-u * x, -u * y], axis=1)
        equations[:, 2 * corner + 1, 6:] = np.stack([-v * x, -v * y], axis=1)
    solved = np.linalg.solve(equations, end.reshape(-1, 8, 1))[:, :, 0]
    return np.concatenate([solved, np.ones((len(end), 1))], axis=1).reshape(-1, 3, 3)
