"""The one place that cuts boxes out of frames."""

from __future__ import annotations

from lmdb_reid import codec
from lmdb_reid.schema import Box, Pixels, Size


def cut(frame: Pixels, box: Box, *, expand: float = 1.0, size: Size | None = None) -> Pixels | None:
    """The part of a frame inside a box, uint8 [h, w, 3].

    The box is grown by `expand` about its centre, clipped to the frame, and resized to `size`
    (height, width) unless that is None. The result may be a view of the frame.

    Returns:
        None where the box itself (before it is grown) lies wholly outside the frame.
    """
    height, width = frame.shape[:2]
    inside = box.clipped((height, width))
    if inside.w <= 0 or inside.h <= 0:
        return None
    x0, y0, x1, y1 = box.grown(expand).pixels((height, width))
    part = frame[y0:y1, x0:x1]
    return part if size is None else codec.resize(part, size)
