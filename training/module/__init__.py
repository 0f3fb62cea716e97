"""The model as a trainer drives it.

`lightning` and `pytorch_lightning` hold the same code twice, and each Trainer takes modules of its
own package alone: `PlayerReIDModule` is for `lightning.pytorch.Trainer`, `PlayerReIDModulePL` for
`pytorch_lightning.Trainer`. A checkpoint of one loads into the other.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from training.module._lightning import PlayerReIDModule
    from training.module._pytorch_lightning import PlayerReIDModulePL
    from training.module._searching import Searched
    from training.module._steps import Predicted

__all__ = ["PlayerReIDModule", "PlayerReIDModulePL", "Predicted", "Searched"]

if not TYPE_CHECKING:  # or type checkers would take every name
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "PlayerReIDModule": "training.module._lightning",
            "PlayerReIDModulePL": "training.module._pytorch_lightning",
            "Predicted": "training.module._steps",
            "Searched": "training.module._searching",
        },
    )
