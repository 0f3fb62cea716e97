"""A player's body and the ball as shapes, for either camera."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from builders.game._drawing import ORANGE, WHITE, Shape, limb, oval, tint
from builders.game._players import Player, Pose

# Digits 0 to 9, one stroke each through nodes 0..5: node n lies at (n % 2, n // 2), 0 at the foot.
_STROKES = (
    "01540",
    "15",
    "453201",
    "4532310",
    "42351",
    "542310",
    "540132",
    "451",
    "2354013",
    "015423",
)


def side_body(player: Player, pose: Pose) -> list[Shape]:
    """A standing figure in heights: (0, 0) between the feet, (0, 1) the crown."""
    skin, kit, along, swing = player.skin, player.kit, math.cos(pose.heading), math.sin(pose.step)
    shapes: list[Shape] = []
    for side in (-1, 1):
        lift, stride = max(0.0, swing * side) * 0.035, swing * side * abs(along)
        knee = (side * 0.058 + 0.035 * stride + 0.012 * along, 0.26 + lift)
        foot = (side * 0.07 + 0.075 * stride, 0.05 + lift)
        thigh = (0.8 * knee[0] + side * 0.014, 0.345)
        shapes += [
            (limb((side * 0.055, 0.44), knee, 0.04), skin),
            (limb(knee, foot, 0.03), skin),
            (limb((foot[0], foot[1] + 0.045), foot, 0.031), WHITE),
            (oval((foot[0] + 0.018 * along, 0.026 + lift), 0.046, 0.026), player.shoes),
            (limb((side * 0.052, 0.49), thigh, 0.058), player.shorts),
        ]
    for side in (-1, 1):
        shoulder, elbow = (side * 0.13, 0.785), (side * 0.17, 0.65)
        hand = (side * 0.155 + 0.02 * along, 0.53 + 0.05 * swing * side)
        shapes += [(limb(shoulder, elbow, 0.03), skin), (limb(elbow, hand, 0.025), skin)]
        shapes += [(limb(shoulder, (side * 0.148, 0.735), 0.04), kit)]
    left = [(-0.108, 0.47), (-0.13, 0.8), (-0.06, 0.85)]
    right = [(0.075, 0.842), (0.13, 0.8), (0.108, 0.47), (0.07, 0.47)]
    crown = 0.016 * along
    shapes += [
        (np.array(left + right), kit),
        (np.array(right), tint(kit, 0.78)),
        (limb((0.0, 0.85), (0.012 * along, 0.89), 0.032), tint(skin, 0.85)),
        *_number(player.number, (0.0, 0.67), 0.15),
        (oval((crown, 0.932), 0.06, 0.068), player.hair),
    ]
    if math.sin(pose.heading) > -0.35:
        shapes += [(oval((1.9 * crown, 0.912), 0.05, 0.056), skin)]
    if player.band:
        shapes += [(limb((crown - 0.046, 0.945), (crown + 0.046, 0.945), 0.01), WHITE)]
    return shapes


def top_body(player: Player, pose: Pose) -> list[Shape]:
    """A figure from above in shoulder widths: (0, 0) its middle, +x ahead, +y to its right."""
    skin, kit, swing = player.skin, player.kit, math.sin(pose.step)
    shapes: list[Shape] = []
    for side in (-1, 1):
        elbow = (0.1 + 0.1 * swing * side, side * 0.5)
        hand = (0.32 + 0.1 * swing * side, side * 0.44)
        shapes += [
            (oval((0.06 - 0.26 * swing * side, side * 0.17), 0.2, 0.09), player.shoes),
            (limb((0.0, side * 0.42), elbow, 0.085), skin),
            (limb(elbow, hand, 0.075), skin),
        ]
    number = [(at[:, ::-1], colour) for at, colour in _number(player.number, (0.0, -0.18), 0.27)]
    shapes += [
        (oval((0.0, 0.0), 0.38, 0.52), tint(kit, 0.74)),
        (oval((0.01, 0.0), 0.35, 0.48), kit),
        *number,
        (oval((0.22, 0.0), 0.17, 0.15), skin),
    ]
    if player.band:
        shapes += [(oval((0.17, 0.0), 0.175, 0.175), WHITE)]
    return [*shapes, (oval((0.15, 0.0), 0.165, 0.165), player.hair)]


def bouncing_ball(angle: str, pose: Pose, foot: tuple[float, float], scale: float) -> list[Shape]:
    """A bouncing ball beside a player's right hand, in pixels."""
    if angle == "side":
        dx, dy, radius = 0.25, -0.08 - 0.36 * abs(math.cos(pose.step)), 0.065 * scale
    else:
        ahead = pose.heading + 0.7
        dx, dy, radius = 0.66 * math.cos(ahead), 0.66 * math.sin(ahead), 0.19 * scale
    x, y = foot[0] + dx * scale, foot[1] + dy * scale
    glint = oval((x - 0.3 * radius, y - 0.3 * radius), 0.35 * radius, 0.3 * radius)
    return [(oval((x, y), radius, radius), ORANGE), (glint, tint(ORANGE, 1.25))]


def _number(number: int, centre: tuple[float, float], height: float) -> list[Shape]:
    """A shirt's number in strokes, +y up."""
    text = str(number)
    shapes: list[Shape] = []
    for i, digit in enumerate(text):
        x = centre[0] + height * (0.72 * (i - (len(text) - 1) / 2) - 0.2)
        nodes = [
            (x + 0.4 * height * (n % 2), centre[1] + height * (n // 2 - 1) / 2)
            for n in map(int, _STROKES[int(digit)])
        ]
        shapes += [(limb(a, b, 0.085 * height), WHITE) for a, b in pairwise(nodes)]
    return shapes
