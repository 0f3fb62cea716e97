"""How large a store will be and how long its build will take, from the sizes of its crops."""

from __future__ import annotations

from builders.cutting import FrameResult
from builders.settings import BuildSettings

# Of one core of a 2.x GHz server, for an estimate: full-HD frames decode at 3 ns a pixel; a crop
# is cut, resized, encoded and written at 8 ns a pixel and 60 us besides.
_FRAME_NS, _CROP_NS, _CROP_US = 3.0, 8.0, 60.0
_PAGE = 4096


class Estimate:
    """Counts the pixels that a build would decode and encode.

    Args:
        settings: the build's.
    """

    def __init__(self, settings: BuildSettings) -> None:
        self._settings = settings
        self._crops = 0
        self._frame_pixels = self._crop_pixels = 0.0

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
        return int(self._crop_pixels * bytes_per_pixel + self._crops * (_PAGE / 2 + 250))

    def seconds(self, num_workers: int) -> float:
        """Of the build."""
        pixels = self._frame_pixels * _FRAME_NS + self._crop_pixels * _CROP_NS
        return (pixels / 1e9 + self._crops * _CROP_US / 1e6) / num_workers
