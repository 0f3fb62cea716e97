"""What a loader will do, as an object that prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lmdb_reid.machine import size_in_words


class Footprint(NamedTuple):
    """What an engine keeps and copies for its batches."""

    shape: tuple[int, ...] | None
    """Of the longest batch; None where a transform gives no single tensor."""
    dtype: str
    buffers: int = 0
    buffer_bytes: int = 0
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an epoch of a loader takes; see `Loader.plan`."""

    samples: int
    """In an epoch of this rank; a last batch that is left out is not counted."""
    steps: int
    """Batches in an epoch of this rank."""
    batch_size: int
    batch_shape: tuple[int, ...] | None
    """[B, 3, H, W]; None where a transform decides it."""
    batch_dtype: str
    engine: str
    why: str
    """Why this engine was taken."""
    num_workers: int
    rank: int
    world_size: int
    buffers: int
    """Batch buffers that are reused; 0 where the engine makes each batch again."""
    buffer_bytes: int
    """Of all buffers together."""
    copies: tuple[str, ...]
    """Each copy of a whole batch between the decoder and the consumer, in words."""
    device: str
    augment: str
    """The recipe, or "none"."""

    def __str__(self) -> str:
        shape = "x".join(map(str, self.batch_shape)) if self.batch_shape else "as transformed"
        buffers = f"{self.buffers}, {size_in_words(self.buffer_bytes)}" if self.buffers else "none"
        lines = {
            "engine": f"{self.engine}: {self.why}",
            "workers": str(self.num_workers),
            "steps": f"{self.steps:,} of {self.batch_size} ({self.samples:,} samples)",
            "ranks": f"rank {self.rank} of {self.world_size}",
            "batch": f"{self.batch_dtype} {shape} on {self.device}",
            "buffers": buffers,
            "augment": self.augment,
            "copies": "; ".join(self.copies) or "none: decoded in the thread of the consumer",
        }
        return "\n".join(f"{name:<8} {text}" for name, text in lines.items())
