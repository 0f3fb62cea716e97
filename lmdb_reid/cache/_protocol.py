"""What a cache of decoded pixels has to do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lmdb_reid._protocols import Delegating
from lmdb_reid.schema import Pixels, Rows, Size


class PixelCache(Protocol):
    """Pixels by row of a store.

    Laws: thread-safe; what `fill` writes are exactly the pixels that were kept for that row;
        picklable, without the pixels.
    """

    def fill(self, source: str, rows: Rows, out: Pixels) -> Rows:
        """Write the pixels that are there into `out` [B, H, W, 3]; returns the places that are
        missing.

        `source` names what the pixels were made from: store digest, size, decoder.
        """
        ...

    def keep(self, source: str, rows: Rows, pixels: Pixels) -> None:
        """Offer decoded pixels [B, H, W, 3]; they are copied."""
        ...

    def stats(self) -> dict[str, int]:
        """Counts since it was made."""
        ...


@runtime_checkable
class ViewedCache(Protocol, metaclass=Delegating):
    """A cache whose pixels can be read where they lie."""

    def views(self, source: str, rows: Rows, size: Size) -> Pixels | None:
        """The pictures of all rows, read-only uint8 [K, H, W, 3], C-contiguous; None unless those
        of `rows` are there.
        """
        ...
