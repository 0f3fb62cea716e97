from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional

from lmdb_reid.errors import UsageError
from training.losses import ArcFace


def two_classes(*, scale: float = 10.0, margin: float = 0.3) -> ArcFace:
    """Class 0 lies along x, class 1 along y; lengths that must not matter."""
    loss = ArcFace(2, 2, scale=scale, margin=margin)
    loss.directions.data = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    return loss


def at(angle: float, length: float = 1.0) -> torch.Tensor:
    return length * torch.tensor([[math.cos(angle), math.sin(angle)]])


def test_is_the_formula_of_the_paper() -> None:
    loss = two_classes(scale=10.0, margin=0.3)
    own = math.exp(10.0 * math.cos(0.4 + 0.3))
    other = math.exp(10.0 * math.cos(math.pi / 2 - 0.4))
    expected = -math.log(own / (own + other))
    assert loss(at(0.4, length=7.0), torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)


def test_takes_the_mean_over_the_batch() -> None:
    loss = two_classes()
    both = loss(torch.cat([at(0.2), at(1.4)]), torch.tensor([0, 1]))
    one, other = loss(at(0.2), torch.tensor([0])), loss(at(1.4), torch.tensor([1]))
    assert both.item() == pytest.approx((one.item() + other.item()) / 2, rel=1e-5)


def test_without_margin_it_is_softmax_over_scaled_cosines() -> None:
    torch.manual_seed(0)
    loss = ArcFace(5, 8, scale=4.0, margin=0.0)
    embeddings, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    cosines = functional.cosine_similarity(embeddings[:, None], loss.directions[None], dim=2)
    expected = functional.cross_entropy(4.0 * cosines, labels)
    assert loss(embeddings, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_grows_with_the_angle_until_pi() -> None:
    # The other class is square to the plane that the embedding turns in: only its own cosine moves.
    loss = ArcFace(2, 3, scale=4.0, margin=0.5)
    loss.directions.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = [
        functional.pad(at(angle), (0, 1)) for angle in torch.linspace(0, math.pi, 200).tolist()
    ]
    losses = [loss(embedding, torch.tensor([0])).item() for embedding in turned]
    assert all(before < after for before, after in itertools.pairwise(losses))


def test_cosines_have_no_margin_and_ignore_lengths() -> None:
    cosines = two_classes().cosines(torch.cat([at(0.4, 5.0), at(2.0, 0.01)]))
    expected = [[math.cos(0.4), math.sin(0.4)], [math.cos(2.0), math.sin(2.0)]]
    torch.testing.assert_close(cosines, torch.tensor(expected))


def test_cosines_are_whole_under_mixed_precision() -> None:
    loss, embeddings = two_classes(), torch.cat([at(0.4), at(0.4001)])
    with torch.autocast("cpu", torch.bfloat16):
        cosines = loss.cosines(embeddings)
        half = loss.cosines(embeddings.bfloat16())
    assert cosines.dtype == half.dtype == torch.float32
    torch.testing.assert_close(cosines, loss.cosines(embeddings))
    assert cosines[0, 0] > cosines[1, 0]


@pytest.mark.parametrize("angle", [0.0, math.pi])
def test_gradients_stay_finite_on_the_class_direction_itself(angle: float) -> None:
    loss = two_classes()
    embedding = at(angle).requires_grad_()
    loss(embedding, torch.tensor([0])).backward()
    assert embedding.grad is not None and loss.directions.grad is not None
    assert embedding.grad.isfinite().all() and loss.directions.grad.isfinite().all()


def test_a_step_down_the_gradient_lowers_the_loss() -> None:
    loss, embedding = two_classes(), at(1.0).requires_grad_()
    before = loss(embedding, torch.tensor([0]))
    before.backward()
    assert embedding.grad is not None
    after = loss(embedding.detach() - 0.01 * embedding.grad, torch.tensor([0]))
    assert after < before


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"classes": 0}, "at least 1, got 0"),
        ({"embedding": 0}, "at least 1, got .* 0"),
        ({"scale": 0.0}, "scale must be .* got 0.0"),
        ({"scale": math.inf}, "scale must be .* got inf"),
        ({"margin": -0.1}, "margin must be .* got -0.1"),
        ({"margin": 1.6}, "margin must be .* got 1.6"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ArcFace(**{"classes": 2, "embedding": 4, **settings})  # type: ignore[arg-type]
