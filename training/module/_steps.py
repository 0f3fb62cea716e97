"""The model as a trainer drives it: embeddings under ArcFace, scored as an open set."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
import torch

from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import DivergedError, UsageError
from lmdb_reid.loaders import Batch
from lmdb_reid.schema import Rows
from training.losses import ArcFace
from training.metrics import macro_f1, thresholded, tuned_threshold
from training.model import Embedder
from training.module._searching import Searched, once, score_search
from training.ranking import RankScores

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


_Side = tuple[torch.Tensor, torch.Tensor]
"""Rows, int64 [B], and embeddings, float [B, D]."""


class Steps(LightningModule):
    """A compact backbone trained from scratch with ArcFace.

    Batches are `Batch(images, labels, rows)`, images floats; training labels are places in
    `classes`, validation labels too, or -1. Each validation tunes the threshold under which a
    sample is unknown, keeps it (it is saved with the weights) and logs `val_f1`,
    `val_threshold`; training logs `train_loss`, a test `test_f1`.

    Where the data has loaders of query and gallery, the gallery is ranked for each query instead,
    by the cosine of embeddings and Market-1501's rules: a validation logs `val_mAP`, `val_mINP` and
    `val_cmc1` (5, 10), a test the same as `test_`; `ranking` has the scores. Without cameras the
    rule about the query's own camera is off, and `ranking` says so.

    Args:
        classes: the labels to tell apart, as the csv has them (default: the data module's).
        embedding: length of an embedding.
        width: channels of the backbone's first stage.
        scale: of ArcFace.
        margin: of ArcFace, in radians.
        lr: AdamW's learning rate, at the start; it falls to 0 along a cosine over the epochs.
        weight_decay: AdamW's.

    Raises:
        UsageError: a number out of range; in a run also data of other classes.
        UnknownArgumentError: an argument of another name.
        DivergedError: in a run: a loss or a score is no finite number.
    """

    classes: torch.Tensor
    threshold: torch.Tensor

    @known_arguments()
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
        self._save_further(inspect.currentframe())
        self._is_finite: torch.Tensor | None = None
        self.backbone = Embedder(embedding, width)
        self.head: ArcFace | None = None
        self._seen: list[_Seen] = []
        self._sides: tuple[list[_Side], list[_Side]] = ([], [])
        self.ranking: RankScores | None = None
        """Of the last validation or test; None where the data has no query and gallery."""
        if classes is not None:
            self._know(classes)

    def _save_further(self, frame: FrameType | None) -> None:
        """Keep the arguments of a subclass, too: Lightning looks for them in the frame that called
        ours, where it meets the check of arguments.
        """
        check = frame and frame.f_back
        outer = check and check.f_back
        if (
            outer is not None
            and outer.f_code.co_name == "__init__"
            and "__class__" in outer.f_locals
        ):
            first = outer.f_code.co_varnames[0]
            if outer.f_locals.get(first) is self:
                self.save_hyperparameters(frame=outer)

    def setup(self, stage: str) -> None:
        """Learn from the data module which classes there are, unless they were given."""
        data = getattr(self.trainer, "datamodule", None)
        found = getattr(data, "classes", None)
        if self.head is None:
            self._know(_given(found))
        elif found is not None:
            self._check_classes(np.asarray(found).tolist(), self.classes.tolist())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the last validation ranked."""
        if self.ranking is not None:
            checkpoint["ranking"] = self.ranking.summary()

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
            raise DivergedError.of("the loss of a batch is not a finite number")

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Note what the model sees in a batch; of queries, where `dataloader_idx` is 0, or of the
        gallery.
        """
        images, labels, rows = batch
        if self._searched is not None:
            self._sides[dataloader_idx].append((rows, self(images).float()))
            return
        scores, classes = self._known_head.cosines(self(images)).max(1)
        self._seen.append(_Seen(rows, classes, scores, labels))

    def on_validation_epoch_end(self) -> None:
        """Tune the threshold, and log what it scores; or rank."""
        if self._searched is not None:
            self._rank("val")
            return
        seen = self._gathered()
        tuned = tuned_threshold(seen.classes, seen.scores, seen.labels)
        self.threshold.fill_(tuned.threshold)
        found = {"val_f1": tuned.macro_f1, "val_threshold": tuned.threshold}
        self.log_dict(found, sync_dist=True)  # the same on all ranks, said so to Lightning

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Log what the threshold of the last validation scores; or rank."""
        if self._searched is not None:
            self._rank("test")
            return
        seen = self._gathered()
        predicted = thresholded(seen.classes, seen.scores, self.threshold.cpu())
        self.log("test_f1", macro_f1(predicted, seen.labels), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Predicted:
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
                f"the checkpoint and the data must have the same labels, got {trained} and"
                f" {found}. Use the fold that the model was trained on"
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
            raise DivergedError.of("the loss is not a finite number", rows.tolist())

    @property
    def _searched(self) -> Searched | None:
        """The data, where it has loaders of query and gallery."""
        data = getattr(self.trainer, "datamodule", None)
        return data if isinstance(data, Searched) and data.has_search else None

    def _rank(self, stage: str) -> None:
        """Rank what was seen, and log the scores."""
        trial: bool = self.trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it
        if self.trainer.sanity_checking or trial:  # both sides were seen in part only
            for side in self._sides:
                side.clear()
            return
        data = self._searched
        assert data is not None
        query, gallery = map(self._side, self._sides)
        self.ranking = score_search(data, query, gallery)
        found = {"mAP": self.ranking.mAP, "mINP": self.ranking.mINP}
        found |= {f"cmc{k}": share for k, share in self.ranking.cmc.items()}
        named = {f"{stage}_{name}": value for name, value in found.items()}
        self.log_dict(named, sync_dist=True)

    def _side(self, seen: list[_Side]) -> tuple[Rows, torch.Tensor]:
        """The rows and embeddings of one side, from all ranks."""
        rows, features = (torch.cat(part) for part in zip(*seen, strict=True))
        seen.clear()
        every = self._of_all_ranks(rows).cpu(), self._of_all_ranks(features).cpu()
        found, embeddings = once(*every)
        _check_finite("embedding", embeddings, found)
        return found, embeddings

    def _gathered(self) -> _Seen:
        """What all ranks saw since the last time."""
        parts = [torch.cat(part) for part in zip(*self._seen, strict=True)]
        self._seen.clear()
        seen = _Seen(*(self._of_all_ranks(part).cpu() for part in parts))
        # Ranks repeat samples to have equally many; each counts once.
        first = torch.from_numpy(np.unique(seen.rows.numpy(), return_index=True)[1])
        seen = _Seen(*(part[first] for part in seen))
        _check_finite("score", seen.scores, seen.rows.numpy())
        return seen

    def _of_all_ranks(self, part: torch.Tensor) -> torch.Tensor:
        if self.trainer.world_size == 1:
            return part
        return cast(torch.Tensor, self.all_gather(part)).flatten(0, 1)


def _check_finite(name: str, values: torch.Tensor, rows: Rows) -> None:
    """Refuse what a model sees in rows [N], numbers [N, ...], unless all are finite."""
    bad = rows[~values.isfinite().reshape(len(rows), -1).all(1).numpy()].tolist()
    if bad:
        more = f" and {len(bad) - 1:,} more" if len(bad) > 1 else ""
        raise DivergedError.of(f"the {name} of row {bad[0]}{more} is not a finite number", bad)


def _given(known: _Known | None) -> _Known:
    if known is None:
        raise UsageError(
            "the module does not know its classes. Pass them: PlayerReIDModule(classes=[...])"
        )
    return known
