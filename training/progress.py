"""How far a training is: a bar for the epoch that runs, and a line for each that is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lmdb_reid.progress import Meter, say

_VALUES = (
    ("train_loss", "loss"),
    ("val_f1", "macro F1"),
    ("val_threshold", "threshold"),
    ("val_mAP", "mAP"),
    ("val_cmc1", "CMC-1"),
)
_SCORES = (("val_f1", "F1"), ("val_mAP", "mAP"))


class EpochProgress(Callback):
    """Shows, on stderr, what lmdb_reid.progress shows of other work, with the loss and the last F1.

    The bar is on terminals alone; the line of a finished epoch is everywhere. Where a trainer has a
    bar of its own there is neither.
    """

    def __init__(self) -> None:
        self._meter: Meter | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a bar."""
        self._begin(trainer, "")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move it on."""
        self._show(batch_idx + 1, trainer.num_training_batches, lambda: _note(trainer, outputs))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a bar for the validation of the epoch."""
        if not trainer.sanity_checking:
            self._begin(trainer, ", validation")

    def on_validation_batch_end(  # noqa: PLR0917  # Lightning's signature
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Move it on."""
        counts = trainer.num_val_batches
        done = sum(counts[:dataloader_idx]) + batch_idx + 1
        self._show(int(done), sum(counts), lambda: _note(trainer, None))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what came of the epoch."""
        self._clear()
        if _is_shown(trainer):
            found = {name: float(value) for name, value in trainer.callback_metrics.items()}
            values = [f"{title} {found[name]:.4f}" for name, title in _VALUES if name in found]
            say(", ".join([_epoch(trainer), *values]))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal to the error."""
        self._clear()

    def _begin(self, trainer: Trainer, what: str) -> None:
        self._clear()
        if _is_shown(trainer):
            meter = Meter(f"{_epoch(trainer)}{what}", "batches")
            self._meter = meter if meter.is_terminal else None

    def _show(self, done: int, total: float, note: Callable[[], str]) -> None:
        if self._meter is not None and total < float("inf"):
            self._meter(done, int(total), 0, note=note)

    def _clear(self) -> None:
        if self._meter is not None:
            self._meter.clear()
            self._meter = None


def _is_shown(trainer: Trainer) -> bool:
    return trainer.is_global_zero and trainer.progress_bar_callback is None


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"


def _note(trainer: Trainer, outputs: Any) -> str:
    """The loss of this batch, and the score of the last validation. Waits for the device."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    found = trainer.callback_metrics
    known = [] if loss is None else [f"loss {float(loss):.3f}"]
    known += [f"{title} {float(found[name]):.3f}" for name, title in _SCORES if name in found]
    return ", ".join(known)
