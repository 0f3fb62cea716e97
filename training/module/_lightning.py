"""The module for the Trainer of `lightning`."""

from __future__ import annotations

from lightning.pytorch import LightningModule

from training.module._steps import Steps


class PlayerReIDModule(Steps, LightningModule):
    __doc__ = Steps.__doc__
