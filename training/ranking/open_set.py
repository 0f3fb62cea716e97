"""Scores of an open set: who is it, and is it anybody known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import binary_auroc, binary_roc

from lmdb_reid.errors import DivergedError, UsageError
from lmdb_reid.schema import NO_LABEL
from training.metrics import Tuned, macro_f1, thresholded, tuned_threshold


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a model makes of N samples; tensors, or arrays that become some."""

    best: npt.ArrayLike | torch.Tensor
    """int64 [N], the known label that each looks most like."""
    scores: npt.ArrayLike | torch.Tensor
    """float [N], how much: higher is more. A cosine, a probability, minus a distance."""
    labels: npt.ArrayLike | torch.Tensor
    """int64 [N], who it is: a known label, another identity, or -1 for nobody."""


class Roc(NamedTuple):
    """Points of the curve, the strictest threshold first; [T] each, from (0, 0) to (1, 1)."""

    false_positive: torch.Tensor
    """float64, the share of unknown samples with a score of at least the threshold."""
    true_positive: torch.Tensor
    """float64, the share of known samples with such a score."""
    thresholds: torch.Tensor
    """float64; infinity first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenSetScores:
    """How well known people are told apart, and from the unknown."""

    threshold: float
    macro_f1: float
    """Mean F1 over the known labels and -1; see `training.metrics.macro_f1`."""
    baks: float
    """Balanced accuracy on known samples: the mean over known identities of the share of their
    samples that get their label."""
    baus: float
    """Balanced accuracy on unknown samples: the mean over unknown identities of the share of their
    samples that get -1; all samples labelled -1 count as one identity."""
    auc: float
    """The area under the ROC curve: how often a known sample scores higher than an unknown one."""
    known: int
    """Known samples."""
    unknown: int
    roc: Roc = field(repr=False)


def tune_open_set(validation: Predictions, known: Sequence[int]) -> Tuned:
    """The threshold of the best macro F1 on validation; see `training.metrics.tuned_threshold`.

    Args:
        validation: not the samples that are scored with it.
        known: the labels that the model knows; all others count as -1.

    Raises:
        UsageError: columns of different lengths, or labels as in `score_open_set`.
        DivergedError: a score is not finite.
    """
    best, scores, labels = _tensors(validation, known)
    return tuned_threshold(best, scores, torch.where(_is_known(labels, known), labels, NO_LABEL))


def score_open_set(test: Predictions, known: Sequence[int], *, threshold: float) -> OpenSetScores:
    """Score predictions, of which those with a score below the threshold become -1.

    BAKS and BAUS are those of wildlife-datasets (`wildlife_datasets/metrics/metrics.py`) and of the
    AnimalCLEF challenges; ROC and its area are torchmetrics'.

    Args:
        test: of N samples.
        known: the labels that the model knows.
        threshold: of `tune_open_set` on other samples.

    Raises:
        UsageError: no known or no unknown samples, columns of different lengths, a threshold that
            is NaN, a label below -1, or a prediction that is not among the known labels.
        DivergedError: a score is not finite.
    """
    best, scores, labels = _tensors(test, known)
    if math.isnan(threshold):
        raise UsageError("threshold must be a number, got NaN")
    is_known = _is_known(labels, known)
    count = int(is_known.sum())
    if not 0 < count < len(labels):
        raise UsageError(
            f"an open set must have known and unknown samples, got {count} known of {len(labels)}"
        )
    predicted = thresholded(best, scores, threshold)
    roc, auc = _roc(scores, is_known)
    return OpenSetScores(
        threshold=threshold,
        macro_f1=macro_f1(predicted, torch.where(is_known, labels, NO_LABEL)),
        baks=_balanced((predicted == labels)[is_known], labels[is_known]),
        baus=_balanced((predicted == NO_LABEL)[~is_known], labels[~is_known]),
        auc=auc,
        known=count,
        unknown=len(labels) - count,
        roc=roc,
    )


def _tensors(
    samples: Predictions, known: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    best, labels = (torch.as_tensor(each).cpu() for each in (samples.best, samples.labels))
    scores = torch.as_tensor(samples.scores).double().cpu()
    if not best.shape == scores.shape == labels.shape or labels.ndim != 1 or not len(labels):
        raise UsageError(
            f"best, scores and labels must be [N] each, N 1 or more, got {tuple(best.shape)},"
            f" {tuple(scores.shape)}, {tuple(labels.shape)}"
        )
    if best.is_floating_point() or labels.is_floating_point():
        raise UsageError(f"labels must be integers, got {best.dtype} and {labels.dtype}")
    if int(labels.min()) < NO_LABEL:
        raise UsageError(f"labels must be -1 or above, got {int(labels.min())}")
    bad = (~scores.isfinite()).nonzero().flatten()
    if len(bad):
        raise DivergedError.of(
            f"scores must be finite, got NaN or infinity in {len(bad)} rows, first in"
            f" {bad[:5].tolist()}"
        )
    strange = best[~_is_known(best, known) & (best != NO_LABEL)]
    if len(strange):
        raise UsageError(
            f"best must be among the known labels, or -1, got {int(strange[0])}. Pass"
            " all labels that the model knows."
        )
    return best.long(), scores, labels.long()


def _is_known(labels: torch.Tensor, known: Sequence[int]) -> torch.Tensor:
    return torch.isin(labels, torch.tensor(sorted(known), dtype=torch.int64)) & (labels >= 0)


def _balanced(is_right: torch.Tensor, identities: torch.Tensor) -> float:
    """The mean over identities of the share of their samples that are right."""
    _, codes, counts = np.unique(identities.numpy(), return_inverse=True, return_counts=True)
    return float(np.mean(np.bincount(codes, is_right.numpy()) / counts))


def _roc(scores: torch.Tensor, is_known: torch.Tensor) -> tuple[Roc, float]:
    # torchmetrics takes scores outside 0..1 for logits, and its sigmoid would make some of them
    # equal. Their ranks are within, and sort as they do.
    levels, ranks = np.unique(scores.numpy(), return_inverse=True)
    shares = torch.from_numpy(ranks / len(levels))
    false, true, at = binary_roc(shares, is_known.long())
    thresholds = np.append(np.inf, levels[(at[1:] * len(levels)).round().long().numpy()])
    auc = float(binary_auroc(shares, is_known.long()))
    return Roc(false.double(), true.double(), torch.from_numpy(thresholds)), auc
