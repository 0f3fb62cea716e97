"""Memory for pixels."""

from __future__ import annotations

import numpy as np
import pytest

from lmdb_reid._memory import pixel_memory
from lmdb_reid.errors import ResourceError


def test_pixels_for_which_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(ResourceError, match=r"no memory for pixels of \[8, 60000, 60000, 3\], 86,"):
        pixel_memory((8, 60000, 60000, 3))
