"""MosaicML Streaming: its shards of JPEG bytes read from a local folder, torch's DataLoader."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.peers._decoders import decoder
from benchmarks.peers._runner import Epochs, Job, main


def stub_torchvision() -> None:
    """It imports torchvision at its top for classes that nothing here uses; where torch is a CPU
    build and torchvision is not, that fails.
    """
    names = ("", ".datasets", ".transforms", ".transforms.functional")
    modules = {f"torchvision{name}": ModuleType(f"torchvision{name}") for name in names}
    modules["torchvision"].__spec__ = importlib.util.spec_from_loader("torchvision", None)
    modules["torchvision.datasets"].VisionDataset = type("VisionDataset", (), {})  # type: ignore[attr-defined]
    modules["torchvision.transforms.functional"].to_tensor = None  # type: ignore[attr-defined]
    sys.modules.update(modules)


stub_torchvision()
from streaming import MDSWriter, StreamingDataset  # noqa: E402  # after the stub


class Pictures(StreamingDataset):  # type: ignore[misc]  # it ships no types for mypy here
    """Decodes what the data set finds."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            local=job.out, shuffle=True, batch_size=job.batch_size, num_canonical_nodes=1
        )
        self.decode = decoder(job.variant)

    def __getitem__(self, at: int) -> tuple[int, torch.Tensor]:
        found = super().__getitem__(at)
        return found["row"], torch.from_numpy(self.decode(found["image"]))


def prepare(job: Job) -> None:
    """Its shards, the bytes as they are."""
    columns = {"row": "int", "image": "bytes"}
    with MDSWriter(out=job.out, columns=columns, size_limit="8mb", exist_ok=True) as writer:
        for row, file in enumerate(job.files()):
            writer.write({"row": row, "image": file.read_bytes()})


def start(job: Job) -> Epochs:
    """Variants: pil, turbo."""
    loader: Any = DataLoader(
        Pictures(job),
        batch_size=job.batch_size,
        num_workers=job.num_workers,
        persistent_workers=True,
    )
    return lambda _: iter(loader)


if __name__ == "__main__":
    main(start, prepare, packages=("mosaicml-streaming",))
