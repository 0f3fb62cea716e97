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
    captions: Callable[[RankList], Sequence[str]] | None = None,
    cell: Size = (160, 88),
) -> Picture:
    """One strip below another: a query, then what it found, right in green and wrong in red.

    Args:
        lists: of `rank_lists`, one for each strip.
        query_image: uint8 [H, W, 3], RGB, of a row of the query side; of any size.
        gallery_image: the same of a row of the gallery.
        captions: of a list: one for its query, then one for each entry; rows and distances, unless
            given.
        cell: (height, width) of the space for each picture, in pixels.

    Raises:
        UsageError: no lists.
        MissingExtraError: OpenCV is not installed.
    """
    if not lists:
        raise UsageError("lists must be one or more, got none")
    columns = 1 + max(len(one.rows) for one in lists)
    images: list[Pixels] = []
    words: list[str] = []
    for one in lists:
        images.append(_framed(query_image(one.query), _QUERY, cell))
        for row, is_right in zip(one.rows.tolist(), one.is_right.tolist(), strict=True):
            images.append(_framed(gallery_image(row), _RIGHT if is_right else _WRONG, cell))
        words += (captions or _rows_and_distances)(one)
        for _ in range(columns - 1 - len(one.rows)):
            images.append(np.full((1, 1, 3), _PAPER, np.uint8))
            words.append("")
    return contact_sheet(images, words, columns=columns, cell=cell)


def _rows_and_distances(one: RankList) -> list[str]:
    found = zip(one.rows.tolist(), one.distances.tolist(), strict=True)
    return [f"query {one.query}", *(f"{row}: {distance:.3f}" for row, distance in found)]


def _framed(image: Pixels, colour: tuple[int, int, int], cell: Size) -> Pixels:
    """The image in a frame that is 4 pixels wide once it is fitted into the cell."""
    height, width = image.shape[:2]
    side = max(1, round(4 * max(height / cell[0], width / cell[1])))
    framed = np.full((height + 2 * side, width + 2 * side, 3), colour, np.uint8)
    framed[side:-side, side:-side] = image
    return framed
