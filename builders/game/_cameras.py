"""The two cameras over the empty court, and what else a picture holds of the hall: its stands, its
light, the camera's grain.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import cv2
import numpy as np

from builders.game._court import COURT, baskets_from_above, court_lines, empty_floor
from builders.game._drawing import (
    ORANGE,
    SKINS,
    STEEL,
    WHITE,
    Image,
    Points,
    Shape,
    limb,
    oval,
    paint,
    tint,
)
from lmdb_reid.schema import Size

ANGLES = ("side", "top")

# Pixels and rows are those of a picture of 720x1280; rows count downwards from its middle.
_METRE = 44.0  # pixels of a metre from above, and on the near touchline from the side
NEAR = 26.0  # metres from the side camera to the near touchline
_HORIZON = -690.0  # row of the side camera's horizon
_TOUCHLINE = 330.0  # row of the near touchline, in both views
BODY = {"side": 182.0, "top": 63.0}  # pixels of a body unit; `side`: on the near touchline
FULL_LIGHT = 200  # the value that stands for 1.0 in a picture of the light
GRAIN_ROOM = 64  # the grain is larger than the picture by this, so that it can be shifted
_CLOTHES = ((96, 60, 64), (58, 72, 110), (120, 112, 104), (52, 60, 60), (108, 92, 56))
_BOARDS = ((22, 48, 92), (214, 214, 208), (150, 40, 44))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A camera over the empty court.

    `plan` [3, 3] maps (x, y, 1) in court metres to homogeneous pixels; `unit` is 1.0 at 720x1280.
    """

    angle: str
    size: Size
    unit: float
    plan: Points
    floor: Image
    grain: Image


def view_of(angle: str, size: Size, seed: int) -> View:
    """A camera, with its empty court painted and its grain made."""
    unit = min(size[0] / 720, size[1] / 1280)
    x, y = size[1] / 2, size[0] / 2
    metre, horizon, touchline = _METRE * unit, y + _HORIZON * unit, y + _TOUCHLINE * unit
    rng = random.Random(f"{seed}/{angle}")
    left, top = x - metre * COURT[0] / 2, touchline - metre * COURT[1]
    plan = np.array([[metre, 0.0, left], [0.0, metre, top], [0.0, 0.0, 1.0]])
    lines = court_lines() + (baskets_from_above() if angle == "top" else [])
    floor = empty_floor(size, plan, rng, lines)
    if angle == "side":
        # A pinhole, depth = far - y; at the near touchline a metre is as long as it is from above.
        far, drop = NEAR + COURT[1], (touchline - horizon) * NEAR
        above, across = plan, metre * NEAR
        plan = np.array(
            [
                [across, -x, x * far - across * COURT[0] / 2],
                [0.0, -horizon, horizon * far + drop],
                [0.0, -1.0, far],
            ]
        )
        warp = plan @ np.linalg.inv(above)
        cv2.warpPerspective(
            floor.copy(), warp, size[::-1], dst=floor, borderMode=cv2.BORDER_REPLICATE
        )
        _paint_stands(floor, plan, unit, rng)
    grain = _grain((size[0] + GRAIN_ROOM, size[1] + GRAIN_ROOM), rng)
    return View(angle=angle, size=size, unit=unit, plan=plan, floor=floor, grain=grain)


def _paint_stands(image: Image, plan: Points, unit: float, rng: random.Random) -> None:
    """Beyond the far touchline of the side view: spectators out of focus, boards, two baskets."""
    width = image.shape[1]
    _, y, depth = plan @ (0.0, -1.4, 1.0)
    foot = round(y / depth)
    top = max(1, round(foot - 36 * unit))
    image[:top] = (38, 40, 52)
    for row in range(-12, math.ceil(top / unit) + 24, 34):
        x = -20 * unit * rng.random()
        while x < width + 20 * unit:
            at = (x, (row + 8 * rng.random()) * unit)
            body = oval((at[0], at[1] + 24 * unit), 15 * unit, 17 * unit)
            paint(image[:top], [(body, tint(_CLOTHES[int(rng.random() * 5)], 0.75))])
            skin = tint(SKINS[int(rng.random() * 5)], 0.6)
            paint(image[:top], [(oval(at, 7.5 * unit, 9 * unit), skin)])
            x += (30 + 14 * rng.random()) * unit
    cv2.blur(image[:top], (2 * round(1.5 * unit) + 1,) * 2, dst=image[:top])
    for i in range(9):
        image[top:foot, width * i // 9 : width * (i + 1) // 9] = _BOARDS[i % 3]
    for side, end in ((1, -0.8), (-1, COURT[0] + 0.8)):
        px, py, depth = plan @ (end, COURT[1] / 2, 1.0)
        scale = np.array([side, -1.0]) * BODY["side"] * unit * NEAR / depth
        place = np.array([px, py]) / depth
        paint(image, [(points * scale + place, colour) for points, colour in _basket()])


def _basket() -> list[Shape]:
    """A basket from the side, in body units: (0, 0) the foot of its pole, +x into the court."""
    net = np.array([(0.44, 1.52), (0.62, 1.52), (0.58, 1.36), (0.48, 1.36)])
    board = np.array([(0.34, 1.46), (0.42, 1.5), (0.42, 2.0), (0.34, 1.96)])
    return [
        (limb((0.0, 0.0), (0.0, 1.3), 0.035), STEEL),
        (limb((0.0, 1.3), (0.36, 1.65), 0.03), STEEL),
        (net, (196, 192, 186)),
        (board, WHITE),
        (oval((0.53, 1.525), 0.1, 0.022), ORANGE),
    ]


def _grain(size: Size, rng: random.Random) -> Image:
    """Soft grey noise [H, W, 3] about 128, with a deviation of some three steps."""
    raw = np.frombuffer(rng.randbytes(size[0] * size[1]), np.uint8).reshape(size)
    grey = np.empty((*size, 3), np.uint8)
    grey[:] = (128 + (raw.astype(np.int16) - 128) // 12).astype(np.uint8)[..., None]
    cv2.GaussianBlur(grey, (3, 3), 0.6, dst=grey)
    return grey


def hall_light(size: Size, key: str) -> Image:
    """A hall's light [H, W, 3]: a brightness, a tint, a bright pool somewhere, dim corners."""
    rng = random.Random(f"{key}/light")
    level, middle = 0.98 + 0.1 * rng.random(), rng.random() - 0.5
    warm = 0.05 * (rng.random() - 0.5)
    y, x = np.linspace(-1, 1, size[0])[:, None], np.linspace(-1, 1, size[1])
    fall = level * (1.06 - 0.15 * (x - middle) ** 2 - 0.1 * y**2)
    light = fall[..., None] * np.array([1 + warm, 1.0, 1 - warm]) * FULL_LIGHT
    return np.asarray(light.clip(0, 255), np.uint8)
