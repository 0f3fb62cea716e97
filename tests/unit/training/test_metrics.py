from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmdb_reid.errors import DivergedError, UsageError
from training.metrics import macro_f1, thresholded, tuned_threshold

_LABELS = st.integers(-1, 4)


def counted(predicted: list[int], labels: list[int]) -> float:
    """Macro F1 by counting on fingers."""
    scores = []
    for label in {*predicted, *labels}:
        hits = sum(p == t == label for p, t in zip(predicted, labels, strict=True))
        scores.append(2 * hits / (predicted.count(label) + labels.count(label)))
    return sum(scores) / len(scores)


@given(st.lists(st.tuples(_LABELS, _LABELS), min_size=1, max_size=30))
def test_macro_f1_is_the_mean_over_labels_that_occur(pairs: list[tuple[int, int]]) -> None:
    predicted, labels = map(list, zip(*pairs, strict=True))
    found = macro_f1(torch.tensor(predicted), torch.tensor(labels))
    assert found == pytest.approx(counted(predicted, labels), abs=1e-6)


def test_nobody_known_counts_as_a_label() -> None:
    # of three labels: 0 right, 5 half found, -1 never right
    found = macro_f1(torch.tensor([0, 5, 5]), torch.tensor([0, 5, -1]))
    assert found == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("predicted", "labels", "told"),
    [
        (torch.tensor([1, 2]), torch.tensor([1]), r"must be \[N\] each"),
        (
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0, dtype=torch.int64),
            r"must be \[N\] each",
        ),
        (torch.tensor([-2]), torch.tensor([1]), "labels must be -1 or above, got -2"),
        (torch.tensor([1]), torch.tensor([-3]), "labels must be -1 or above, got -3"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    predicted: torch.Tensor, labels: torch.Tensor, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        macro_f1(predicted, labels)


def test_scores_below_the_threshold_are_nobody_known() -> None:
    predicted, scores = torch.tensor([3, 1, 2]), torch.tensor([0.2, 0.5, 0.9])
    assert thresholded(predicted, scores, 0.5).tolist() == [-1, 1, 2]


_SAMPLES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-10, 10), _LABELS), min_size=1, max_size=25
)


@given(_SAMPLES)
def test_no_threshold_scores_better_than_the_tuned_one(
    samples: list[tuple[int, int, int]],
) -> None:
    columns = zip(*samples, strict=True)
    predicted, scores, labels = (torch.tensor(column) for column in columns)
    scores = scores / 10
    tuned = tuned_threshold(predicted, scores, labels)
    # Thresholds differ only by which samples they reject: none, those of the lowest score, ...
    reached = [
        macro_f1(thresholded(predicted, scores, border), labels) for border in scores.unique()
    ]
    assert tuned.macro_f1 == pytest.approx(max(reached), abs=1e-6)
    again = macro_f1(thresholded(predicted, scores, tuned.threshold), labels)
    assert again == pytest.approx(tuned.macro_f1, abs=1e-6)


def test_where_all_are_known_none_is_rejected() -> None:
    scores = torch.tensor([0.1, 0.9, 0.5])
    tuned = tuned_threshold(torch.tensor([0, 1, 2]), scores, torch.tensor([0, 1, 2]))
    assert tuned.macro_f1 == 1.0
    assert tuned.threshold < 0.1


def test_strangers_that_score_low_are_told_apart() -> None:
    scores = torch.tensor([0.9, 0.8, 0.3, 0.2])
    tuned = tuned_threshold(torch.tensor([0, 1, 0, 1]), scores, torch.tensor([0, 1, -1, -1]))
    assert tuned.macro_f1 == 1.0
    assert tuned.threshold == pytest.approx(0.55)


def test_many_samples_are_tuned_on_borders_spread_over_them() -> None:
    torch.manual_seed(0)
    known, strangers = 0.5 + 0.5 * torch.rand(4000), 0.45 * torch.rand(1000)
    labels = torch.cat([torch.arange(4000) % 7, torch.full((1000,), -1)])
    predicted = torch.arange(5000) % 7
    predicted[:4000] = labels[:4000]
    tuned = tuned_threshold(predicted, torch.cat([known, strangers]), labels)
    assert tuned.macro_f1 > 0.99
    assert 0.43 < tuned.threshold < 0.52


def test_scores_that_are_no_numbers_are_refused() -> None:
    labels = torch.tensor([0, -1])
    with pytest.raises(DivergedError, match="NaN"):
        tuned_threshold(labels, torch.tensor([0.5, float("nan")]), labels)
    with pytest.raises(UsageError, match="scores for"):
        tuned_threshold(labels, torch.tensor([0.5]), labels)
