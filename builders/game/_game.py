"""A whole game: its pictures and its csv, written into a folder."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from builders.game._cameras import ANGLES, hall_light, view_of
from builders.game._drawing import Image
from builders.game._frames import draw_frame
from builders.game._players import PLAYERS, deal_player, poses_at
from lmdb_reid import _disk
from lmdb_reid.codec import encode
from lmdb_reid.errors import UsageError, WriteError
from lmdb_reid.schema import Size

COLUMNS = "quarter,angle,session,frame,x,y,w,h,label_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """A game on disk: where it lies, and how many pictures and boxes it has."""

    train_meta: Path
    img_root: Path
    frames: int
    boxes: int


def draw_game(
    out: Path,
    *,
    quarters: int = 4,
    frames: int = 12,
    size: Size = (720, 1280),
    seed: int = 0,
    quality: int = 90,
    angles: Sequence[str] = ANGLES,
    overwrite: bool = False,
) -> Game:
    """Draws a game into `out`: `train_meta.csv`, `images/{quarter}__{angle}__00__{frame:02d}.jpg`.

    The first half of the quarters is called Q1-000, Q1-001, ..., the rest Q2-000, .... Boxes are
    whole pixels and may reach up to two pixels past the picture's edge. The same arguments give the
    same csv and, with the same versions of the drawing and JPEG libraries, the same bytes of
    pictures. The csv is written last.

    Args:
        out: made where it is missing.
        quarters: one or more.
        frames: of each quarter and angle; numbered from 1.
        size: (height, width) in pixels, each 180 to 8192.
        seed: of everything that is drawn.
        quality: of the JPEG files, 1 to 100.
        angles: "side", "top" or both; the csv has them in this order.
        overwrite: replace an earlier game's pictures and csv; files of other names stay.

    Raises:
        UsageError: an invalid argument.
        WriteError: `out` holds a train_meta.csv already, or cannot be written.
    """
    _check(quarters, frames, size, quality, angles)
    train_meta, img_root = out / "train_meta.csv", out / "images"
    if train_meta.exists() and not overwrite:
        raise WriteError(
            f"{train_meta} already exists. Choose another folder, or use overwrite",
            path=train_meta,
        )
    rows = [COLUMNS]
    try:
        _disk.make_folder(img_root)
        _disk.remove(train_meta)
        for name, image, frame_rows in _frames(quarters, frames, size, seed, sorted(angles)):
            _disk.write(img_root / name, encode(image, quality=quality))
            rows += frame_rows
        _disk.write(train_meta, ("\n".join(rows) + "\n").encode())
    except OSError as error:
        raise WriteError(f"{out}: the game cannot be written there: {error}", path=out) from error
    n_frames = quarters * len(angles) * frames
    return Game(train_meta=train_meta, img_root=img_root, frames=n_frames, boxes=n_frames * PLAYERS)


def _check(quarters: int, frames: int, size: Size, quality: int, angles: Sequence[str]) -> None:
    if quarters < 1 or frames < 1:
        raise UsageError(f"quarters and frames must be at least 1, got {quarters} and {frames}")
    if min(size) < 180 or max(size) > 8192:
        raise UsageError(
            f"size must be a height and a width of 180 to 8192 pixels, got {size[0]}x{size[1]}."
        )
    if not 1 <= quality <= 100:
        raise UsageError(f"quality must be 1 to 100, got {quality}.")
    if not angles or len(set(angles)) < len(angles) or not set(angles) <= set(ANGLES):
        raise UsageError(
            f"angles must be {' or '.join(ANGLES)}, or both, each once, got {tuple(angles)}."
        )


def _frames(
    quarters: int, frames: int, size: Size, seed: int, angles: Sequence[str]
) -> Iterator[tuple[str, Image, list[str]]]:
    """Every frame in the order of the csv: its file name, its picture, its lines of the csv."""
    views = [view_of(angle, size, seed) for angle in angles]
    team = [deal_player(seed, label) for label in range(PLAYERS)]
    half = (quarters + 1) // 2
    for q in range(quarters):
        quarter = f"Q{1 + q // half}-{q % half:03d}"
        light = hall_light(size, f"{seed}/{quarter}")
        for view in views:
            for frame in range(1, frames + 1):
                poses = poses_at(f"{seed}/{quarter}", frame)
                rng = random.Random(f"{seed}/{quarter}/{view.angle}/{frame}")
                image, boxes = draw_frame(view, team, poses, light, rng)
                key = f"{quarter},{view.angle},0,{frame}"
                rows = [f"{key},{x},{y},{w},{h},{i}" for i, (x, y, w, h) in enumerate(boxes)]
                yield f"{quarter}__{view.angle}__00__{frame:02d}.jpg", image, rows
