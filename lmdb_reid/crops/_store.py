"""Crops of a store, decoded as they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid import codec
from lmdb_reid.crops._protocol import KeyGroup, check_positions, check_read
from lmdb_reid.errors import CorruptSampleError, ImageError
from lmdb_reid.schema import DEFAULT_SIZE, Pixels, Rows, Size
from lmdb_reid.store import Reading, Store


class StoreCrops:
    """Samples of a store as pictures of one size; see `Crops`, `Encoded`, `Scattered` and
    `Keyed`.

    Args:
        store: the store.
        rows: which of its rows, int64 [N], in which order; None is all of them.
        size: (height, width); None is the store's own, or 256x128 for a store of differing sizes.
            Pictures of another size are resized.
        fast_dct: decode faster and slightly wrong.
    """

    def __init__(
        self,
        store: Store,
        rows: Rows | None = None,
        size: Size | None = None,
        *,
        fast_dct: bool = False,
    ) -> None:
        self.store = store
        self.rows = rows
        self.fast_dct = fast_dct
        self._size = size or store.size or DEFAULT_SIZE

    @property
    def size(self) -> Size:
        """See `Crops`."""
        return self._size

    def __len__(self) -> int:
        return len(self.store) if self.rows is None else len(self.rows)

    def read(self, positions: Rows, out: Pixels, damaged: list[int] | None = None) -> None:
        """See `Crops`: each picture is decoded straight into its slot of `out`."""
        check_read(self, positions, out)
        self.read_each(positions, list(out), damaged)

    def read_each(
        self, positions: Rows, outs: Sequence[Pixels], damaged: list[int] | None = None
    ) -> None:
        """See `Scattered`."""
        check_positions(self, positions)
        bad: list[int] | None = None if damaged is None else []
        with self.jpegs(positions, bad) as jpegs:
            # All bytes first: the decoder's loop holds the GIL for as short as can be between two
            # decodings, or threads would wait for each other (14 % with two of them).
            slots: Sequence[int] = range(len(positions))
            if bad:
                slots = [slot for slot in slots if slot not in set(bad)]
                outs = [outs[slot] for slot in slots]
            failed = self._decode(jpegs, positions[slots] if bad else positions, outs)
        if failed and bad is None:
            at, error = failed[0]
            (name,) = self.names(positions[at : at + 1])
            raise CorruptSampleError(f"{name}: {error}") from None
        if damaged is not None:
            damaged += sorted([*(bad or ()), *(slots[at] for at, _ in failed)])

    @contextlib.contextmanager
    def jpegs(self, positions: Rows, damaged: list[int] | None = None) -> Iterator[list[Any]]:
        """See `Encoded`: memoryviews into LMDB's map, their checksums compared."""
        with self.store.reading() as reading:
            yield _whole(reading, self._rows_of(positions).tolist(), damaged)

    def names(self, positions: Rows) -> list[str]:
        """See `Crops`: the sample ids."""
        return [self.store.ids[row] for row in self._rows_of(positions).tolist()]

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """See `Crops`: "row", or a column of the store."""
        if name == "row":
            return np.arange(len(self.store)) if self.rows is None else self.rows
        if name not in self.store.columns:
            return None
        values = self.store.columns[name]
        return values if self.rows is None else values[self.rows]

    def keys(self, positions: Rows) -> list[KeyGroup]:
        """See `Keyed`: a part's digest, the size and the decoder decide the pixels of its row."""
        height, width = self._size
        decoder = f"{codec.codec_id()}-{'fast' if self.fast_dct else 'accurate'}"
        return [
            KeyGroup(f"{digest}-{height}x{width}-{decoder}", slots, rows)
            for digest, slots, rows in self.store.part_rows(self._rows_of(positions))
        ]

    def __repr__(self) -> str:
        height, width = self._size
        return f"StoreCrops({str(self.store.path)!r}, {len(self):,} of {height}x{width})"

    def _rows_of(self, positions: Rows) -> Rows:
        return positions if self.rows is None else self.rows[positions]

    def _decode(
        self, jpegs: list[Any], positions: Rows, outs: Sequence[Pixels]
    ) -> list[tuple[int, ImageError]]:
        """Decode each to the size of these crops; returns (index, error) of those that fail."""
        if self.store.size == self._size:
            return codec.decode_each(jpegs, outs, fast_dct=self.fast_dct)
        failed = []
        for at, (jpeg, fits, out) in enumerate(
            zip(jpegs, self._of_this_size(positions), outs, strict=True)
        ):
            try:
                if fits:
                    codec.decode(jpeg, out, fast_dct=self.fast_dct, limits=False)
                else:
                    larger = codec.decode_scaled(
                        jpeg, self._size, fast_dct=self.fast_dct, limits=False
                    )
                    codec.resize(larger, self._size, out)
            except ImageError as error:
                failed.append((at, error))
        return failed

    def _of_this_size(self, positions: Rows) -> list[bool]:
        """Whether each picture has the size of these crops and needs no resizing."""
        rows, columns = self._rows_of(positions), self.store.columns
        heights, widths = columns["height"][rows], columns["width"][rows]
        fits: list[bool] = ((heights == self._size[0]) & (widths == self._size[1])).tolist()
        return fits


def _whole(reading: Reading, rows: list[int], damaged: list[int] | None) -> list[memoryview]:
    """The JPEG of each row; where `damaged` is given, the slots of damaged ones are noted there
    and left out.
    """
    try:
        return reading.jpegs(rows)
    except CorruptSampleError:
        if damaged is None:
            raise
    found: list[memoryview] = []  # one by one, now that some are damaged
    for slot, row in enumerate(rows):
        try:
            found += reading.jpegs([row])
        except CorruptSampleError:
            damaged.append(slot)
    return found
