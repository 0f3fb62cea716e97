"""What a data module inherits from."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from lightning.pytorch import LightningDataModule

if TYPE_CHECKING or find_spec("pytorch_lightning") is None:
    DataModule = LightningDataModule
else:
    import pytorch_lightning

    # `lightning` and `pytorch_lightning` hold the same code twice, and each Trainer takes data
    # modules of its own package alone. One that is of both works with either.
    class DataModule(LightningDataModule, pytorch_lightning.LightningDataModule):
        """A data module for the Trainers of both packages."""


__all__ = ["DataModule"]
