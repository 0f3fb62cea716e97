from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lmdb_reid.errors import UsageError
from training.model import Embedder


def images(count: int, height: int, width: int) -> torch.Tensor:
    """As loaders give them: floats [B, 3, H, W] over [B, H, W, 3] memory."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, height, width, 3), generator=generator)
    return ((pixels / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [(64, 32), (32, 32), (100, 53)])
def test_embeds_pictures_of_any_size(size: tuple[int, int]) -> None:
    embeddings = Embedder(embedding=24, width=8)(images(3, *size))
    assert embeddings.shape == (3, 24)
    assert embeddings.dtype == torch.float32
    assert not torch.allclose(embeddings[0], embeddings[1])


def test_bytes_are_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"images must be floats, got torch\.uint8.*normalize="):
        Embedder(embedding=8, width=8)(images(2, 64, 32).to(torch.uint8))


def test_memory_makes_no_difference() -> None:
    model, pixels = Embedder(embedding=8, width=8).eval(), images(2, 64, 32)
    torch.testing.assert_close(model(pixels), model(pixels.contiguous()))


def test_the_narrowest_model_trains_on_a_cpu() -> None:
    model = Embedder(embedding=8, width=1)
    model(images(2, 64, 32)).sum().backward()


def test_every_parameter_learns() -> None:
    model = Embedder(embedding=8, width=8)
    (model(images(4, 64, 32)) * torch.randn(8)).sum().backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not still
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.project.parameters())
    first = next(model.stem.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0


def test_the_default_is_compact() -> None:
    count = sum(parameter.numel() for parameter in Embedder().parameters())
    assert 1_000_000 < count < 1_500_000


def test_needs_neither_torchvision_nor_timm() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torchvision', 'timm')))"
    code = f"{blocked}; from training.model import Embedder; Embedder(8, 8)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("settings", [{"embedding": 0}, {"width": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be 1 or more"):
        Embedder(**settings)
