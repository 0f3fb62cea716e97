"""Files that hold one crop each, under the guide's name and with its arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from lmdb_reid._arguments import known_arguments
from lmdb_reid.cache import LRUCache
from lmdb_reid.crops import Cached, Crops, FileCrops, read_image
from lmdb_reid.dataset._selection import Selection
from lmdb_reid.dataset._transform import pil_transform
from lmdb_reid.errors import MissingExtraError, ResourceError, UsageError
from lmdb_reid.schema import Pixels, Size

try:
    import PIL.Image
except ImportError:  # needed by transforms only
    PIL = None  # type: ignore[assignment]  # the module's name doubles as the flag


class CroppedBBoxDataset(Dataset[tuple[Any, torch.Tensor]]):
    """Images that were cut before, one file each; decoded as they are asked for.

    `dataset[i]` is (image, label): what `transform` makes of a PIL image in RGB, or without one a
    uint8 tensor [3, H, W] of the image at its own size (files of one size collate as they are); the
    label an int64 scalar tensor. The content decides a file's format; EXIF rotation is applied.
    Works under fork, forkserver and spawn: each process keeps a cache of its own, and a pickled
    dataset leaves its images behind. Threads may share a dataset, and then share its cache.

    `dataset.cache.stats()` tells the hits and misses of this process; `dataset.cache` is None where
    nothing is kept.

    Args:
        img_paths: the files.
        labels: a whole number for each.
        transform: called with each image.
        use_cache: keep the most recently used images, decoded.
        cache_size: how many of them.
        size: (height, width) that a loader resizes images to; files of differing sizes need it.
        cache: keep them in this one instead, which `LRUCache(bytes=...)` can limit in bytes; images
            are kept under their path.

    Raises:
        UsageError: another number of labels than of files, labels that are not whole numbers, or a
            cache_size below 1.
        MissingExtraError: a transform is given and Pillow is not installed.
    """

    @known_arguments()
    def __init__(
        self,
        img_paths: Sequence[str | os.PathLike[str]],
        labels: Sequence[int] | npt.NDArray[Any] | torch.Tensor,
        transform: Callable[[PIL.Image.Image], Any] | None = None,
        use_cache: bool = False,
        cache_size: int = 10_000,
        *,
        size: Size | None = None,
        cache: LRUCache | None = None,
    ) -> None:
        if transform is not None and PIL is None:
            raise MissingExtraError.of("Pillow", "build", "CroppedBBoxDataset's transform")
        if cache is None and use_cache:
            if cache_size < 1:
                raise UsageError(
                    f"cache_size must be at least 1, got {cache_size}. To use no cache, pass"
                    " use_cache=False"
                )
            cache = LRUCache(items=cache_size)
        self.img_paths = [os.fspath(path) for path in img_paths]
        self.labels = _check_labels(labels, len(self.img_paths))
        self.transform = transform
        self.cache = cache
        self._size = size

    def selection(self) -> Selection:
        """What a loader takes of this dataset: all files must have one size, or `size` be given.

        Raises:
            UsageError: there are no files and no size.
            SourceError, ImageError: the first file, which decides the size, cannot be read.
        """
        files = FileCrops(self.img_paths, self._size)
        crops: Crops = files if self.cache is None else Cached(files, self.cache)
        return Selection(
            crops=crops,
            labels=self.labels,
            transform=pil_transform(self.transform),
            cache=self.cache,
        )

    def select(self, positions: Sequence[int] | npt.NDArray[Any]) -> Self:
        """A dataset of some files of this one, in the order given."""
        chosen = np.asarray(positions, np.int64)
        return type(self)(
            [self.img_paths[position] for position in chosen.tolist()],
            self.labels[chosen],
            self.transform,
            size=self._size,
            cache=self.cache,
        )

    def __len__(self) -> int:
        return len(self.img_paths)

    def __getitem__(self, index: int) -> tuple[Any, torch.Tensor]:
        """(image, label) of one file.

        Raises:
            IndexError: no such item.
            SourceNotFoundError: the file is not there.
            SourceError: it cannot be read.
            ImageError: it cannot be decoded.
        """
        path = self.img_paths[index]
        label = torch.tensor(self.labels[index], dtype=torch.long)
        pixels = self._pixels(path)
        if self.transform is not None:
            return self.transform(PIL.Image.fromarray(pixels)), label
        return torch.from_numpy(pixels).permute(2, 0, 1), label

    def __repr__(self) -> str:
        return f"CroppedBBoxDataset({len(self):,} files, cache={self.cache!r})"

    def _pixels(self, path: str) -> Pixels:
        """The image, [H, W, 3], the caller's own."""
        if self.cache is None:
            return read_image(path)
        kept = self.cache.get(path)
        if kept is not None:
            return kept.copy()  # a transform may draw on what it is given
        pixels = read_image(path)
        try:
            self.cache.put(path, pixels)
        except MemoryError:
            held = self.cache.stats()
            raise ResourceError(
                f"no memory for more than the {held['items']:,} images ({held['bytes']:,}"
                f" bytes) in {self.cache!r}: reduce cache_size, or pass"
                " cache=LRUCache(bytes=...). With num_workers each process has its own cache"
            ) from None
        return pixels


def _check_labels(
    labels: Sequence[int] | npt.NDArray[Any] | torch.Tensor, count: int
) -> npt.NDArray[np.int64]:
    given = np.asarray(labels)
    if given.ndim != 1:
        raise UsageError(f"labels must be one whole number for each image, got shape {given.shape}")
    if len(given) != count:
        raise UsageError(
            f"img_paths and labels must have the same length, got {count:,} and {len(given):,}"
        )
    if count and not np.issubdtype(given.dtype, np.integer):
        raise UsageError(f"labels must be whole numbers, got {given.dtype}")
    return given.astype(np.int64)
