"""Cropping at run time, as the guide does it: no store, a frame opened for every box.

Kept for scripts that have these names, and as the baseline that reading a store is timed against.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from builders.samples import BoxSample
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import ImageError, ResourceError, SourceError, SourceNotFoundError
from lmdb_reid.schema import Box, Kind

_HASH = re.compile("[0-9a-f]{32}")
_CACHE = "train_crops_cache"

Transform = Callable[[Image.Image], Any]
"""Takes a crop, a PIL image in RGB."""


class PlayerReIDDataset(Dataset[tuple[Any, torch.Tensor]]):
    """Boxes cut out of their frames as they are asked for: each item opens and decodes a frame.

    `dataset[i]` is (image, label): what `transform` makes of the crop, or without one a uint8
    tensor [3, H, W] of the crop at its own size; the label an int64 scalar tensor. A crop has the
    pixels that the builder would cut: those of the box grown about its centre, clipped to the
    frame, which is turned as its EXIF orientation says. A file of the guide's crop cache (see
    `is_cached_crop`) is a crop already, and is taken whole.

    Args:
        samples: `BoxSample`, or any objects with its attributes.
        transform: called with each crop.
        expand_ratio: boxes of players are grown by this; negatives are cut as they are.
        use_cache: keep every crop that was cut, without limit, in the process that cut it; a
            pickled dataset leaves them behind.
    """

    @known_arguments()
    def __init__(
        self,
        samples: Sequence[BoxSample],
        transform: Transform | None = None,
        expand_ratio: float = 1.0,
        use_cache: bool = True,
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.expand_ratio = expand_ratio
        self.use_cache = use_cache
        self._crops: dict[int, Image.Image] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, torch.Tensor]:
        """(image, label) of one sample.

        Raises:
            IndexError: no such sample.
            SourceNotFoundError: its frame is not there.
            ImageError: its frame cannot be decoded.
            SourceError: its box lies outside the frame.
        """
        sample = self.samples[index]
        crop = self._crop(range(len(self))[index], sample)
        label = torch.tensor(sample.label_id, dtype=torch.long)
        if self.transform is not None:
            return self.transform(crop), label
        return torch.from_numpy(np.array(crop)).permute(2, 0, 1), label

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_crops": {}}

    def _crop(self, index: int, sample: BoxSample) -> Image.Image:
        if not self.use_cache:
            return cut(sample, self.expand_ratio)
        if index not in self._crops:
            self._crops[index] = cut(sample, self.expand_ratio)
        return self._crops[index].copy()  # a transform may draw on what it is given


def is_cached_crop(path: str) -> bool:
    """Whether a file is a crop of the guide's cache: its name is 32 hexadecimal digits, or its
    folder one that the guide's code knows as such.
    """
    return _HASH.fullmatch(Path(path).stem) is not None or (
        _CACHE in path or Path(path).parent.name.endswith(("crops", "crops_cache"))
    )


def cut(sample: BoxSample, expand_ratio: float) -> Image.Image:
    """The crop of a sample, in RGB; see `PlayerReIDDataset`."""
    box, path = Box(sample.x, sample.y, sample.w, sample.h), os.fspath(sample.img_path)
    try:
        with Image.open(path) as frame:
            ImageOps.exif_transpose(frame, in_place=True)
            frame.load()
    except FileNotFoundError:
        raise SourceNotFoundError(f"no frame at {path}") from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise ResourceError(
                f"{path} cannot be opened: {error.strerror}: reduce num_workers, or allow more with"
                " `ulimit -n 4096` (see lmdb-reid doctor)",
                path=path,
            ) from None
        raise ImageError(f"{path} cannot be decoded: {error}") from error
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} cannot be decoded: {error}") from error
    if is_cached_crop(path):
        return frame.convert("RGB")
    size = (frame.height, frame.width)
    if box.clipped(size).area <= 0:
        raise SourceError(
            f"the box x={box.x:g} y={box.y:g} w={box.w:g} h={box.h:g} is outside"
            f" the {frame.width}x{frame.height} frame {path}: leave it out"
        )
    ratio = (
        expand_ratio if getattr(sample, "kind", Kind.PERSON) == Kind.PERSON else 1.0
    )  # negatives are cut as they are
    return frame.crop(box.grown(ratio).pixels(size)).convert("RGB")
