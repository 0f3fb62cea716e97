"""The score of an open set: macro F1 over the labels, "none of them" among these."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torchmetrics.functional.classification import multiclass_f1_score

from lmdb_reid.errors import DivergedError, UsageError
from lmdb_reid.schema import NO_LABEL

_CANDIDATES = 200


class Tuned(NamedTuple):
    """A threshold, and what it scores."""

    threshold: float
    """Predictions of a score below it become -1."""
    macro_f1: float


def macro_f1(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean of the F1 of every label, -1 included, that is predicted or true at least once.

    Args:
        predicted: int64 [N], -1 or above.
        labels: int64 [N], likewise.

    Raises:
        UsageError: no samples, differing lengths, or a label below -1.
    """
    if predicted.shape != labels.shape or labels.ndim != 1 or not len(labels):
        raise UsageError(
            "predictions and labels must be [N] each, N at least 1, got"
            f" {tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    lowest = int(torch.minimum(predicted.min(), labels.min()))
    if lowest < NO_LABEL:
        raise UsageError(f"labels must be -1 or above, got {lowest}")
    # torchmetrics counts classes from 0. It leaves out those that are neither predicted nor true.
    count = int(torch.maximum(predicted.max(), labels.max())) + 2
    # Of one class, its task would be a binary one.
    found = multiclass_f1_score(
        predicted + 1, labels + 1, num_classes=max(2, count), average="macro"
    )
    return float(found)


def thresholded(
    predicted: torch.Tensor, scores: torch.Tensor, threshold: float | torch.Tensor
) -> torch.Tensor:
    """`predicted` int64 [N], with -1 where `scores` float [N] is below the threshold."""
    return torch.where(scores < threshold, NO_LABEL, predicted)


def tuned_threshold(predicted: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> Tuned:
    """The threshold of the best macro F1 over samples some of unknown identity (-1).

    Tried are the borders between neighbouring scores (of many, 200 evenly spread over the samples),
    and one below all of them; of equally good ones the lowest is taken. The F1 is that of the same
    samples, so it flatters by what one number can be fitted to them.

    Args:
        predicted: int64 [N], the best known label of each sample.
        scores: float [N], how much it looks like that; without NaN.
        labels: int64 [N], -1 for samples of unknown identity.

    Raises:
        UsageError: as `macro_f1`.
        DivergedError: a score is NaN.
    """
    if scores.shape != labels.shape:
        raise UsageError(f"{tuple(scores.shape)} scores for {tuple(labels.shape)} labels")
    if bool(scores.isnan().any()):
        raise DivergedError.of("scores must be finite, got NaN")
    levels = torch.unique(scores)  # sorted
    if len(levels) > _CANDIDATES:
        ranks = torch.linspace(0, len(scores) - 1, _CANDIDATES, dtype=torch.float64).round().long()
        levels = torch.unique(scores.sort().values[ranks])
    borders = [float(levels[0]) - 1.0, *((levels[1:] + levels[:-1]) / 2).tolist()]
    best = Tuned(borders[0], -1.0)
    for border in borders:
        found = macro_f1(thresholded(predicted, scores, border), labels)
        if found > best.macro_f1:
            best = Tuned(border, found)
    return best
