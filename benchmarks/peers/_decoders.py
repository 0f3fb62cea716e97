"""JPEG bytes to uint8 [H, W, 3], as users of the peers do it: with Pillow, or with our decoder."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np


def decoder(name: str) -> Callable[[bytes], Any]:
    """The function of a name: pil, turbo (accurate DCT) or turbo-fast."""
    if name == "pil":
        from PIL import Image

        return lambda data: np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    import simplejpeg

    fast = {"turbo": False, "turbo-fast": True}[name]
    return lambda data: simplejpeg.decode_jpeg(data, "RGB", fastdct=fast, fastupsample=fast)
