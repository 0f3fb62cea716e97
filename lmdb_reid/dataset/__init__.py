"""Map-style datasets of (image, label): a store's samples, and files that were cut before."""

from lmdb_reid.dataset._cropped import CroppedBBoxDataset
from lmdb_reid.dataset._reid import (
    FromCache,
    Pixels,
    ReIDDataset,
    Rows,
    Transform,
    applied,
    takes_generator,
)

__all__ = [
    "CroppedBBoxDataset",
    "FromCache",
    "Pixels",
    "ReIDDataset",
    "Rows",
    "Transform",
    "applied",
    "takes_generator",
]
