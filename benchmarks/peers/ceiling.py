"""The ceiling: libjpeg-turbo through simplejpeg and nothing else, on bytes that lie in memory.

One thread for each worker, each into a batch-sized buffer of its own. No batch is handed over.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg

from benchmarks.peers._runner import Epochs, Job, main

_SPAN = 32  # pictures that a thread takes at once, so that both end together


def start(job: Job) -> Epochs:
    """Variants: accurate, dct, fast."""
    data = [file.read_bytes() for file in job.files()]
    dct, upsampling = job.variant != "accurate", job.variant == "fast"
    shape = job.pixels(job.variant).shape[1:]
    buffers = [np.empty((job.batch_size, *shape), np.uint8) for _ in range(job.num_workers)]

    def decode(order: list[int], spans: Iterator[int], buffer: Any) -> None:
        for first in spans:
            if first >= len(order):
                return
            for place, row in enumerate(order[first : first + _SPAN], first):
                simplejpeg.decode_jpeg(
                    data[row],
                    "RGB",
                    fastdct=dct,
                    fastupsample=upsampling,
                    buffer=buffer[place % len(buffer)],
                )

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        order = np.random.default_rng(number).permutation(job.count).tolist()
        spans = itertools.count(0, _SPAN)  # each next() of it is atomic
        threads = [threading.Thread(target=decode, args=(order, spans, own)) for own in buffers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield order, None

    return epoch


if __name__ == "__main__":
    main(start)
