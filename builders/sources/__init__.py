"""Where frames and boxes come from. A layout is one module with one small class that follows
`Source`.
"""

from builders.sources._atmacup import AtmaCup
from builders.sources._protocol import BoxRow, Frame, LeftOut, Listing, Source

__all__ = ["AtmaCup", "BoxRow", "Frame", "LeftOut", "Listing", "Source"]
