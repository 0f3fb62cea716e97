"""Views of LMDB's map, released at the end of a block unless what was made of one is still held."""

from __future__ import annotations

import contextlib
import gc
import sys


def _most_references(views: list[memoryview]) -> int:
    """To what lies under one of the views: its slices refer to it, its arrays to the view."""
    return max(map(sys.getrefcount, gc.get_referents(*views)), default=sys.maxsize)


_ALONE = _most_references([memoryview(b"")])
"""What that is of a view that nothing was made of."""


def are_released(views: list[memoryview]) -> bool:
    """Release views of LMDB's map; False if something that was made of one can still be read.

    Reading it after the map is gone would end the process. A watched array under each view, as
    `View` has it, costs 2 of the 150 us that a crop takes to decode; this costs 0.2.
    """
    if not views:
        return True
    released = _most_references(views) <= _ALONE
    try:
        for view in views:
            view.release()
    except BufferError:  # an array was made of it
        released = False
        for view in views:
            with contextlib.suppress(BufferError):
                view.release()
    return released
