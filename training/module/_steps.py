"""The model as a trainer drives it: embeddings under ArcFace, scored as an open set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
import torch

from lmdb_reid.errors import DivergedError, UsageError
from lmdb_reid.loaders import Batch
from training.losses import ArcFace
from training.metrics import macro_f1, thresholded, tuned_threshold
from training.model import Embedder

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
else:  # the class that has both brings its package's
    LightningModule = object

_Known = TypeVar("_Known")


class Predicted(NamedTuple):
    """What the model makes of a batch."""

    labels: torch.Tensor
    """int64 [B], as the csv has them; -1 is unknown."""
    scores: torch.Tensor
    """float [B], -1..1: how much each looks like the best known label."""
    rows: torch.Tensor
    """int64 [B], as the batch has them."""


class _Seen(NamedTuple):
    """Of validation samples; all [B]."""

    rows: torch.Tensor
    classes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor


class Steps(LightningModule):
    """A compact backbone trained from scratch with ArcFace.

    Batches are `Batch(images, labels, rows)`, images floats; training labels are places in
    `classes`, validation labels too, or -1. Each validation tunes the threshold under which a
    sample is unknown, keeps it (it is saved with the weights) and logs `val_f1`,
    `val_threshold`; training logs `train_loss`, a test `test_f1`.

    Args:
        classes: the labels to tell apart, as the csv has them; the data module's unless given.
        embedding: length of an embedding.
        width: channels of the backbone's first stage.
        scale: of ArcFace.
        margin: of ArcFace, in radians.
        lr: AdamW's learning rate, at the start; it falls to 0 along a cosine over the epochs.
        weight_decay: AdamW's.

    Raises:
        UsageError: a number out of range; in a run also data of other classes.
        DivergedError: in a run: a loss or a score is no finite number.
    """

    classes: torch.Tensor
    threshold: torch.Tensor

    def __init__(
        self,
        classes: Sequence[int] | None = None,
        *,
        embedding: int = 128,
        width: int = 32,
        scale: float = 16.0,
        margin: float = 0.3,
        lr: float = 2e-3,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__()
        for name, value in (("lr", lr), ("scale", scale)):
            if not value > 0:
                raise UsageError(f"{name} must be above 0; got {value}")
        for name, value in (("margin", margin), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise UsageError(f"{name} must be 0 or more; got {value}")
        self.save_hyperparameters()
        self._is_finite: torch.Tensor | None = None
        self.backbone = Embedder(embedding, width)
        self.head: ArcFace | None = None
        self._seen: list[_Seen] = []
        if classes is not None:
            self._know(classes)

    def setup(self, stage: str) -> None:
        """Learn from the data module which classes there are, unless they were given."""
        data = getattr(self.trainer, "datamodule", None)
        found = getattr(data, "classes", None)
        if self.head is None:
            self._know(_given(found))
        elif found is not None:
            self._check_classes(np.asarray(found).tolist(), self.classes.tolist())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another fold: their shapes may well be the same."""
        if self.head is not None:
            saved = checkpoint["state_dict"]["classes"].tolist()
            self._check_classes(self.classes.tolist(), saved)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings, float [B, D], of images [B, 3, H, W]."""
        return self.backbone(images)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        images, labels, rows = batch
        loss: torch.Tensor = self._known_head(self(images), labels)
        self._note_finite(loss, rows)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def on_train_epoch_end(self) -> None:
        """Refuse an epoch with a loss that was no number."""
        if self._is_finite is not None and not bool(self._is_finite):
            raise DivergedError(_diverged("the loss of a batch"))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Note what the model sees in a batch."""
        images, labels, rows = batch
        scores, classes = self._known_head.cosines(self(images)).max(1)
        self._seen.append(_Seen(rows, classes, scores, labels))

    def on_validation_epoch_end(self) -> None:
        """Tune the threshold, and log what it scores."""
        seen = self._gathered()
        tuned = tuned_threshold(seen.classes, seen.scores, seen.labels)
        self.threshold.fill_(tuned.threshold)
        found = {"val_f1": tuned.macro_f1, "val_threshold": tuned.threshold}
        self.log_dict(found, sync_dist=True)  # the same on all ranks, said so to Lightning

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log what the threshold of the last validation scores."""
        seen = self._gathered()
        predicted = thresholded(seen.classes, seen.scores, self.threshold.cpu())
        self.log("test_f1", macro_f1(predicted, seen.labels), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Predicted:
        """Labels as the csv has them, -1 under the threshold of the last validation."""
        images, _, rows = batch
        scores, classes = self._known_head.cosines(self(images)).max(1)
        return Predicted(thresholded(self.classes[classes], scores, self.threshold), scores, rows)

    def configure_optimizers(self) -> Any:
        """AdamW, and a cosine over the epochs where their number is known."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.hparams["lr"], weight_decay=self.hparams["weight_decay"]
        )
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 1:
            return optimizer
        # Not CosineAnnealingLR: a checkpoint keeps that one's number of epochs, whatever a run that
        # goes on is told.
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    @property
    def _known_head(self) -> ArcFace:
        return _given(self.head)

    def _check_classes(self, found: list[int], trained: list[int]) -> None:
        if found != trained:
            raise UsageError(
                f"the model tells apart the labels {trained}, the data has {found}: take the fold"
                " that it was trained on"
            )

    def _know(self, classes: Sequence[int]) -> None:
        labels = [int(label) for label in classes]
        self.hparams["classes"] = labels  # so that a checkpoint says them
        self.register_buffer("classes", torch.tensor(labels, dtype=torch.int64))
        self.register_buffer("threshold", torch.tensor(-2.0))  # rejects nothing
        settings = self.hparams
        self.head = ArcFace(
            len(labels), settings["embedding"], scale=settings["scale"], margin=settings["margin"]
        )

    def _note_finite(self, loss: torch.Tensor, rows: torch.Tensor) -> None:
        """Raise at once on a CPU; a GPU would have to be waited for in each step."""
        finite = loss.detach().isfinite()
        if loss.is_cuda:
            self._is_finite = finite if self._is_finite is None else self._is_finite & finite
        elif not bool(finite):
            raise DivergedError(_diverged("the loss"), rows=rows.tolist())

    def _gathered(self) -> _Seen:
        """What all ranks saw since the last time."""
        parts = [torch.cat(part) for part in zip(*self._seen, strict=True)]
        self._seen.clear()
        seen = _Seen(*(self._of_all_ranks(part).cpu() for part in parts))
        # Ranks repeat samples to have equally many; each counts once.
        once = torch.from_numpy(np.unique(seen.rows.numpy(), return_index=True)[1])
        return _Seen(*(part[once] for part in seen))

    def _of_all_ranks(self, part: torch.Tensor) -> torch.Tensor:
        if self.trainer.world_size == 1:
            return part
        return cast(torch.Tensor, self.all_gather(part)).flatten()


def _diverged(what: str) -> str:
    return f"{what} is no finite number: the training has diverged. Lower the learning rate (lr)"


def _given(known: _Known | None) -> _Known:
    if known is None:
        raise UsageError("the module does not know its classes: PlayerReIDModule(classes=[...])")
    return known
