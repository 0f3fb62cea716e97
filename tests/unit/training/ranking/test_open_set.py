from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import DivergedError, UsageError
from training.metrics import macro_f1
from training.ranking import Predictions, score_open_set, tune_open_set

KNOWN = [0, 1, 2]


def predictions(samples: list[tuple[int, float, int]]) -> Predictions:
    best, scores, labels = (np.array(column) for column in zip(*samples, strict=True))
    return Predictions(best=best, scores=scores, labels=labels)


_SAMPLES = st.lists(
    st.tuples(st.sampled_from(KNOWN), st.integers(-9, 9).map(lambda n: n / 4), st.integers(-1, 5)),
    min_size=2,
    max_size=30,
).filter(lambda samples: len({label in KNOWN for _, _, label in samples}) == 2)


def balanced(samples: list[tuple[int, float, int]], threshold: float, *, known: bool) -> float:
    """The mean over identities of the share of right answers, counted on fingers."""
    shares = []
    for who in {label for _, _, label in samples if (label in KNOWN) == known}:
        answers = [
            best if score >= threshold else -1 for best, score, label in samples if label == who
        ]
        shares.append(answers.count(who if known else -1) / len(answers))
    return sum(shares) / len(shares)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_SAMPLES, st.integers(-9, 9).map(lambda n: n / 4))
def test_balanced_accuracies_are_means_over_identities(
    samples: list[tuple[int, float, int]], threshold: float
) -> None:
    found = score_open_set(predictions(samples), KNOWN, threshold=threshold)
    assert found.baks == pytest.approx(balanced(samples, threshold, known=True))
    assert found.baus == pytest.approx(balanced(samples, threshold, known=False))
    assert found.known + found.unknown == len(samples)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_SAMPLES)
def test_the_area_is_how_often_a_known_sample_scores_higher(
    samples: list[tuple[int, float, int]],
) -> None:
    found = score_open_set(predictions(samples), KNOWN, threshold=0.0)
    known = [score for _, score, label in samples if label in KNOWN]
    unknown = [score for _, score, label in samples if label not in KNOWN]
    wins = sum((a > b) + (a == b) / 2 for a in known for b in unknown)
    assert found.auc == pytest.approx(wins / len(known) / len(unknown), abs=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_SAMPLES)
def test_each_point_of_the_curve_is_what_its_threshold_gives(
    samples: list[tuple[int, float, int]],
) -> None:
    roc = score_open_set(predictions(samples), KNOWN, threshold=0.0).roc
    assert (roc.false_positive[0], roc.true_positive[0], roc.thresholds[0]) == (0, 0, torch.inf)
    assert (roc.false_positive[-1], roc.true_positive[-1]) == (1, 1)
    for false, true, threshold in zip(*(part.tolist() for part in roc), strict=True):
        for share, known in ((true, True), (false, False)):
            scores = [score for _, score, label in samples if (label in KNOWN) == known]
            accepted = sum(score >= threshold for score in scores) / len(scores)
            assert share == pytest.approx(accepted, abs=1e-6)


def test_macro_f1_counts_every_unknown_identity_as_nobody() -> None:
    samples = [(0, 0.9, 0), (1, 0.8, 1), (1, 0.2, 1), (0, 0.1, 7), (2, 0.7, 8), (1, 0.1, -1)]
    found = score_open_set(predictions(samples), KNOWN, threshold=0.5)
    labels = torch.tensor([0, 1, 1, -1, -1, -1])
    assert found.macro_f1 == macro_f1(torch.tensor([0, 1, -1, -1, 2, -1]), labels)
    assert found.baks == pytest.approx((1 + 1 / 2) / 2)
    assert found.baus == pytest.approx((1 + 0 + 1) / 3)  # identities 7, 8 and -1


def test_the_threshold_is_tuned_on_other_samples() -> None:
    validation = [(0, 0.9, 0), (1, 0.8, 1), (0, 0.4, 7), (1, 0.3, -1)]
    tuned = tune_open_set(predictions(validation), KNOWN)
    assert tuned.threshold == pytest.approx(0.6)
    assert tuned.macro_f1 == 1.0
    test = [(0, 0.7, 0), (1, 0.5, 1), (2, 0.65, 9)]
    found = score_open_set(predictions(test), KNOWN, threshold=tuned.threshold)
    assert (found.baks, found.baus, found.threshold) == (0.5, 0.0, tuned.threshold)


def test_tensors_do_as_well_as_arrays() -> None:
    tensors = Predictions(
        best=torch.tensor([0, 1, 2]),
        scores=torch.tensor([0.9, 0.2, 0.4], dtype=torch.float16),
        labels=torch.tensor([0, 1, -1]),
    )
    assert score_open_set(tensors, KNOWN, threshold=0.3).baks == 0.5


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"labels": [0, 1]}, {}, r"must be \[N\] each, .* got \(3,\), \(3,\), \(2,\)"),
        ({"labels": [0, 1, 2]}, {}, "must have known and unknown samples, got 3 known of 3"),
        ({"labels": [-1, 7, 7]}, {}, "must have known and unknown samples, got 0 known of 3"),
        ({"labels": [0, 1, -2]}, {}, "labels must be -1 or above, got -2"),
        ({"labels": [0.5, 1, -1]}, {}, "labels must be integers"),
        ({"best": [0, 1, 5]}, {}, r"best must be among the known labels, or -1, got 5"),
        ({}, {"threshold": float("nan")}, "threshold must be a number, got NaN"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    columns: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    usual: dict[str, Any] = {"best": [0, 1, 2], "scores": [0.1, 0.2, 0.3], "labels": [0, 1, -1]}
    with pytest.raises(UsageError, match=message):
        score_open_set(Predictions(**usual | columns), KNOWN, **{"threshold": 0.5} | options)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_those_of_a_diverged_training(score: float) -> None:
    samples = predictions([(0, 0.1, 0), (1, score, -1)])
    with pytest.raises(DivergedError, match=r"finite, got NaN .* first in \[1\]"):
        score_open_set(samples, KNOWN, threshold=0.5)
    with pytest.raises(DivergedError, match="finite"):
        tune_open_set(samples, KNOWN)
