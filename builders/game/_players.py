"""The ten players: their looks, and where they are in every frame."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from builders.game._court import COURT
from builders.game._drawing import SKINS, STEEL, Colour, tint

PLAYERS = 10
KITS: tuple[Colour, Colour] = ((206, 32, 48), (30, 74, 190))
"""Shirt colours, RGB: labels 0 to 4 wear the first, 5 to 9 the second."""

_NUMBERS = (4, 7, 11, 15, 23, 5, 8, 10, 13, 32)
_HAIRS = ((30, 24, 24), (94, 56, 28), (214, 172, 88), (150, 66, 30), (128, 124, 124))
_SHOES = ((245, 245, 245), (250, 214, 40), (60, 214, 120), (250, 128, 30), (40, 40, 46))


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """The looks of one identity."""

    kit: Colour
    shorts: Colour
    skin: Colour
    hair: Colour
    shoes: Colour
    number: int
    size: float
    band: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """One player in one frame.

    x and y in court metres; heading (pi / 2 is towards the side camera) and step, the phase of the
    walk, in radians.
    """

    x: float
    y: float
    heading: float
    step: float
    ball: bool


def deal_player(seed: int, label: int) -> Player:
    """One of the ten. No two of a team share skin, hair or shoes."""
    team, i = divmod(label, PLAYERS // 2)
    deal = int(random.Random(f"{seed}/team{team}").random() * 125)
    rng = random.Random(f"{seed}/player{label}")
    return Player(
        kit=KITS[team],
        shorts=tint(KITS[team] if i % 2 else STEEL, 0.45 + 0.4 * rng.random()),
        skin=SKINS[(i + deal) % 5],
        hair=_HAIRS[(2 * i + deal // 5) % 5],
        shoes=_SHOES[(3 * i + deal // 25) % 5],
        number=_NUMBERS[label],
        size=0.95 + 0.1 * rng.random(),
        band=rng.random() < 0.4,
    )


def poses_at(key: str, frame: int) -> list[Pose]:
    """Where the ten are: each wanders about a home of its own, dealt again for every `key`."""
    rng = random.Random(f"{key}/homes")
    homes = sorted(range(PLAYERS), key=lambda _: rng.random())
    holder = int(random.Random(f"{key}/ball{frame // 6}").random() * PLAYERS)
    poses = []
    for label, home in enumerate(homes):
        (x, y), (x1, y1) = (_place(f"{key}/path{label}", home, frame + dt) for dt in (0.0, 0.1))
        heading, step = math.atan2(y1 - y, x1 - x), 1.7 * frame + 2.1 * label
        poses.append(Pose(x=x, y=y, heading=heading, step=step, ball=label == holder))
    return poses


def _place(key: str, home: int, time: float) -> tuple[float, float]:
    """The point in metres at `time`, in frames, of a smooth walk about the centre of a tenth."""
    rng = random.Random(key)
    a, b, c, d = (rng.random() * math.tau for _ in range(4))
    pace = 0.14 + 0.08 * rng.random()
    row, column = divmod(home, 5)
    x = 2.2 * math.sin(pace * time + a) + math.sin(0.31 * time + b)
    y = 2.7 * math.sin(0.8 * pace * time + c) + math.sin(0.27 * time + d)
    return x + (column + 0.5) * COURT[0] / 5, y + (row + 0.5) * COURT[1] / 2
