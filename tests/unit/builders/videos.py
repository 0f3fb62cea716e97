"""Videos that tests draw: each frame's grey says its number."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def grey_of(number: int) -> int:
    """The shade of a frame; those of neighbours are 20 apart."""
    return 20 + 20 * (number % 10)


def number_of(image: Any, count: int) -> int:
    """The number of a frame by its shade, modulo 10, and the run of ten by its stripe."""
    assert image[:-16].std() < 6, "a part of it is of another frame"
    tens = round((float(image[-16:].mean()) - 20) / 20)
    ones = round((float(image[:-16].mean()) - 20) / 20)
    number = 10 * tens + ones
    assert 0 <= number < count, number
    return number


def draw_video(
    path: Path,
    count: int = 30,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 96),
    gop: int = 8,
    b_frames: int = 2,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    noise: int = 0,
) -> Path:
    """A video whose frame i has the shade of i % 10 above and that of i // 10 in its last 16 lines.

    Args:
        path: of the file; its suffix is the container.
        count: of frames.
        codec: the encoder.
        size: (height, width).
        gop: frames from one key frame to the next.
        b_frames: between two others.
        times: when each frame is shown, in 1/25 s; one after the other unless given.
        options: of the encoder.
        noise: of this many shades in each pixel, so that frames take some bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(count)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.gop_size, context.max_b_frames = gop, b_frames
        context.time_base = Fraction(1, 25)
        container.start_encoding()
        for number in range(count):
            image = np.full((*size, 3), grey_of(number), np.uint8)
            image[-16:] = grey_of(number // 10)
            image += random.integers(0, noise + 1, (*size, 1), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, 25)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
