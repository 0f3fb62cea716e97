"""What decides a build."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lmdb_reid._arguments import known_fields
from lmdb_reid.errors import UsageError
from lmdb_reid.machine import available_cores
from lmdb_reid.schema import DEFAULT_SIZE, Size

MAX_SKIPPED = 0.05
"""The share of a source's rows that may be unusable by default."""


@known_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What of a build's settings decides the content of the store.

    Raises:
        UsageError: an invalid value.
    """

    size: Size | None = DEFAULT_SIZE
    """(height, width) of every stored crop in pixels; None keeps the size of each box."""
    expand: float = 1.2
    """Boxes of players are grown by this about their centre, then clipped to the frame."""
    quality: int = 95
    """JPEG quality, 1..100; chroma is stored at half resolution (4:2:0)."""
    num_bg_per_frame: int = 1
    """Background negatives wanted of each frame."""
    num_partial_per_box: int = 1
    """Partial negatives wanted of each player's box."""
    max_person_share: float = 0.2
    """The most of any person's box that a background may show, of the box's area, and that a
    partial may show of any other person's box. 1 is no limit beside that on IoU.
    """
    seed: int = 0
    """Of the negatives."""

    def __post_init__(self) -> None:
        if self.size is not None and (
            len(self.size) != 2
            or not all(isinstance(side, int) and 1 <= side <= 16_384 for side in self.size)
        ):
            raise UsageError(
                f"size must be (height, width), each 1 to 16,384 pixels, got {self.size}"
            )
        for name in ("quality", "num_bg_per_frame", "num_partial_per_box", "seed"):
            if not isinstance(getattr(self, name), int):
                raise UsageError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        if not 1.0 <= self.expand <= 10.0:
            raise UsageError(f"expand must be 1.0 (the box as it is) to 10.0, got {self.expand}")
        if not 0 <= self.max_person_share <= 1:
            raise UsageError(
                f"max_person_share must be a share from 0 to 1, got {self.max_person_share}"
            )
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality must be 1 to 100, got {self.quality}")
        for name in ("num_bg_per_frame", "num_partial_per_box"):
            if not 0 <= getattr(self, name) <= 1000:
                raise UsageError(f"{name} must be 0 to 1000, got {getattr(self, name)}")

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values, for the manifest."""
        fields = asdict(self)
        return fields | {
            "size": list(self.size) if self.size else None,
            "expand": float(self.expand),
            "max_person_share": float(self.max_person_share),
        }


def worker_count(num_workers: int | None) -> int:
    """How many threads to use: as many as there are cores where no number is given.

    Raises:
        UsageError: fewer than 1.
    """
    if num_workers is None:
        return available_cores()
    if not isinstance(num_workers, int) or num_workers < 1:
        raise UsageError(f"num_workers must be at least 1, got {num_workers!r}")
    return num_workers
