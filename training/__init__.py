"""What trains: the guide's data sets that crop at run time, and the demo.

Importing this package does not import torch; its names do, when they are first asked for.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from training.runtime import BoxSample, PlayerReIDDataset

__all__ = ["BoxSample", "PlayerReIDDataset"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BoxSample": "training.runtime",
        "PlayerReIDDataset": "training.runtime",
    },
)
