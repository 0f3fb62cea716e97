"""Rank lists as one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmdb_reid.errors import UsageError
from lmdb_reid.pictures import CELL, Colour, Picture, contact_sheet
from lmdb_reid.schema import Pixels, Size
from training.ranking.lists import RankList

_RIGHT, _WRONG, _QUERY = (70, 190, 90), (215, 70, 60), (225, 225, 225)
_LEGEND = {"query": _QUERY, "right": _RIGHT, "wrong": _WRONG}


def draw_strips(
    lists: Sequence[RankList],
    query_image: Callable[[int], Pixels],
    gallery_image: Callable[[int], Pixels],
    *,
    captions: Callable[[RankList], Sequence[str]] | None = None,
    cell: Size = CELL,
    title: str = "",
    groups: Sequence[str] = (),
) -> Picture:
    """One strip below another: a query, then what it found, right in green and wrong in red.

    Args:
        lists: of `rank_lists`, one for each strip.
        query_image: uint8 [H, W, 3], RGB, of a row of the query side; of any size.
        gallery_image: the same of a row of the gallery.
        captions: of a list: one for its query, then one for each entry; rows and distances, unless
            given.
        cell: (height, width) of the space for each picture, in pixels.
        title: a line above all.
        groups: a heading for each strip; strips that follow each other with the same one share it.

    Raises:
        UsageError: no lists, or not as many groups.
        MissingExtraError: Pillow is not installed.
    """
    if not lists:
        raise UsageError("lists must be one or more, got none")
    if groups and len(groups) != len(lists):
        raise UsageError(f"groups must be one for each of {len(lists)} lists, got {len(groups)}.")
    columns = 1 + max(len(one.rows) for one in lists)
    images: list[Pixels | None] = []
    edges: list[Colour | None] = []
    words: list[str] = []
    for one in lists:
        empty = columns - 1 - len(one.rows)
        images += [query_image(one.query), *map(gallery_image, one.rows.tolist())]
        images += [None] * empty
        edges += [_QUERY, *(_RIGHT if right else _WRONG for right in one.is_right.tolist())]
        edges += [None] * empty
        words += [*(captions or _rows_and_distances)(one), *[""] * empty]
    return contact_sheet(
        images,
        words,
        columns=columns,
        cell=cell,
        title=title,
        groups=[name for name in groups for _ in range(columns)],
        edges=edges,
        legend=_LEGEND,
    )


def _rows_and_distances(one: RankList) -> list[str]:
    found = zip(one.rows.tolist(), one.distances.tolist(), strict=True)
    return [f"query {one.query}", *(f"{row}: {distance:.3f}" for row, distance in found)]
