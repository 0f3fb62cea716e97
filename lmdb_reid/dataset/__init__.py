"""Map-style datasets of (image, label): a store's samples, and files that were cut before; and
what a loader takes of them.
"""

from lmdb_reid.dataset._cropped import CroppedBBoxDataset
from lmdb_reid.dataset._reid import ReIDDataset
from lmdb_reid.dataset._selection import Selection, selection_of
from lmdb_reid.dataset._transform import SampleTransform, Transform, sample_transform

__all__ = [
    "CroppedBBoxDataset",
    "ReIDDataset",
    "SampleTransform",
    "Selection",
    "Transform",
    "sample_transform",
    "selection_of",
]
