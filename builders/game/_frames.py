"""One frame: the players painted over the empty court, and a box about each of them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import cv2
import numpy as np

from builders.game._bodies import bouncing_ball, side_body, top_body
from builders.game._cameras import BODY, FULL_LIGHT, GRAIN_ROOM, NEAR, View
from builders.game._drawing import Image, Points, Shape, oval, paint
from builders.game._players import PLAYERS, Player, Pose

_SHADOW = (150, 150, 150)


def draw_frame(
    view: View, team: Sequence[Player], poses: Sequence[Pose], light: Image, rng: random.Random
) -> tuple[Image, list[tuple[int, int, int, int]]]:
    """One picture [H, W, 3] and its boxes (x, y, w, h), by label."""
    figures = [_figure(view, player, pose) for player, pose in zip(team, poses, strict=True)]
    boxes = [_box(shapes, rng) for _, _, shapes in figures]
    rx, ry = (0.24, 0.07) if view.angle == "side" else (0.56, 0.46)
    shade, image = np.full_like(view.floor, 255), view.floor.copy()
    for (x, y), scale, _ in figures:
        paint(shade, [(oval((x + 0.12 * scale, y), rx * scale, ry * scale), _SHADOW)])
    cv2.blur(shade, (9, 9), dst=shade)
    cv2.multiply(image, shade, dst=image, scale=1 / 255)
    for label in sorted(range(PLAYERS), key=lambda label: poses[label].y):
        foot, scale, shapes = figures[label]
        paint(image, shapes)
        if poses[label].ball:
            paint(image, bouncing_ball(view.angle, poses[label], foot, scale))
    cv2.GaussianBlur(image, (3, 3), 0.6, dst=image)
    cv2.multiply(image, light, dst=image, scale=1 / FULL_LIGHT)
    top, left = (int(rng.random() * GRAIN_ROOM) for _ in range(2))
    grain = view.grain[top : top + view.size[0], left : left + view.size[1]]
    cv2.addWeighted(image, 1, grain, 1, -128, dst=image)
    return image, boxes


def _figure(
    view: View, player: Player, pose: Pose
) -> tuple[tuple[float, float], float, list[Shape]]:
    """One player, moved just inside the picture: foot, body unit and shapes, in pixels."""
    x, y, depth = view.plan @ (pose.x, pose.y, 1.0)
    scale = BODY[view.angle] * view.unit * player.size
    if view.angle == "side":
        scale *= NEAR / depth
        body, turn = side_body(player, pose), np.array([[1.0, 0.0], [0.0, -1.0]])
    else:
        c, s = math.cos(pose.heading), math.sin(pose.heading)
        body, turn = top_body(player, pose), np.array([[c, -s], [s, c]])
    foot = np.array([x, y]) / depth
    shapes = [(points @ turn.T * scale + foot, colour) for points, colour in body]
    low, high = _extent(shapes)
    shift = np.maximum(np.minimum(np.array(view.size[::-1]) - high, 0), -low)
    fx, fy = foot + shift
    return (float(fx), float(fy)), float(scale), [(at + shift, colour) for at, colour in shapes]


def _box(shapes: Sequence[Shape], rng: random.Random) -> tuple[int, int, int, int]:
    """(x, y, w, h) as if drawn by hand: each edge from one pixel inside to two outside."""
    low, high = _extent(shapes)
    x0, y0 = (round(float(v)) - int(rng.random() * 4) + 1 for v in low)
    x1, y1 = (round(float(v)) + int(rng.random() * 4) - 1 for v in high)
    return x0, y0, x1 - x0, y1 - y0


def _extent(shapes: Sequence[Shape]) -> tuple[Points, Points]:
    every = np.concatenate([points for points, _ in shapes])
    return every.min(axis=0), every.max(axis=0)
