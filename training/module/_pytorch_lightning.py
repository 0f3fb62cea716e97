"""The module for the Trainer of `pytorch_lightning`."""

from __future__ import annotations

from pytorch_lightning import LightningModule

from training.module._steps import Steps


class PlayerReIDModulePL(Steps, LightningModule):  # type: ignore[misc]  # the same code, twice
    __doc__ = Steps.__doc__
