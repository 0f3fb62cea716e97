from __future__ import annotations

import pytest
import torch

from lmdb_reid.loaders._scaling import Scaling

MOMENTS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")


def pictures(memory_format: torch.memory_format) -> torch.Tensor:
    values = torch.randint(0, 256, (5, 3, 7, 4), generator=torch.Generator().manual_seed(0))
    return values.float().contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("of", [255, 1])
def test_each_channel_gets_its_own_moments(memory_format: torch.memory_format, of: int) -> None:
    images = pictures(memory_format) / (255 / of)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in MOMENTS)
    wanted = (images / of - mean) / std
    scaling = Scaling(MOMENTS, CPU)
    assert scaling.normalises
    for _ in range(2):  # a table is made once
        found = images.clone(memory_format=torch.preserve_format)
        scaling.apply(found, of=of)
        assert found.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(found, wanted)


def test_both_memory_formats_give_the_same_numbers() -> None:
    some, others = pictures(torch.channels_last), pictures(torch.contiguous_format)
    for images in (some, others):
        Scaling(MOMENTS, CPU).apply(images, of=255)
    assert torch.equal(some, others)


def test_without_moments_values_become_0_to_1() -> None:
    images = torch.tensor([0.0, 51.0, 255.0])
    scaling = Scaling(None, CPU)
    scaling.apply(images, of=255)
    assert torch.equal(images, torch.tensor([0.0, 0.2, 1.0]))
    scaling.apply(images, of=1)
    assert torch.equal(images, torch.tensor([0.0, 0.2, 1.0]))
    assert not scaling.normalises
