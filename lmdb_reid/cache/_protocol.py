"""What a cache of decoded pixels has to do."""

from __future__ import annotations

from typing import Protocol

from lmdb_reid.schema import Pixels, Rows


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
