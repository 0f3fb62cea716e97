"""Rank lists as one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lmdb_reid.errors import UsageError
from lmdb_reid.pictures import Picture, contact_sheet
from lmdb_reid.schema import Pixels, Size
from training.ranking.lists import RankList

_RIGHT, _WRONG, _QUERY, _PAPER = (70, 190, 90), (215, 70, 60), (225, 225, 225), (24, 24, 24)


def draw_strips(
    lists: Sequence[RankList],
    query_image: Callable[[int], Pixels],
    gallery_image: Callable[[int], Pixels],
    *,
    cell: Size = (160, 88),
) -> Picture:
    """One strip below another: a query, then what it found, right in green and wrong in red.

    Args:
        lists: of `rank_lists`, one for each strip.
        query_image: uint8 [H, W, 3], RGB, of a row of the query side; of any size.
        gallery_image: the same of a row of the gallery.
        cell: (height, width) of the space for each picture, in pixels.

    Raises:
        UsageError: no lists.
        MissingExtraError: OpenCV is not installed.
    """
    if not lists:
        raise UsageError("lists must be one or more, got none")
    columns = 1 + max(len(one.rows) for one in lists)
    images, captions = [], []
    for one in lists:
        images.append(_framed(query_image(one.query), _QUERY, cell))
        captions.append(f"query {one.query}")
        found = zip(one.rows.tolist(), one.distances.tolist(), one.is_right.tolist(), strict=True)
        for row, distance, is_right in found:
            images.append(_framed(gallery_image(row), _RIGHT if is_right else _WRONG, cell))
            captions.append(f"{row}: {distance:.3f}")
        for _ in range(columns - 1 - len(one.rows)):
            images.append(np.full((1, 1, 3), _PAPER, np.uint8))
            captions.append("")
    return contact_sheet(images, captions, columns=columns, cell=cell)


def _framed(image: Pixels, colour: tuple[int, int, int], cell: Size) -> Pixels:
    """The image in a frame that is 4 pixels wide once it is fitted into the cell."""
    height, width = image.shape[:2]
    side = max(1, round(4 * max(height / cell[0], width / cell[1])))
    framed = np.full((height + 2 * side, width + 2 * side, 3), colour, np.uint8)
    framed[side:-side, side:-side] = image
    return framed
