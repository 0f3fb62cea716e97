"""How large a store will be and how long its build will take: from the sizes of its crops, put in
proportion by a sample of frames that are cut for it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from builders.cutting import FrameCutter, FrameResult
from builders.job import Job
from builders.media import Files
from builders.settings import BuildSettings
from lmdb_reid.errors import SourceError

# Of one core of a 2.x GHz server, for an estimate: full-HD frames decode at 3 ns a pixel; a crop
# is cut, resized, encoded and written at 8 ns a pixel and 60 us besides.
_FRAME_NS, _CROP_NS, _CROP_US = 3.0, 8.0, 60.0
_WRITE_US = 40.0  # of the one thread that checks, writes and seals, for a crop
_PAGE = 4096
_MOST_FRAMES, _MOST_SECONDS = 64, 1.0  # of a sample


class Estimate:
    """Counts the pixels that a build would decode and encode.

    Args:
        settings: the build's.
    """

    def __init__(self, settings: BuildSettings) -> None:
        self._settings = settings
        self._crops = 0
        self._frame_pixels = self._crop_pixels = 0.0
        self._slower = self._larger = 1.0  # than the numbers above say

    def add(self, result: FrameResult) -> None:
        """Count one frame in."""
        if result.size is None:
            return
        self._frame_pixels += result.size[0] * result.size[1]
        self._crop_pixels += sum(one.area(result.size, self._settings.size) for one in result.cuts)
        self._crops += len(result.cuts)

    def size_bytes(self) -> int:
        """Of the store."""
        # About what 4:2:0 photographs take (0.30 at 95, 0.12 at 80).
        bytes_per_pixel = 0.04 + 0.26 * (self._settings.quality / 95) ** 6
        pixels = self._crop_pixels * bytes_per_pixel * self._larger
        return int(pixels + self._crops * (_PAGE / 2 + 250))

    def seconds(self, num_workers: int) -> float:
        """Of the build."""
        cutting = self._cutting() * self._slower / num_workers
        return cutting + self._crops * _WRITE_US / 1e6

    def measure(self, results: Iterable[FrameResult], seconds: float) -> None:
        """Put the estimate in proportion to frames that were cut.

        Args:
            results: of these frames, which need not be among those that were added.
            seconds: of all threads together.
        """
        sample = Estimate(self._settings)
        images = 0
        for result in results:
            sample.add(result)
            images += sum(map(len, result.images))
        if sample._crops and images:
            self._slower = seconds / sample._cutting()
            self._larger = images / (sample.size_bytes() - sample._crops * (_PAGE / 2 + 250))

    def _cutting(self) -> float:
        """Seconds of one thread."""
        pixels = self._frame_pixels * _FRAME_NS + self._crop_pixels * _CROP_NS
        return pixels / 1e9 + self._crops * _CROP_US / 1e6


def cut_some(job: Job, cutter: FrameCutter, num_workers: int) -> tuple[list[FrameResult], float]:
    """Cut a few frames for about a second: what came of them, and the seconds of all threads.

    They are spread over all frames where pictures can be opened in any order, else the first ones.
    Pictures that cannot be read end it early.
    """
    frames, medium = job.listing.frames, job.listing.medium
    count = min(len(frames), _MOST_FRAMES)
    step = len(frames) // max(1, count) if isinstance(medium, Files) else 1
    chosen = [frames[at * step] for at in range(count)]
    results: list[FrameResult] = []
    began = time.perf_counter()
    with (
        contextlib.suppress(SourceError),
        ThreadPoolExecutor(num_workers, thread_name_prefix="cut") as pool,
    ):
        pictures = medium.run(frame.key for frame in chosen)
        tasks = (
            functools.partial(cutter.cut, frame, picture)
            for frame, picture in zip(chosen, pictures, strict=True)
        )
        for task in itertools.islice(tasks, 1):
            task()  # it also loads what cutting takes
        began = time.perf_counter()
        while time.perf_counter() - began < _MOST_SECONDS:
            some = [pool.submit(task) for task in itertools.islice(tasks, 2 * num_workers)]
            if not some:
                break
            results += [each.result() for each in some]
    return results, (time.perf_counter() - began) * num_workers
