from __future__ import annotations

import numpy as np

from lmdb_reid.augment._fill import fill_box


def test_a_rectangle_is_filled_and_nothing_else() -> None:
    out = np.full((3, 20, 9, 3), 7, np.uint8)
    fill_box(out, 1, (4, 2, 15, 8), (1, 2, 3))
    wanted = np.full_like(out, 7)
    wanted[1, 4:15, 2:8] = (1, 2, 3)
    assert np.array_equal(out, wanted)


def test_whole_pictures_may_be_filled() -> None:
    out = np.zeros((2, 600, 3, 3), np.uint8)
    fill_box(out, 1, (0, 0, 600, 3), (9, 8, 7))
    assert not out[0].any()
    assert (out[1] == (9, 8, 7)).all()
