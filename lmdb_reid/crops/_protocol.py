"""What a loader reads, as protocols."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lmdb_reid._protocols import Delegating
from lmdb_reid.errors import UnknownRowError, UsageError
from lmdb_reid.schema import Pixels, Rows, Size


@runtime_checkable
class Crops(Protocol, metaclass=Delegating):
    """N pictures of one size, by position.

    Laws: thread-safe; the same pixels for the same position, each time and in every process;
    picklable, in under 1 kB plus the selection; works after a fork; `read` writes all of `out` or
    raises, and where `damaged` is given it notes damaged slots there instead. `lmdb_reid.testing`
    has these laws as a test.
    """

    @property
    def size(self) -> Size:
        """(height, width) of every picture, in pixels."""
        ...

    def __len__(self) -> int: ...

    def read(self, positions: Rows, out: Pixels, damaged: list[int] | None = None) -> None:
        """Write the pictures of `positions` into `out`.

        Args:
            positions: int64 [B], 0..len-1 each.
            out: uint8 [B, H, W, 3], RGB, C-contiguous.
            damaged: where given, the slots (indices into `out`) of pictures that cannot be decoded
                are appended to it, ascending; their pixels are then undefined.

        Raises:
            CorruptSampleError: a picture is damaged, and `damaged` is None; names it.
        """
        ...

    def names(self, positions: Rows) -> list[str]:
        """What messages call the pictures of `positions`: ids or paths."""
        ...

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """One value for each picture, [N]: "label", "row", "kind" or a column of the source; None
        where there is no such column.
        """
        ...


@runtime_checkable
class Encoded(Protocol, metaclass=Delegating):
    """Crops whose JPEG bytes can be had, for decoders on a device."""

    def jpegs(
        self, positions: Rows, damaged: list[int] | None = None
    ) -> AbstractContextManager[list[Any]]:
        """A block inside which the JPEG bytes of `positions` can be read.

        Args:
            positions: int64 [B].
            damaged: as in `Crops.read`; their bytes are then missing from the list.

        Returns:
            One buffer for each whole picture; valid inside the block only.

        Raises:
            CorruptSampleError: as `Crops.read`.
        """
        ...


class KeyGroup(NamedTuple):
    """Pictures that a cache keeps under one name."""

    source: str
    """What their pixels were made from: digest, size, decoder."""
    slots: npt.NDArray[np.int64] | None
    """Which of the positions asked for, int64 [K]; None is all of them."""
    rows: Rows
    """Their numbers under that name, int64 [K]."""


@runtime_checkable
class Keyed(Protocol, metaclass=Delegating):
    """Crops that name their pixels, so that a cache can keep them."""

    def keys(self, positions: Rows) -> list[KeyGroup]:
        """The names of `positions`; equal names mean equal pixels, in any process and run."""
        ...


@runtime_checkable
class Scattered(Protocol, metaclass=Delegating):
    """Crops that write each picture into an array of its own."""

    def read_each(
        self, positions: Rows, outs: Sequence[Pixels], damaged: list[int] | None = None
    ) -> None:
        """As `Crops.read`, but picture after picture, each into its array: where arrays overlap,
        the later picture covers the earlier.

        Args:
            positions: int64 [B].
            outs: B arrays, uint8 [H, W, 3], C-contiguous.
            damaged: as in `Crops.read`.

        Raises:
            CorruptSampleError: as `Crops.read`.
        """
        ...


@runtime_checkable
class Viewed(Protocol, metaclass=Delegating):
    """Crops whose pixels may lie in memory already."""

    def views(self, positions: Rows) -> tuple[Pixels, Rows] | None:
        """Where the pictures of `positions` lie: (pictures, read-only uint8 [K, H, W, 3],
        C-contiguous; which of them, int64 [B]). None unless all are there.
        """
        ...


def agrees_with_read(crops: Crops, method: str) -> bool:
    """Whether a method of an optional protocol gives the pixels that `read` gives.

    A subclass that changes `read` alone, or a wrapper that hands over everything but `read`, has
    the method of what it changes.
    """
    for kind in type(crops).__mro__:
        if method in vars(kind):
            return True
        if "read" in vars(kind):
            return False
    return True  # both are handed over by `__getattr__`


def check_read(crops: Crops, positions: Rows, out: Pixels) -> None:
    """Refuse what `Crops.read` cannot take; implementations call it first.

    Raises:
        UsageError: `out` has another shape, is not uint8 or not C-contiguous.
        UnknownRowError: a position outside 0..len-1.
    """
    fits = out.shape == (len(positions), *crops.size, 3) and out.dtype == np.uint8
    if not (fits and out.flags.c_contiguous):
        raise UsageError(
            f"out must be uint8 {[len(positions), *crops.size, 3]}, C-contiguous, for"
            f" {len(positions)} positions; got {out.dtype} {list(out.shape)}"
        )
    check_positions(crops, positions)


def check_positions(crops: Crops, positions: Rows) -> None:
    """Refuse positions that are none.

    Raises:
        UnknownRowError: a position outside 0..len-1.
    """
    if not len(positions):
        return
    listed = positions.tolist()  # NumPy's own min and max take 30 us out of cold caches
    if min(listed) < 0 or max(listed) >= len(crops):
        bad = min(listed) if min(listed) < 0 else max(listed)
        raise UnknownRowError(f"position {bad} of {len(crops)} crops")
