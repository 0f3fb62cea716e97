from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmdb_reid.errors import UsageError
from training.ranking import RankList, draw_strips


def grey(row: int) -> Any:
    return np.full((40, 20 + row, 3), 100 + row, np.uint8)


def test_a_strip_is_a_query_and_its_list_framed_by_right_and_wrong() -> None:
    lists = [
        RankList(3, np.array([7, 1]), np.array([0.1, 0.25]), np.array([True, False])),
        RankList(0, np.array([5]), np.array([0.5]), np.array([False])),
    ]
    picture = draw_strips(lists, grey, grey, cell=(80, 120)).image[30:]  # below the legend
    green = (picture == (70, 190, 90)).all(2)
    red = (picture == (215, 70, 60)).all(2)
    middle = picture.shape[0] // 2
    third = picture.shape[1] // 3
    assert green[:middle, third : 2 * third].any()
    assert not green[:, :third].any()
    assert not green[middle:].any()
    assert red[:middle, 2 * third :].any()
    assert red[middle:, third : 2 * third].any()
    assert not red[middle:, 2 * third :].any()  # the second list is shorter
    assert (picture == 107).all(2).any()


def test_captions_may_be_one_s_own() -> None:
    one = RankList(3, np.array([7, 1]), np.array([0.1, 0.25]), np.array([True, False]))
    plain, same, other = (
        draw_strips([one], grey, grey, captions=captions).image
        for captions in (
            None,
            lambda _: ["query 3", "7: 0.100", "1: 0.250"],
            lambda _: ["who", "this", "that"],
        )
    )
    assert np.array_equal(plain, same)
    assert not np.array_equal(plain, other)


def test_no_lists_make_no_picture() -> None:
    with pytest.raises(UsageError, match="lists must be one or more"):
        draw_strips([], grey, grey)
