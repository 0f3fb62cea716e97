"""The training recipe: what is done to pictures, and how, fast.

`ReIDAugment` describes it, `draw` decides it for a batch (a pure function of seed, epoch and
position), `landing` says where to decode pictures, `gather` copies those that lie in memory,
`place` does geometry on bytes there, `finish` does colour on floats once per batch, `erase` the
rectangles where they come last. `place_on_device` is `place` where the pixels are on a device
already. The last three load torch.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from lmdb_reid.augment._device import place_on_device
    from lmdb_reid.augment._draws import ColourDraws, Draws, draw
    from lmdb_reid.augment._finish import erase, finish
    from lmdb_reid.augment._place import CHUNK, GATHER_CHUNK, gather, landing, place
    from lmdb_reid.augment._recipe import PRESETS, ReIDAugment, resolve

__all__ = [
    "CHUNK",
    "GATHER_CHUNK",
    "PRESETS",
    "ColourDraws",
    "Draws",
    "ReIDAugment",
    "draw",
    "erase",
    "finish",
    "gather",
    "landing",
    "place",
    "place_on_device",
    "resolve",
]

if not TYPE_CHECKING:  # or type checkers would take every name
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "CHUNK": "lmdb_reid.augment._place",
            "GATHER_CHUNK": "lmdb_reid.augment._place",
            "PRESETS": "lmdb_reid.augment._recipe",
            "ColourDraws": "lmdb_reid.augment._draws",
            "Draws": "lmdb_reid.augment._draws",
            "ReIDAugment": "lmdb_reid.augment._recipe",
            "draw": "lmdb_reid.augment._draws",
            "erase": "lmdb_reid.augment._finish",
            "finish": "lmdb_reid.augment._finish",
            "gather": "lmdb_reid.augment._place",
            "landing": "lmdb_reid.augment._place",
            "place": "lmdb_reid.augment._place",
            "place_on_device": "lmdb_reid.augment._device",
            "resolve": "lmdb_reid.augment._recipe",
        },
    )
