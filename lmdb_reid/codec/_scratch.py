"""Memory that a thread decodes into again and again."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

_kept = threading.local()


def scratch(count: int) -> npt.NDArray[np.uint8]:
    """At least `count` bytes, uint8 [N], this thread's own: overwritten by its next use.

    A new frame-sized array would cost as much in page faults as 15 % of decoding the frame.
    """
    pixels: npt.NDArray[np.uint8] | None = getattr(_kept, "pixels", None)
    if pixels is None or pixels.size < count:
        pixels = _kept.pixels = np.empty(count, np.uint8)
    return pixels
