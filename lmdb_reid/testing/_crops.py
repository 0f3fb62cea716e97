"""The laws of `lmdb_reid.crops.Crops`."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.crops import Crops, Encoded, Keyed, Scattered, Viewed
from lmdb_reid.errors import LmdbReidError, UsageError
from lmdb_reid.schema import Pixels, Rows

_THREADS = 4
_PICKLED = 1024  # bytes, beside the selection


class CropsContract:
    """Subclass it in a test module, under a name that begins with Test.

    The crops must be whole, and at least four.
    """

    tolerance = 0
    """Largest difference of a pixel from `pixels`, for decoders that are not libjpeg-turbo."""
    selection_bytes = 64
    """What one crop may add to the pickled bytes: of a path or an id, its length."""

    def crops(self) -> Crops:
        """The crops under test, made again."""
        raise NotImplementedError

    def pixels(self, position: int) -> Pixels:
        """What `position` must give, uint8 [H, W, 3]; got by another way than `crops`."""
        raise NotImplementedError

    def test_it_keeps_the_protocol(self) -> None:
        """It has the protocol's names, and a size of two whole numbers."""
        crops = self.crops()
        assert isinstance(crops, Crops)
        height, width = crops.size
        assert height > 0 and width > 0
        assert len(crops) >= 4, "the contract needs at least four crops"

    def test_each_position_gives_its_own_pixels(self) -> None:
        """In any order, also several times in one call."""
        crops = self.crops()
        last = len(crops) - 1
        for positions in ([0], [last, 0, 1], [2, 2, 0, 2], list(range(len(crops)))):
            self._assert_right(crops, np.array(positions))

    def test_nothing_can_be_read(self) -> None:
        """No positions: nothing is written and nothing raised."""
        crops = self.crops()
        crops.read(np.empty(0, np.int64), np.empty((0, *crops.size, 3), np.uint8))
        assert crops.names(np.empty(0, np.int64)) == []

    def test_what_it_cannot_write_into_is_refused(self) -> None:
        """Another shape, another dtype, memory with gaps."""
        crops, (height, width) = self.crops(), self.crops().size
        wrong: list[npt.NDArray[Any]] = [
            np.empty((1, height, width, 3), np.uint8),
            np.empty((2, height + 1, width, 3), np.uint8),
            np.empty((2, height, width, 3), np.float32),
            np.empty((2, height, width, 6), np.uint8)[..., ::2],
        ]
        for out in wrong:
            assert _refuses(crops, np.array([0, 1]), out, UsageError), out.shape

    def test_positions_outside_are_refused(self) -> None:
        """Negative ones too: they never mean the end."""
        crops = self.crops()
        out = np.empty((1, *crops.size, 3), np.uint8)
        for position in (-1, len(crops), 1 << 40):
            assert _refuses(crops, np.array([position]), out, IndexError), position

    def test_whole_crops_are_not_noted_as_damaged(self) -> None:
        """`damaged` is appended to, and stays as it was where nothing is damaged."""
        crops, damaged = self.crops(), [7]
        out = np.empty((2, *crops.size, 3), np.uint8)
        crops.read(np.array([1, 0]), out, damaged)
        assert damaged == [7]
        assert self._is_right(out[0], 1) and self._is_right(out[1], 0)

    def test_threads_may_share_it(self) -> None:
        """Several read at once, each into memory of its own."""
        crops, count = self.crops(), len(self.crops())
        orders = [np.roll(np.arange(count), shift) for shift in range(2 * _THREADS)]
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda positions: self._assert_right(crops, positions), orders))

    def test_a_pickled_one_reads_the_same(self) -> None:
        """Its bytes are few: it is sent to every worker process."""
        crops = self.crops()
        self._assert_right(crops, np.array([0, 1]))  # a file may be open now
        packed = pickle.dumps(crops)
        assert len(packed) < _PICKLED + self.selection_bytes * len(crops)
        again: Crops = pickle.loads(packed)
        assert (again.size, len(again)) == (crops.size, len(crops))
        self._assert_right(again, np.array([3, 1]))

    def test_a_forked_child_reads_the_same(self) -> None:
        """Also after the parent has read from it."""
        if not hasattr(os, "fork"):
            return
        crops = self.crops()
        self._assert_right(crops, np.array([0, 1]))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self._assert_right(crops, np.array([3, 2, 0]))
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        self._assert_right(crops, np.array([2]))

    def test_names_tell_crops_apart(self) -> None:
        """One text for each position."""
        crops = self.crops()
        names = crops.names(np.arange(len(crops)))
        assert len(set(names)) == len(crops)
        assert all(isinstance(name, str) for name in names)
        assert crops.names(np.array([2, 0])) == [names[2], names[0]]

    def test_columns_have_one_value_for_each_crop(self) -> None:
        """`label` and `row` are whole numbers; a column that is not there is None."""
        crops = self.crops()
        assert crops.column("no column of this name") is None
        for name in ("label", "row", "kind"):
            values = crops.column(name)
            if values is not None:
                assert len(values) == len(crops)
                assert np.issubdtype(values.dtype, np.integer)

    def test_bytes_are_jpegs_of_the_same_count(self) -> None:
        """Of Crops that are Encoded; they are read inside the block."""
        crops = self.crops()
        if not isinstance(crops, Encoded):
            return
        with crops.jpegs(np.array([1, 0, 1])) as jpegs:
            found = [bytes(jpeg) for jpeg in jpegs]
        assert all(jpeg[:2] == b"\xff\xd8" for jpeg in found)
        assert found[0] == found[2] != found[1]

    def test_keys_name_every_position_once(self) -> None:
        """Of Crops that are Keyed: each slot is in one group, and names are the same each time."""
        crops = self.crops()
        if not isinstance(crops, Keyed):
            return
        positions: Rows = np.array([2, 0, 3])
        slots: list[int] = []
        names = []
        for source, which, rows in crops.keys(positions):
            slots += range(3) if which is None else which.tolist()
            names += [(source, row) for row in rows.tolist()]
        assert sorted(slots) == [0, 1, 2]
        assert len(set(names)) == 3
        other = self.crops()
        assert isinstance(other, Keyed)
        again = [(key.source, row) for key in other.keys(positions) for row in key.rows.tolist()]
        assert names == again

    def test_each_picture_goes_into_an_array_of_its_own(self) -> None:
        """Of Crops that are Scattered: in order, so that a later one covers an earlier one."""
        crops = self.crops()
        if not isinstance(crops, Scattered):
            return
        first, second = (np.empty((*crops.size, 3), np.uint8) for _ in range(2))
        crops.read_each(np.array([3, 1, 0]), [first, second, first])
        assert self._is_right(first, 0) and self._is_right(second, 1)

    def test_views_are_the_pictures(self) -> None:
        """Of Crops that are Viewed: all of them, or None."""
        crops = self.crops()
        if not isinstance(crops, Viewed):
            return
        self._assert_right(crops, np.array([3, 1]))  # they may be there from now on
        views = crops.views(np.array([1, 3, 1]))
        if views is not None:
            pictures, rows = views
            assert all(
                self._is_right(pictures[row], at) for row, at in zip(rows, (1, 3, 1), strict=True)
            )

    def _is_right(self, image: Pixels, position: int) -> bool:
        wanted = self.pixels(position)
        off = np.abs(image.astype(np.int16) - wanted.astype(np.int16))
        return bool(image.shape == wanted.shape and off.max() <= self.tolerance)

    def _assert_right(self, crops: Crops, positions: Rows) -> None:
        out = np.full((len(positions), *crops.size, 3), 85, np.uint8)
        crops.read(positions, out)
        for image, position in zip(out, positions.tolist(), strict=True):
            assert self._is_right(image, position), f"position {position} has other pixels"


def _refuses(crops: Crops, positions: Rows, out: npt.NDArray[Any], kind: type[Exception]) -> bool:
    """Whether reading raises an error of ours that is also `kind`."""
    try:
        crops.read(positions, out)
    except LmdbReidError as error:
        return isinstance(error, kind)
    return False
