"""Where frames and boxes come from. A layout is one module with one small class that follows
`Source`.
"""

from builders.sources._atmacup import AtmaCup
from builders.sources._frame import BoxRow, Frame, Rejected
from builders.sources._frames import BoxRows, Frames
from builders.sources._gather import frames_of
from builders.sources._protocol import Listing, Options, Source

__all__ = [
    "AtmaCup",
    "BoxRow",
    "BoxRows",
    "Frame",
    "Frames",
    "Listing",
    "Options",
    "Rejected",
    "Source",
    "frames_of",
]
