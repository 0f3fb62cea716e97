"""The types that pixels and JPEG bytes travel as."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Buffer = Any  # collections.abc.Buffer is newer than Python 3.11
Pixels = npt.NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""
Subsampling = Literal["444", "422", "420", "440", "411"]
