"""When batches are made in page-locked memory, from which a GPU copies by itself."""

from __future__ import annotations

import torch


def is_cut_off() -> bool:
    """Whether this is a forked child of a process that used CUDA: it cannot."""
    return torch.cuda._is_in_bad_fork()


def can_pin() -> bool:
    """Whether this process can have page-locked memory."""
    return torch.cuda.is_available() and not is_cut_off()


def pins_by_default(device: torch.device | None) -> bool:
    """Whether batches for `device` are page-locked unless somebody says otherwise: for a GPU, and
    where the consumer sends them on, as a trainer does.
    """
    return (device is None or device.type == "cuda") and can_pin()
