"""Buffers that come back, ordinary and page-locked ones; the latter with a stand-in for CUDA."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmdb_reid.loaders import _pinning, _ring
from lmdb_reid.loaders._ring import Ring, tensor_of

SHAPE = (4, 8, 6, 3)


@pytest.fixture(params=[False, True], ids=["ordinary", "page-locked"])
def pin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(_ring, "can_pin", lambda: True)
    monkeypatch.setattr(_ring, "_pinned", lambda count: torch.empty(count, dtype=torch.uint8))
    return bool(request.param)


def test_a_buffer_is_out_as_long_as_a_tensor_of_it_is_held(pin: bool) -> None:
    ring = Ring(SHAPE, limit=2, pin=pin)
    pixels = ring.lend()
    images = tensor_of(pixels[:3].transpose(0, 3, 1, 2))
    part = images[1:, 0]
    del pixels, images
    for _ in range(5):
        ring.lend()
    assert (ring.made, ring.beyond) == (2, 0)
    other = ring.lend()
    beyond = ring.lend()
    assert (ring.made, ring.beyond) == (2, 1)
    del part, other, beyond
    ring.lend()
    assert (ring.made, ring.beyond) == (2, 1)


def test_tensors_show_what_the_arrays_hold(pin: bool) -> None:
    pixels = Ring(SHAPE, limit=1, pin=pin).lend()
    pixels[:] = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    for view in (pixels, pixels[1:3], pixels.transpose(0, 3, 1, 2), pixels[::2, :, 1:]):
        found = tensor_of(view)
        assert np.array_equal(found.numpy(), view)
        assert found.data_ptr() == view.ctypes.data


def test_page_locked_tensors_have_the_storage_that_torch_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def pinned(count: int) -> torch.Tensor:
        memory = torch.empty(count, dtype=torch.uint8)
        made.append(memory.untyped_storage().data_ptr())
        return memory

    monkeypatch.setattr(_ring, "can_pin", lambda: True)
    monkeypatch.setattr(_ring, "_pinned", pinned)
    images = tensor_of(Ring(SHAPE, limit=1, pin=True).lend().transpose(0, 3, 1, 2))
    assert images.untyped_storage().data_ptr() == made[0]


def test_no_page_locked_memory_is_an_error_and_takes_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_ring, "can_pin", lambda: True)

    def none(count: int) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(_ring, "_pinned", none)
    ring = Ring(SHAPE, limit=1, pin=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        ring.lend()
    monkeypatch.setattr(_ring, "_pinned", lambda count: torch.empty(count, dtype=torch.uint8))
    ring.lend()
    assert ring.beyond == 0


@pytest.mark.parametrize(
    ("device", "pins"), [(None, True), ("cuda", True), ("cuda:1", True), ("cpu", False)]
)
def test_batches_are_page_locked_where_a_gpu_may_copy_them(
    device: str | None, pins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = None if device is None else torch.device(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    assert _pinning.pins_by_default(there) is pins
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert not _pinning.pins_by_default(there)
    assert not _pinning.can_pin()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not _pinning.pins_by_default(there)


def test_a_forked_child_of_a_process_that_used_cuda_pins_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)

    def pinned(count: int) -> torch.Tensor:
        raise AssertionError("CUDA was asked")

    monkeypatch.setattr(_ring, "_pinned", pinned)
    assert Ring(SHAPE, limit=1, pin=True).lend().shape == SHAPE
