"""Features of a store's samples, by the model of a checkpoint."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import DeviceConfig, Normalize, device_of, make_loader
from lmdb_reid.progress import Progress
from lmdb_reid.schema import Size
from training.model import Embedder

DATA = "TrainData"
"""Under which name a checkpoint of `lmdb-reid train` says how its images were read."""

_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A model, and how the images were read that it was trained on."""

    name: str
    model: Embedder
    size: Size
    """(height, width) of images."""
    normalize: tuple[tuple[float, ...], tuple[float, ...]]
    """(mean, std), of pixels in 0..1."""
    sha256: str
    """Of the file."""

    @property
    def made_by(self) -> dict[str, Any]:
        """What `Features.save` keeps of it."""
        return {
            "checkpoint": self.name,
            "sha256": self.sha256,
            "size": list(self.size),
            "normalize": [list(part) for part in self.normalize],
            "metric": "cosine",
        }


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    size: Size | None = None,
    normalize: Normalize | None = None,
) -> Checkpoint:
    """The model of a checkpoint of PlayerReIDModule.

    Args:
        path: the file.
        size: (height, width) of images (default: as the checkpoint says).
        normalize: "imagenet" or (mean, std); likewise. Only checkpoints of `lmdb-reid train` say.

    Raises:
        UsageError: no such file, no such checkpoint, or one that does not say how images are read.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
        saved: Mapping[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        settings, weights = saved["hyper_parameters"], dict(saved["state_dict"])
        model = Embedder(settings["embedding"], settings["width"])
        own = "backbone."
        model.load_state_dict(
            {name.removeprefix(own): weights[name] for name in weights if str(name).startswith(own)}
        )
        read = dict(saved.get(DATA, {}))
    except FileNotFoundError:
        raise UsageError(f"no checkpoint at {file}") from None
    except pickle.UnpicklingError:  # torch's advice is to load what may run code
        raise UsageError(
            f"{file} is not a checkpoint of lmdb-reid train: it holds more than numbers and texts,"
            " or is another file"
        ) from None
    except _BROKEN as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{file} is not a checkpoint of lmdb-reid train: {why}") from None
    size, normalize = size or read.get("size"), normalize or read.get("normalize")
    if size is None or normalize is None:
        raise UsageError(
            f"{file} does not say how images are read. Pass the size and normalize that"
            " it was trained on (--size, --normalize)"
        )
    moments = DeviceConfig(normalize=normalize).moments
    assert moments is not None
    if not _is_size(size):
        raise UsageError(f"{file} names an impossible size of its training images: {size!r}")
    return Checkpoint(
        name=file.name,
        model=model.eval(),
        size=(int(size[0]), int(size[1])),
        normalize=moments,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def embed(
    dataset: ReIDDataset,
    checkpoint: Checkpoint,
    *,
    batch_size: int = 256,
    num_workers: int | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """The embeddings of a dataset's samples, float32 [N, D], as they stand in it.

    Args:
        dataset: of images of the checkpoint's size.
        checkpoint: of `load_checkpoint`.
        batch_size: samples that the model is given at a time.
        num_workers: threads that decode (default: as many as cores).
        device: where the model computes (default: a GPU where there is one).
        progress: called as the work goes on.

    Raises:
        UsageError: images of another size, or a device that cannot be used.
        CorruptSampleError: a sample is damaged.
    """
    if dataset.size != checkpoint.size:
        raise UsageError(
            f"images must be {checkpoint.size}, as {checkpoint.name} was trained, got"
            f" {dataset.size}: ReIDDataset(..., size={checkpoint.size})"
        )
    place = device_of(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place is None or place.type == "meta":
        raise UsageError("device must be one that computes, such as 'cpu' or 'cuda', got 'meta'")
    loading = make_loader(
        dataset,
        batch_size,
        engine="threads",
        num_workers=num_workers,
        device=None if place.type == "cpu" else place,
        normalize=checkpoint.normalize,
    )
    model = checkpoint.model.to(place)
    found = np.empty((len(dataset), model.project.out_features), np.float32)
    done = 0
    with loading as loader, torch.inference_mode():
        for images, _, rows in loader:
            found[done : done + len(rows)] = model(images).float().cpu().numpy()
            done += len(rows)
            if progress is not None:
                progress(done, len(dataset), 0)
    return found


def _is_size(size: object) -> bool:
    return (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(isinstance(side, int) and 0 < side < 1 << 16 for side in size)
    )
