"""A fold trained through LightningCLI: what stands behind `lmdb-reid train`."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lmdb_reid.errors import UsageError
from training.data import DataModule
from training.module import PlayerReIDModule, Searched
from training.progress import EpochProgress

_F1 = "val_f1"
_SCORES = ("mAP", "mINP", "cmc", "queries", "left_out", "same_camera")
# Where both packages are loaded, Lightning logs under the name of the one that came last.
_LOGGERS = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric")


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The epoch of a run that validated best."""

    macro_f1: float
    threshold: float
    epoch: int
    """From 1."""
    epochs: int
    """That were trained."""
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BestSearch:
    """The epoch of a run that ranked the gallery best for the queries."""

    mAP: float
    mINP: float
    cmc: Mapping[str, float]
    """By rank, "1", "5", "10"."""
    queries: int
    """With a right answer in the gallery."""
    left_out: int
    """Queries without one."""
    same_camera: bool
    """Whether what the query's own camera saw of its identity was left out."""
    epoch: int
    """From 1."""
    epochs: int
    """That were trained."""
    checkpoint: str


def fit_fold(
    words: Sequence[str],
    checkpoints: Path,
    resume: Path | None = None,
    *,
    data: type[DataModule],
) -> Best | BestSearch | None:
    """Train as a command line of LightningCLI says.

    Each epoch is a line on stderr; on a terminal it also has a bar while it runs.

    Args:
        words: the command line, sections trainer, model and data.
        checkpoints: where best.ckpt and last.ckpt go.
        resume: a checkpoint to go on from.
        data: what the section data makes; its loaders give `Batch`.

    Returns:
        The best epoch: by macro F1, or by mAP where the data has query and gallery. None in all
        processes of a run but the first, and of a trial run (fast_dev_run).

    Raises:
        UsageError: a word that is no setting, or nothing was validated.
        DivergedError: a loss or a score is no finite number.
        KeyboardInterrupt: the user wanted no more.
    """
    with _plain_output(), _told_briefly():
        cli = _Cli(
            PlayerReIDModule,
            data,
            args=list(words),
            run=False,
            seed_everything_default=0,
            trainer_defaults=_trainer_defaults(checkpoints),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={"prog": "lmdb-reid train --", "exit_on_error": False},
        )
        cli.datamodule.setup()  # what is wrong with the data is told before a folder is made
        if isinstance(cli.datamodule, Searched) and cli.datamodule.has_search:
            _watch_ranking(cli.trainer)
        _fit(cli, resume)
    trial: bool = cli.trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it
    is_kept = cli.trainer.is_global_zero and not trial
    return _best(cli.trainer) if is_kept else None


def _fit(cli: _Cli, resume: Path | None) -> None:
    try:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=resume)
    except SystemExit:  # how Lightning ends when it was interrupted
        if cli.trainer.interrupted:
            raise KeyboardInterrupt from None
        raise


class _Cli(LightningCLI):
    """Trainer, model and data from their signatures, with defaults of this command."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        # Not the base class's way, which warns that sys.argv has words too.
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise UsageError(f"{error} (lmdb-reid train -- --help lists the settings)") from None


def _trainer_defaults(checkpoints: Path) -> dict[str, Any]:
    kept = ModelCheckpoint(checkpoints, monitor=_F1, mode="max", filename="best", save_last=True)
    return {
        "max_epochs": 20,
        "deterministic": True,
        "log_every_n_steps": 1,  # only epochs are logged; more than their steps would be warned of
        "enable_model_summary": False,
        "enable_progress_bar": False,  # EpochProgress is ours
        "callbacks": [kept, EpochProgress()],
    }


def _watch_ranking(trainer: Trainer) -> None:
    """Keep the epoch with the highest mAP, for there will be no macro F1."""
    for kept in trainer.checkpoint_callbacks:
        if isinstance(kept, ModelCheckpoint) and kept.monitor == _F1:
            kept.monitor = "val_mAP"


def _best(trainer: Trainer) -> Best | BestSearch:
    kept = trainer.checkpoint_callback
    assert isinstance(kept, ModelCheckpoint)
    if not kept.best_model_path or kept.best_model_score is None:
        raise UsageError("no epoch was validated, so none is the best. Check limit_val_batches")
    saved = torch.load(kept.best_model_path, map_location="cpu", weights_only=True)
    epoch, epochs = int(saved["epoch"]) + 1, trainer.current_epoch
    if "ranking" in saved:
        scores = saved["ranking"]
        return BestSearch(
            **{name: scores[name] for name in _SCORES},
            epoch=epoch,
            epochs=epochs,
            checkpoint=kept.best_model_path,
        )
    return Best(
        macro_f1=float(kept.best_model_score),
        threshold=float(saved["state_dict"]["threshold"]),
        epoch=epoch,
        epochs=epochs,
        checkpoint=kept.best_model_path,
    )


@contextlib.contextmanager
def _told_briefly() -> Iterator[None]:
    """What Lightning finds wrong with the settings, in a line."""
    try:
        yield
    except MisconfigurationException as error:
        raise UsageError(str(error)) from None


@contextlib.contextmanager
def _plain_output() -> Iterator[None]:
    """Lightning says what is wrong and no more; what of ours takes long is printed on stderr."""
    quiet = [logging.getLogger(name) for name in _LOGGERS]
    levels = [log.level for log in quiet]
    ours, handler = logging.getLogger("builders"), logging.StreamHandler(sys.stderr)
    our_level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    for log in quiet:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 asks a question that torch 2.13 answers, and wants put differently.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            # It is not when a run is gone on with: that is where its checkpoints are.
            warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")
            yield
    finally:
        ours.removeHandler(handler)
        for log, level in zip([*quiet, ours], [*levels, our_level], strict=True):
            log.setLevel(level)
